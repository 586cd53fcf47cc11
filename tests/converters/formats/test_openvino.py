"""OpenVINO carries every operation, and computes the reference's numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program
from seeded import FULL

from facemask_zoo.graph import reference

GRAPHS = {**SINGLE, **NETWORKS, "ssd": FULL.graph}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_runs(name, need, tmp_path):
    need("openvino")
    import openvino

    from facemask_zoo.converters.formats import openvino as format_

    program = dataclasses.replace(seeded_program(GRAPHS[name]), card='{"name": "x"}')
    path = tmp_path / "file.xml"
    format_.write(program, path)
    assert format_.read_card(path) == program.card
    hint = {"INFERENCE_PRECISION_HINT": openvino.Type.f32}
    compiled = format_.core().compile_model(path, "CPU", hint)
    for count in (1, 3):
        batch = seeded_batch(program.graph, count) * 4 - 2
        answers = compiled({program.graph.input: batch})
        for output, expected in reference.forward(program, batch).items():
            answer = answers[output]
            assert answer.shape == expected.shape
            np.testing.assert_allclose(answer, expected, atol=1e-4 if name == "ssd" else 2e-5)
