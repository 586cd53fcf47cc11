"""Files that other frameworks wrote of other people's networks are read as they were meant."""

from __future__ import annotations

import os
import subprocess
import sys

import needs
import numpy as np
import pytest
from places import ROOT

from facemask_zoo import model_files
from facemask_zoo.benchmarks import strangers
from facemask_zoo.graph import reference
from facemask_zoo.graph.program import Program


@pytest.mark.parametrize(("maker", "files"), [("torchvision", 2), ("gluon", 1)])
def test_what_is_read_gives_its_makers_answers(maker, files, tmp_path):
    for package in strangers.MAKERS[maker][1]:
        needs.package(package)
    command = [sys.executable, "-m", "facemask_zoo.benchmarks.strangers", maker, str(tmp_path)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    found = strangers.sources(tmp_path)
    assert len(found) == files
    assert max(map(strangers.difference, found)) < 1e-4


def test_a_layer_that_is_read_wrongly_would_show(tmp_path):
    """The answers depend on every tensor: none has vanished on the way."""
    needs.package("mxnet")
    command = [sys.executable, "-m", "facemask_zoo.benchmarks.strangers", "gluon", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (source,) = strangers.sources(tmp_path)
    program = model_files.read(source).program
    rng = np.random.Generator(np.random.PCG64(1))
    batch = rng.random((1, *program.graph.input_shape)).astype(np.float32)
    (expected,) = reference.forward(program, batch).values()
    for name in list(program.tensors)[:: max(1, len(program.tensors) // 6)]:
        changed = {**program.tensors, name: program.tensors[name] * np.float32(1.2)}
        (answer,) = reference.forward(Program(program.graph, changed), batch).values()
        assert np.abs(answer - expected).max() > 1e-3 * np.abs(expected).max(), name
