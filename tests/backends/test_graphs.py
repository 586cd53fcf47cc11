"""Frameworks run any graph that their format carries, from the file alone."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import NETWORKS, seeded_batch, seeded_program

from facemask_zoo.backends import Options, find_framework
from facemask_zoo.converters.formats.registry import FORMATS
from facemask_zoo.graph import reference
from facemask_zoo.graph.signature import Signature

FRAMEWORKS = {"mxnet": "mxnet", "ncnn": "ncnn", "opencv": "caffe"}
"""The format that each runs from."""


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_runs(name, framework, need, tmp_path):
    need(framework)
    row = FORMATS[FRAMEWORKS[framework]]
    program = seeded_program(NETWORKS[name])
    path = tmp_path / f"modèle{row.suffix}"
    row.module.write(program, path)
    backend = find_framework(framework).backend()
    runner = backend(path, Signature.of(program.graph), Options(threads=1))
    for count in (1, 3):
        batch = seeded_batch(program.graph, count) * 4 - 2
        answers = runner.forward(batch)
        expected = reference.forward(program, batch)
        assert list(answers) == list(expected)
        for output, values in expected.items():
            np.testing.assert_allclose(answers[output], values, atol=5e-5)
