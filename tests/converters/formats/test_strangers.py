"""Networks that other people's code built, exported by TensorFlow itself, become graphs."""

from __future__ import annotations

import needs
import numpy as np
import onnxruntime
import pytest

from facemask_zoo import model_files
from facemask_zoo.converters.formats import onnx
from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph import reference

SIZE = 96


@pytest.fixture(scope="module")
def keras():
    needs.package("tensorflow")
    return needs.module("keras")


def mobilenet(keras):
    """MobileNetV2 with a head of two classes; its normalisations have statistics of their own."""
    return keras.applications.MobileNetV2(
        weights=None, input_shape=(SIZE, SIZE, 3), classes=2, alpha=0.35
    )


def landmarks(keras):
    """What learns its slopes, pads, enlarges, gates and reshapes."""
    layers = keras.layers
    image = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(8, 3, strides=2, padding="same")(x)
    x = layers.PReLU(shared_axes=[1, 2])(x)
    x = layers.ZeroPadding2D(((0, 1), (1, 0)))(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = layers.BatchNormalization()(x)
    x = layers.LeakyReLU(0.1)(x)
    y = layers.MaxPooling2D(2, padding="same")(x)
    y = layers.Conv2D(16, 1, activation="relu6")(y)
    y = layers.UpSampling2D(2, interpolation="bilinear")(layers.UpSampling2D(2)(y))
    y = layers.MaxPooling2D(2)(y)
    y = layers.Cropping2D(((0, 1), (0, 1)))(y) if y.shape[1] != x.shape[1] else y
    x = layers.Concatenate()([x, y])
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(32, 1, activation="sigmoid")(gate)
    x = layers.Multiply()([x, gate])
    x = layers.AveragePooling2D(2)(x)
    points = layers.Dense(10)(layers.Flatten()(x))
    boxes = layers.Reshape((-1, 4))(layers.Conv2D(8, 3, padding="same")(x))
    boxes = layers.Activation("tanh")(boxes)
    return keras.Model(image, [points, boxes])


def hard(keras):
    """Hard swish with squeeze and excitation, as MobileNetV3 has them."""
    return keras.applications.MobileNetV3Small(
        weights=None, input_shape=(SIZE, SIZE, 3), classes=3, alpha=0.75
    )


MODELS = {"mobilenet": mobilenet, "landmarks": landmarks, "hard": hard}


@pytest.fixture(
    scope="module",
    params=["mobilenet", "landmarks", pytest.param("hard", marks=pytest.mark.scale)],
)
def exported(request, keras, tmp_path_factory):
    """The files of a network, a batch, and what Keras answers to it."""
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    keras.utils.set_random_seed(3)
    model = MODELS[request.param](keras)
    rng = np.random.Generator(np.random.PCG64(5))
    for variable in model.weights:
        if "moving" in variable.path or "gamma" in variable.path or "beta" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        if "alpha" in variable.path:
            variable.assign(rng.uniform(-0.5, 0.5, variable.shape))
    folder = tmp_path_factory.mktemp(request.param)
    function = tf.function(lambda x: model(x, training=False))
    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
    frozen = convert_to_constants.convert_variables_to_constants_v2(
        function.get_concrete_function(spec)
    )
    tf.io.write_graph(frozen.graph, str(folder), "model.pb", as_text=False)
    lite = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    (folder / "model.tflite").write_bytes(lite)
    size = model.input_shape[1]
    batch = rng.random((2, 3, size, size)).astype(np.float32)
    answers = model(batch.transpose(0, 2, 3, 1), training=False)
    answers = answers if isinstance(answers, list | tuple) else [answers]
    return folder, batch, [np.asarray(each) for each in answers]


@pytest.mark.parametrize("suffix", ["pb", "tflite"])
def test_a_network_goes_on_to_onnx(suffix, exported, tmp_path):
    folder, batch, answers = exported
    model = model_files.read(folder / f"model.{suffix}")
    found = list(reference.forward(model.program, batch).values())
    assert_some_order(found, answers)
    onnx.write(model.program, tmp_path / "file.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "file.onnx")
    assert_some_order(session.run(None, {model.graph.input: batch}), answers)


def assert_some_order(found, answers) -> None:
    """A file may list outputs in any order."""
    assert len(found) == len(answers)
    for answer in answers:
        (same,) = [each for each in found if each.shape == answer.shape]
        np.testing.assert_allclose(same, answer, atol=2e-5)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_layers_that_augment_pictures_are_passed_over(suffix, keras, tmp_path):
    """A backbone with a head, as tutorials of transfer learning have it."""
    layers = keras.layers
    backbone = keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(SIZE, SIZE, 3), alpha=0.35
    )
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.RandomRotation(0.1)(layers.RandomFlip("horizontal")(image))
    x = backbone(layers.Rescaling(1 / 127.5, offset=-1)(x), training=False)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, layers.Dense(1)(x))
    model.save(tmp_path / f"model.{suffix}")
    batch = np.random.Generator(np.random.PCG64(5)).random((2, 3, SIZE, SIZE)).astype(np.float32)
    (answer,) = reference.forward(
        model_files.read(tmp_path / f"model.{suffix}").program, batch
    ).values()
    expected = np.asarray(model(batch.transpose(0, 2, 3, 1), training=False))
    np.testing.assert_allclose(answer, expected, atol=1e-6)


def test_a_saved_model_that_alters_pictures_is_refused_by_operation(keras, tmp_path):
    """Keras exports the augmentation as well; its seeds are integers."""
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(2, 3)(keras.layers.RandomFlip()(image))
    keras.Model(image, x).export(tmp_path / "saved", verbose=False)
    with pytest.raises(UnsupportedOperationError, match="saved"):
        model_files.read(tmp_path / "saved")
