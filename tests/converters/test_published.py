"""Every format that AIZOO published is read, from files of the same structure as its own."""

from __future__ import annotations

import json
import pickletools
import re
from collections.abc import Iterator

import needs
import numpy as np
import pytest
import ssd_reference as reference
from keras_process import predict
from published import WRITERS, trained
from seeded import seeded_batch, signature
from unfolded import write_unfolded

from facemask_zoo import model_files
from facemask_zoo.backends import Options, find_framework
from facemask_zoo.cards import load_card
from facemask_zoo.converters.formats import aizoo_pth, registry, tfjs

WITHOUT_SIZE = {"mxnet", "aizoo_pth"}
"""Formats that do not say for which input size the network is."""

AS_THEY_ARE = {
    "tensorflow": "tensorflow",
    "tflite": "tflite",
    "caffe": "opencv",
    "paddle": "paddle",
}
"""The framework that runs the published file itself."""


def write(name: str, size: int, folder):
    if name == "aizoo_pth":
        needs.module("torch")
    return WRITERS[name](trained(size), folder)


@pytest.mark.parametrize("size", [260, 360])
@pytest.mark.parametrize("name", WRITERS)
def test_files_like_aizoos_are_read(name, size, tmp_path):
    path, expected = write(name, size, tmp_path), trained(size).folded
    assert registry.format_of(path).name == name
    model = model_files.read(path)
    assert model.tensors.keys() == expected.tensors.keys()
    for key, values in expected.tensors.items():
        np.testing.assert_allclose(model.tensors[key], values, rtol=3e-7, atol=0)
    card = load_card(f"aizoo-{260 if name in WITHOUT_SIZE else size}")
    assert (model.card.network, model.card.nms) == (card.network, card.nms)


@pytest.mark.parametrize(
    ("name", "read_layers"),
    [
        ("tfjs", tfjs.read_layers),
        ("aizoo_pth", aizoo_pth.read_layers),
    ],
)
def test_what_is_not_folded_is_given_as_it_was_trained(name, read_layers, tmp_path):
    layers, expected = read_layers(write(name, 260, tmp_path)), trained(260).layers
    assert layers.keys() == expected.keys()
    for layer, parameters in expected.items():
        for key, values in parameters.items():
            np.testing.assert_array_equal(layers[layer][key], values)


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_the_framework_runs_the_file_as_it_is(name, need, tmp_path):
    framework = need(AS_THEY_ARE[name])
    if framework == "opencv" and not hasattr(needs.module("cv2").dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 reads no Caffe files")
    path, model = write(name, 260, tmp_path), trained(260).folded
    network, batch = model.card.network, seeded_batch(model.card.network, 2)
    backend = find_framework(framework).backend()
    loc, scores = backend(path, signature(network), Options()).forward(batch).values()
    golden = reference.forward(network, model.tensors, batch)
    np.testing.assert_allclose(loc, golden[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(scores, golden[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [260, pytest.param(360, marks=pytest.mark.scale)])
def test_the_architecture_loads_the_weights_made_again(size, tmp_path):
    """From the pickle to the ``.hdf5`` file that AIZOO's Keras program needs."""
    needs.package("tf_keras")
    path, model = write("aizoo_pth", size, tmp_path), trained(size).folded
    again = tmp_path / "again.hdf5"
    write_unfolded(model.card.network, aizoo_pth.read_layers(path), again)
    batch = seeded_batch(model.card.network, 1)
    outputs = predict("tf_keras", again, again.with_suffix(".json"), batch, tmp_path)
    golden = reference.forward(model.card.network, model.tensors, batch)
    np.testing.assert_allclose(outputs[0], golden[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(outputs[1], golden[1], rtol=0, atol=1e-5)


PUBLISHED = {
    "mxnet": "face_mask_detection.params",
    "paddle": "paddle",
    "tflite": "face_mask_detection.tflite",
    "tensorflow": "face_mask_detection.pb",
    "tfjs": "tfjs/model.json",
    "caffe": "face_mask_detection.prototxt",
    "aizoo_pth": "face_mask_detection.pth",
}


def names_in(name: str, path) -> set[str]:
    """What the file calls its arrays, as its own format stores it."""
    if name == "caffe":
        text = path.with_suffix(".prototxt").read_text()
        return set(re.findall(r'name: *"(\w+)"', text.partition("layer")[2]))
    if name == "tfjs":
        (group,) = json.loads(path.read_text())["weightsManifest"]
        return {weight["name"] for weight in group["weights"]}
    if name == "aizoo_pth":
        return set(pickled_names(path))
    content = path.read_bytes() if path.is_file() else (path / "__model__").read_bytes()
    return {match.decode() for match in re.findall(STORED_NAME[name], content)}


STORED_NAME = {
    "mxnet": rb"(?:conv|cls|loc)_\d[\w.]*\.(?:weight|bias)",
    "paddle": rb"(?:conv2d|cls|loc)_\w+_(?:weights|bias)",
    "tflite": rb"(?:conv2d|cls|loc)_\w+_1/(?:kernel|bias|convolution_bias)\0",
    "tensorflow": rb"(?:conv2d|cls|loc)_\w+_1/(?:kernel|bias|gamma|beta|moving_\w+)\x12\x05Const",
}


def pickled_names(path) -> Iterator[str]:
    """Layers and classes in the five pickles that such a file begins with."""
    with path.open("rb") as file:
        for _ in range(5):
            for operation, argument, _ in pickletools.genops(file):
                layer = isinstance(argument, str) and re.fullmatch(LAYER, argument)
                if layer or operation.name == "GLOBAL":
                    yield argument


LAYER = r"(conv2d|cls|loc)_\w+"


@pytest.mark.shared
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_files_here_name_their_arrays_as_aizoos_do(name, shared, tmp_path):
    theirs = names_in(name, shared / "aizoo" / PUBLISHED[name])
    ours = names_in(name, write(name, 260, tmp_path))
    assert len(theirs) >= 28
    assert ours == theirs
