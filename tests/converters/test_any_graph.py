"""Networks of every kind, from ONNX into every format and back, each file proven."""

from __future__ import annotations

import needs
import pytest

from facemask_zoo import model_files
from facemask_zoo.benchmarks.convert_matrix import convert_there_and_back
from facemask_zoo.benchmarks.networks import NETWORKS, seeded_program
from facemask_zoo.cards import NO_TASK, ModelCard
from facemask_zoo.converters.formats.registry import FORMATS
from facemask_zoo.converters.runners import RUNNERS
from facemask_zoo.model import Model

TARGETS = [row for row in FORMATS.values() if row.writes]
RUN_ELSEWHERE = {"tfjs"}
"""Run in node, where there is one."""


@pytest.fixture(scope="module", params=NETWORKS)
def source(request, tmp_path_factory):
    graph = NETWORKS[request.param]
    card = ModelCard(request.param, "", None, task=NO_TASK)
    path = tmp_path_factory.mktemp(request.param) / "source.onnx"
    model_files.write(Model(card, seeded_program(graph).tensors, graph), path, "onnx")
    return path


@pytest.mark.parametrize("target", TARGETS, ids=[row.name for row in TARGETS])
def test_a_network_goes_there_and_back(target, source, monkeypatch):
    if target.name == "coreml":
        interpreter = needs.module("coreml_program").INTERPRETER
        monkeypatch.setitem(RUNNERS, "coreml", interpreter)
    cell = convert_there_and_back(source, target)
    if target.gives_boxes:
        assert cell["refused"]
        assert "no detector that the zoo can decode" in cell["problem"]
        return
    assert not cell["problem"]
    assert cell["largest"] <= 1
    assert cell["runners"] or target.name in RUN_ELSEWHERE
