"""The Keras backend runs any graph, on each engine."""

from __future__ import annotations

import os
import subprocess
import sys

import needs
import numpy as np
import pytest
from graphs import NETWORKS, seeded_batch, seeded_program

from facemask_zoo.backends import Options, find_framework
from facemask_zoo.converters.formats import keras as archives
from facemask_zoo.converters.formats import keras_h5
from facemask_zoo.graph import reference
from facemask_zoo.graph.signature import Signature


@pytest.mark.parametrize("format_", [archives, keras_h5], ids=["keras", "keras_h5"])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_runs(name, format_, need, tmp_path):
    backend = find_framework(need("keras")).backend()
    program = seeded_program(NETWORKS[name])
    path = tmp_path / ("file.keras" if format_ is archives else "file.h5")
    format_.write(program, path)
    loaded = backend(path, Signature.of(program.graph), Options())
    for count in (0, 1, 3):
        batch = seeded_batch(program.graph, count)
        answers = loaded.forward(batch)
        assert tuple(answers) == program.graph.outputs
        if count:
            for output, expected in reference.forward(program, batch).items():
                np.testing.assert_allclose(answers[output], expected, atol=2e-5)


RUN = """
import sys
import numpy as np
from pathlib import Path
from facemask_zoo.backends import Options, find_framework
from facemask_zoo.converters.formats import keras
from facemask_zoo.graph.signature import Signature
folder = Path(sys.argv[1])
backend = find_framework("keras").backend()
assert backend.engine == sys.argv[2]
for path in sorted(folder.glob("*.keras")):
    loaded = backend(path, Signature.of(keras.read(path).graph), Options())
    np.savez(path.with_suffix(".npz"), **loaded.forward(np.load(path.with_suffix(".npy"))))
"""


@pytest.mark.parametrize("engine", ["torch"])
def test_any_network_runs_on_another_engine(engine, need, tmp_path):
    need("keras")
    needs.package(engine)
    for name, graph in NETWORKS.items():
        archives.write(seeded_program(graph), tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", seeded_batch(graph, 2))
    environment = {**os.environ, "KERAS_BACKEND": engine}
    words = [sys.executable, "-c", RUN, tmp_path, engine]
    subprocess.run(words, check=True, timeout=300, env=environment)
    for name, graph in NETWORKS.items():
        expected = reference.forward(seeded_program(graph), seeded_batch(graph, 2))
        with np.load(tmp_path / f"{name}.npz") as answers:
            for output, values in expected.items():
                np.testing.assert_allclose(answers[output], values, atol=2e-5)
