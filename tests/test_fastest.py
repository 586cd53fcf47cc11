"""Which framework is tried first, on which kind of processor."""

from __future__ import annotations

import dataclasses
import json
import os

import pytest

from facemask_zoo import Detector, backends, list_frameworks, processor
from facemask_zoo.backends import FASTEST, FRAMEWORKS, find_framework

KINDS = {
    "avx avx2 avx512f avx512_vnni amx_tile amx_int8 amx_bf16": "amx",
    "avx avx2 avx512f avx512_vnni avx512_bf16": "avx512-vnni",
    "avx avx2 avx512f avx512bw": "avx512",
    "avx avx2 avx_vnni f16c fma": "avx2-vnni",
    "avx avx2 f16c fma": "avx2",
    "asimd asimddp bf16 sve": "neon",
    "avx": None,
    "": None,
}


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Puts an order on record, for a kind of processor that this one is made to be."""

    def put(names: list[str], kind: str = "avx2", here: str = "avx2") -> None:
        path = tmp_path / f"{len(os.listdir(tmp_path))}.json"
        path.write_text(json.dumps({kind: {"frameworks": names}}))
        monkeypatch.setattr(backends, "FASTEST", path)
        monkeypatch.setattr(processor, "instruction_sets", lambda: (here,))

    return put


def names_in_order() -> list[str]:
    return [row.name for row in list_frameworks()]


@pytest.mark.parametrize(("flags", "kind"), KINDS.items())
def test_the_most_capable_instructions_are_the_kind(flags, kind):
    assert processor.kind_of(flags.split()) == kind


def test_what_is_recorded_comes_first_and_the_others_behind_in_their_order(record):
    record(["ncnn", "keras", "retired"])
    others = [name for name in FRAMEWORKS if name not in ("ncnn", "keras")]
    assert names_in_order() == ["ncnn", "keras", *others]


def test_another_kind_of_processor_has_the_standing_order(record):
    record(["keras"], kind="neon")
    assert names_in_order() == list(FRAMEWORKS)
    record(["keras"], here="none of those")
    assert names_in_order() == list(FRAMEWORKS)


def test_auto_takes_what_is_recorded_as_fastest(record, weights):
    installed = [name for name, row in FRAMEWORKS.items() if row.installed]
    swapped = installed[1::-1]
    record(swapped)
    assert Detector.load(weights).framework == swapped[0]


def test_auto_passes_over_what_is_not_installed(record, weights, monkeypatch):
    missing = dataclasses.replace(find_framework("mxnet"), imports="no_such_framework")
    monkeypatch.setitem(FRAMEWORKS, "mxnet", missing)
    record(["mxnet", "onnx"])
    assert Detector.load(weights).framework == "onnx"


def test_what_ships_names_kinds_and_frameworks():
    for kind, row in json.loads(FASTEST.read_bytes()).items():
        assert kind in KINDS.values()
        assert set(row["frameworks"]) <= FRAMEWORKS.keys()
