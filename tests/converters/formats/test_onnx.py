"""ONNX carries every operation, there and back, and onnxruntime agrees with the reference."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program

from facemask_zoo.converters.formats import onnx
from facemask_zoo.graph import reference
from facemask_zoo.graph.matching import renamed_like
from facemask_zoo.graph.program import Program

GRAPHS = {**SINGLE, **NETWORKS}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_comes_back_and_runs(name, tmp_path):
    program = seeded_program(GRAPHS[name])
    path = tmp_path / "file.onnx"
    onnx.write(program, path)
    read = onnx.read(path)
    assert isinstance(read, Program)
    found = renamed_like(read, program.graph)
    assert found is not None
    assert found.digest == program.digest
    batch = seeded_batch(program.graph, 3) * 4 - 2
    session = onnxruntime.InferenceSession(path)
    answers = session.run(list(program.graph.outputs), {program.graph.input: batch})
    for answer, expected in zip(answers, reference.forward(program, batch).values(), strict=True):
        assert answer.shape == expected.shape
        np.testing.assert_allclose(answer, expected, atol=2e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_is_near(name, tmp_path):
    program = seeded_program(NETWORKS[name])
    batch = seeded_batch(program.graph, 2)
    session = onnxruntime.InferenceSession(onnx.graph_bytes(program, half=True))
    answers = session.run(list(program.graph.outputs), {program.graph.input: batch})
    for answer, expected in zip(answers, reference.forward(program, batch).values(), strict=True):
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, expected, atol=0.05)
