"""Files that leave the height and width of their input open: the user names them."""

from __future__ import annotations

import re

import needs
import numpy as np
import onnx
import pytest
from graphs import NETWORKS, seeded_batch, seeded_program

from facemask_zoo import Classifier, InvalidArgumentError, WeightsError, cli, model_files
from facemask_zoo.cards import NO_TASK, ModelCard
from facemask_zoo.graph import reference
from facemask_zoo.model import Model
from facemask_zoo.store import open_weights

NETWORK = NETWORKS["squeezing_classifier"]
SIZES = [(32, 32), (48, 80)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("open")


def written(name: str, path) -> Model:
    model = Model(ModelCard("m", "", None, task=NO_TASK), seeded_program(NETWORK).tensors, NETWORK)
    model_files.write(model, path, name)
    return model


@pytest.fixture(scope="module")
def opened_onnx(folder):
    """A file that states names in the place of height and width, and holds no card."""
    path = folder / "open.onnx"
    written("onnx", path)
    proto = onnx.load(path)
    for axis, name in ((2, "height"), (3, "width")):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    del proto.metadata_props[:]
    onnx.save(proto, path)
    return path


def test_a_file_without_a_size_says_how_to_name_one(opened_onnx):
    with pytest.raises(WeightsError, match=r"open shape \[3, 0, 0\].*model.onnx@480x640"):
        model_files.read(opened_onnx)


@pytest.mark.parametrize("size", SIZES)
def test_it_is_read_as_of_the_size_that_is_named(size, opened_onnx):
    graph = open_weights(f"{opened_onnx}@{size[0]}x{size[1]}").graph
    assert graph.input_shape == (3, *size)
    assert graph.output_shapes == {"probabilities": (3,)}


def test_a_classifier_takes_its_size(opened_onnx):
    classifier = Classifier.load(opened_onnx, input_size=48, framework="onnx")
    assert classifier.classify([np.zeros((20, 30, 3), np.uint8)]).scores.shape == (1,)


def test_the_command_converts_it(opened_onnx, folder):
    target = folder / "converted.safetensors"
    assert cli.main(["convert", str(opened_onnx), str(target), "--input-size", "64"]) == 0
    assert model_files.read(target).graph.input_shape == (3, 64, 64)


def test_a_size_that_is_stated_cannot_be_changed(folder):
    path = folder / "fixed.onnx"
    written("onnx", path)
    assert open_weights(f"{path}@32").graph.input_shape == (3, 32, 32)
    with pytest.raises(InvalidArgumentError, match="one input size alone"):
        open_weights(f"{path}@64")


@pytest.mark.parametrize("size", [0, -32, 1 << 20, "64", (1, 2, 3)])
def test_impossible_sizes_are_refused(size, opened_onnx):
    with pytest.raises(InvalidArgumentError, match="input_size"):
        open_weights(opened_onnx, input_size=size)


def test_channels_may_not_be_open(opened_onnx, tmp_path):
    proto = onnx.load(opened_onnx)
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "channels"
    path = tmp_path / "open.onnx"
    onnx.save(proto, path)
    with pytest.raises(WeightsError):
        model_files.read(path, (32, 32))


def test_ncnn_files_without_a_shape(folder):
    path = folder / "open.param"
    original = written("ncnn", path).program
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join(
            re.sub(r" [012]=\d+", "", line) if line.startswith("Input") else line for line in lines
        )
    )
    with pytest.raises(WeightsError, match="@480x640"):
        model_files.read(path)
    again, batch = model_files.read(path, (32, 32)).program, seeded_batch(NETWORK, 2)
    (got,), (want,) = (reference.forward(each, batch).values() for each in (again, original))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def from_keras(folder):
    """A network of Keras for pictures of any size, in every form in which TensorFlow saves it."""
    needs.package("tensorflow")
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.save(folder / "any.keras")
    model.save(folder / "any.h5")
    model.export(folder / "any", verbose=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    (folder / "any.tflite").write_bytes(converter.convert())
    return model


@pytest.mark.parametrize("name", ["any.keras", "any.h5", "any", "any.tflite"])
def test_what_keras_and_tensorflow_left_open(name, from_keras, folder):
    with pytest.raises(WeightsError, match="open shape"):
        model_files.read(folder / name)
    program = model_files.read(folder / name, (24, 40)).program
    batch = np.random.default_rng(2).random((2, 3, 24, 40)).astype(np.float32)
    (answer,) = reference.forward(program, batch).values()
    expected = from_keras(batch.transpose(0, 2, 3, 1)).numpy()
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)
