"""PyTorch and Paddle run networks of every kind, whatever their input and outputs are."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program

from facemask_zoo.backends import Options, find_framework
from facemask_zoo.converters.formats.registry import find_format
from facemask_zoo.graph import reference
from facemask_zoo.graph.signature import Signature

VECTORS = {name: SINGLE[name] for name in ("linear", "linear_of_rows", "softmax")}
GRAPHS = {**NETWORKS, **VECTORS}
FILES = [("pytorch", "safetensors"), ("pytorch", "pytorch"), ("paddle", "paddle")]


@pytest.mark.parametrize(("framework_name", "format_name"), FILES)
@pytest.mark.parametrize("name", GRAPHS)
def test_a_backend_runs_it(name, framework_name, format_name, need, tmp_path):
    backend = find_framework(need(framework_name)).backend()
    program, row = seeded_program(GRAPHS[name]), find_format(format_name)
    path = tmp_path / f"file{row.suffix}"
    row.module.write(program, path)
    loaded = backend(path, Signature.of(program.graph), Options())
    for count in (1, 3):
        batch = seeded_batch(program.graph, count) * 4 - 2
        answers = loaded.forward(batch)
        assert list(answers) == list(program.graph.outputs)
        for output, expected in reference.forward(program, batch).items():
            np.testing.assert_allclose(answers[output], expected, atol=2e-5)
