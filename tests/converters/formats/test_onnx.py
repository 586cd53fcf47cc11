"""ONNX carries every operation, there and back, and onnxruntime agrees with the reference."""

from __future__ import annotations

import numpy as np
import onnx as onnx_package
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


def test_shapes_are_computed_as_exporters_do(tmp_path):
    """Channels over groups, a division of what the graph itself says of its shapes."""
    text = """
        <ir_version: 8, opset_import: ["" : 13]>
        g (float[1, 6, 4, 4] x) => (float[1, a, b, 4, 4] y)
        <int64 one = {1}, int64[1] two = {2}, int64[1] first = {0}, int64[2] size = {4, 4},
         int64[1] batch = {1}>
        {
            shape = Shape(x)
            channels = Gather<axis = 0>(shape, one)
            row = Unsqueeze(channels, first)
            each = Div(row, two)
            target = Concat<axis = 0>(batch, two, each, size)
            y = Reshape(x, target)
        }
    """
    onnx_package.save(onnx_package.parser.parse_model(text), tmp_path / "file.onnx")
    graph = onnx.read(tmp_path / "file.onnx").graph
    assert graph.output_shapes == {"y": (2, 3, 4, 4)}
