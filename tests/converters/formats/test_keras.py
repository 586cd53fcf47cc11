"""Keras's archives carry every operation that layers have, and Keras computes the reference's."""

from __future__ import annotations

import dataclasses

import needs
import numpy as np
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program
from seeded import FULL

from facemask_zoo.converters.formats import keras as format_
from facemask_zoo.graph import reference
from facemask_zoo.graph.matching import renamed_like

GRAPHS = {**SINGLE, **NETWORKS, "ssd": FULL.graph}


def last(batch: np.ndarray) -> np.ndarray:
    return batch.transpose(0, 2, 3, 1) if batch.ndim == 4 else batch


def by_name(answers, names) -> dict[str, np.ndarray]:
    return answers if isinstance(answers, dict) else dict(zip(names, [answers], strict=True))


@pytest.fixture(scope="module")
def keras():
    return needs.framework("keras").keras


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_comes_back_and_runs(name, keras, tmp_path):
    program = dataclasses.replace(seeded_program(GRAPHS[name]), card='{"name": "x"}')
    path = tmp_path / "file.keras"
    format_.write(program, path)
    read = format_.read(path)
    assert read.card == program.card
    found = renamed_like(read, program.graph)
    assert found is not None
    assert found.digest == program.digest
    model = keras.models.load_model(path)
    batch = seeded_batch(program.graph, 3) * 4 - 2
    answers = by_name(model.predict_on_batch(last(batch)), program.graph.outputs)
    for output, expected in reference.forward(program, batch).items():
        answer = np.asarray(answers[output])
        assert answer.shape == expected.shape
        np.testing.assert_allclose(answer, expected, atol=1e-4 if name == "ssd" else 2e-5)
