"""Keras's archives carry every operation that layers have, and Keras computes the reference's."""

from __future__ import annotations

import dataclasses

import needs
import numpy as np
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program
from seeded import FULL

from facemask_zoo import WeightsError, model_files
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


def test_a_head_with_a_normalised_vector_is_read(keras, tmp_path):
    """Normalisation behind a dense layer's activation: it folds into nothing before it."""
    layers = keras.layers
    keras.utils.set_random_seed(5)
    image = keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(image))
    x = layers.BatchNormalization(name="norm")(layers.Dense(6, activation="relu")(x))
    model = keras.Model(image, layers.Dense(2, activation="sigmoid")(layers.Dropout(0.5)(x)))
    rng = np.random.Generator(np.random.PCG64(5))
    for variable in model.get_layer("norm").weights:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    model.save(tmp_path / "head.keras")
    found = model_files.read(tmp_path / "head.keras")
    batch = seeded_batch(found.graph, 2)
    (answer,) = reference.forward(found.program, batch).values()
    np.testing.assert_allclose(answer, model.predict_on_batch(last(batch)), atol=2e-6)


@pytest.mark.parametrize("kind", ["LayerNormalization", "Resizing"])
def test_a_layer_that_is_not_carried_is_named_and_so_is_the_file(kind, keras, tmp_path):
    settings = {"height": 8, "width": 8} if kind == "Resizing" else {}
    image = keras.Input((16, 16, 3))
    model = keras.Model(image, getattr(keras.layers, kind)(name="odd", **settings)(image))
    model.save(tmp_path / "odd.keras")
    with pytest.raises(WeightsError, match=kind) as caught:
        model_files.read(tmp_path / "odd.keras")
    assert str(tmp_path / "odd.keras") in str(caught.value)
    assert "'odd'" in str(caught.value) or "(odd)" in str(caught.value)
