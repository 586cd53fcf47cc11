"""Layers before and behind the network proper, as tutorials and keras.applications put them."""

from __future__ import annotations

import needs
import numpy as np
import pytest

from facemask_zoo import model_files
from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph import reference

SIZE = 32
FORMATS = ("m.keras", "m.h5", "saved", "m.tflite")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders with each network in every form in which TensorFlow saves it, and the networks."""
    needs.package("tensorflow")
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(3)
    layers, made = keras.layers, {}

    def network(first, last):
        return keras.Sequential(
            [
                keras.Input((SIZE, SIZE, 3)),
                first,
                layers.Conv2D(8, 3, strides=2, activation="swish"),
                last,
                layers.Dense(2),
            ]
        )

    learnt = layers.Normalization()
    learnt.adapt(np.random.default_rng(1).random((4, SIZE, SIZE, 3)) * [1, 2, 3] + [0, 1, 5])
    given = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.2, 0.3, 0.0])
    made["learnt"] = network(learnt, layers.GlobalMaxPooling2D())
    made["given"] = network(given, layers.GlobalAveragePooling2D())
    made["flipped"] = network(layers.RandomFlip(), layers.GlobalMaxPooling2D())
    folder = tmp_path_factory.mktemp("keras")
    for name, model in made.items():
        (folder / name).mkdir()
        model.save(folder / name / "m.keras")
        model.save(folder / name / "m.h5")
        model.export(folder / name / "saved", verbose=False)
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        (folder / name / "m.tflite").write_bytes(converter.convert())
    return folder, made


@pytest.mark.parametrize(
    ("name", "file"),
    # TensorFlow exports the layers that augment pictures with the state of their randomness.
    [(name, file) for name in ("learnt", "given") for file in FORMATS]
    + [("flipped", file) for file in FORMATS if file != "saved"],
)
def test_they_are_carried(name, file, models):
    folder, made = models
    batch = np.random.default_rng(2).random((2, 3, SIZE, SIZE)).astype(np.float32)
    program = model_files.read(folder / name / file).program
    (answer,) = reference.forward(program, batch).values()
    expected = made[name](batch.transpose(0, 2, 3, 1), training=False).numpy()
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_a_normalization_that_goes_back_is_refused(tmp_path):
    needs.package("tensorflow")
    import keras

    layer = keras.layers.Normalization(mean=1.0, variance=2.0, invert=True)
    model = keras.Sequential([keras.Input((8, 8, 3)), layer, keras.layers.ReLU()])
    model.save(tmp_path / "m.keras")
    with pytest.raises(UnsupportedOperationError, match="Normalization"):
        model_files.read(tmp_path / "m.keras")
