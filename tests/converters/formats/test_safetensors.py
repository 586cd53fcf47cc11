"""Safetensors hold tensors, graph and card, or tensors alone."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy
from graphs import NETWORKS, SINGLE, seeded_program

from facemask_zoo import WeightsError
from facemask_zoo.converters.formats import safetensors as format_
from facemask_zoo.converters.formats.importing import LooseTensors
from facemask_zoo.graph.program import Program

GRAPHS = {**SINGLE, **NETWORKS}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_program_comes_back_bit_for_bit(name, tmp_path):
    program = dataclasses.replace(seeded_program(GRAPHS[name]), card='{"name": "x"}')
    path = tmp_path / "file.safetensors"
    format_.write(program, path)
    found = format_.read(path)
    assert isinstance(found, Program)
    assert (found.graph, found.digest, found.card) == (program.graph, program.digest, program.card)


def test_tensors_alone_are_loose(tmp_path):
    path = tmp_path / "file.safetensors"
    path.write_bytes(safetensors.numpy.save({"a.weight": np.ones(3, np.float32)}))
    found = format_.read(path)
    assert isinstance(found, LooseTensors)
    assert list(found.tensors) == ["a.weight"]


@pytest.mark.parametrize("graph", ["", "{}", "[1]", json.dumps({"input": "a"})])
def test_a_graph_that_is_none_is_refused(graph, tmp_path):
    path = tmp_path / "file.safetensors"
    metadata = {format_.GRAPH_KEY: graph}
    path.write_bytes(safetensors.numpy.save({"a.weight": np.ones(3, np.float32)}, metadata))
    with pytest.raises(WeightsError):
        format_.read(path)
