"""What holds for every format that is both read and written; a new row is tested by being one."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from seeded import NETWORKS, random_network, seeded_model

from facemask_zoo import WeightsError, model_files
from facemask_zoo.converters.formats import registry
from facemask_zoo.converters.formats.registry import FORMATS
from facemask_zoo.converters.signatures import SAVED_MODEL_FILE, SIGNATURES
from facemask_zoo.model import Model

BOTH_WAYS = [row for row in FORMATS.values() if row.reads and row.writes]
# HDF5 is read by a process of its own: fewer damaged files are tried.
CUTS = {
    "tensorflow": (3, 997),
    "saved_model": (10, 1997),
    "keras": (10, 1997),
    "keras_h5": (40, 3989),
}
# A few of each; `make fuzz-files` damages thousands of places.
FLIPS = {"saved_model": 40, "keras": 25, "keras_h5": 20}
# Bytes at the end that hold nothing.
IDLE_TAILS = {"tflite": 64, "ncnn": 2}
NAMES_ITS_COMPANION = "tfjs"
STORES_THE_TIME = "keras_h5"


@pytest.fixture(params=BOTH_WAYS, ids=lambda row: row.name)
def row(request):
    return request.param


def files_of(path):
    """What is beside a file, by what follows its stem."""
    files = (file for file in path.parent.iterdir() if file.is_file())
    return {file.name.removeprefix(path.stem): file.read_bytes() for file in files}


def main_file(written):
    """What is damaged below: the file that is named, or the graph in the folder."""
    return written / SAVED_MODEL_FILE if written.is_dir() else written


def test_every_format_that_is_read_has_a_signature():
    assert {row.name for row in FORMATS.values() if row.reads} == SIGNATURES.keys()


@pytest.mark.parametrize("seed", range(8))
def test_tensors_come_back_bit_for_bit(seed, row, assert_same, tmp_path):
    model = seeded_model(random_network(np.random.default_rng(seed)), seed)
    path = tmp_path / f"random{row.suffix}"
    model_files.write(model, path, row.name)
    assert registry.format_of(path) is row
    assert_same(model_files.read(path), model)


@pytest.mark.parametrize("name", NETWORKS)
def test_names_beyond_ascii_are_taken(name, row, assert_same, tmp_path):
    model = seeded_model(NETWORKS[name], seed=9)
    path = tmp_path / "été" / f"modèle 口罩{row.suffix}"
    model_files.write(model, path, row.name)
    assert_same(model_files.read(path), model)


def test_the_same_model_gives_the_same_bytes(model, row, written, tmp_path):
    stem = written.stem if row.name == NAMES_ITS_COMPANION else "again"
    again = tmp_path / "folder" / f"{stem}{row.suffix}"
    model_files.write(model, again, row.name)
    first, second = files_of(written), files_of(again)
    if row.name == STORES_THE_TIME:
        assert len(first.pop(row.suffix)) == len(second.pop(row.suffix))
    assert first == second


def test_every_truncation_is_refused(row, written):
    file = main_file(written)
    content = file.read_bytes()
    end = len(content) - IDLE_TAILS.get(row.name, 1)
    fine, coarse = CUTS.get(row.name, (3, 397))
    for length in [*range(0, 200, fine), *range(200, end, coarse), end]:
        file.write_bytes(content[:length])
        with pytest.raises(WeightsError):
            model_files.read(written)


def test_flipped_bytes_end_in_a_model_or_a_clear_error(row, written, rng):
    file = main_file(written)
    content = file.read_bytes()
    for position in rng.integers(0, len(content), size=FLIPS.get(row.name, 120)):
        damaged = bytearray(content)
        damaged[position] ^= int(rng.integers(1, 256))
        file.write_bytes(damaged)
        with contextlib.suppress(WeightsError):
            assert isinstance(model_files.read(written), Model)
