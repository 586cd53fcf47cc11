from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from google.protobuf import text_format
from seeded import random_network, seeded_model

from facemask_zoo import WeightsError, model_files
from facemask_zoo.converters.formats.caffe import _Net

FORMAT = "caffe"


def test_without_its_card_the_shape_tells_the_network(tmp_path):
    network = random_network(np.random.default_rng(1))
    model = seeded_model(network, 1)
    path = tmp_path / "bare.caffemodel"
    model_files.write(model, path, "caffe")
    graph = path.with_suffix(".prototxt").read_text().partition("\n")[2]
    path.with_suffix(".prototxt").write_text(graph)
    from_graph = model_files.read(path)
    path.with_suffix(".prototxt").unlink()
    from_weights = model_files.read(path)
    for read in (from_graph, from_weights):
        assert read.digest == model.digest
        assert read.card.network.input_size == network.input_size
        assert read.card.network.stages == network.stages
        assert len(read.card.network.classes) == len(network.classes)


INPUTS = [
    'input: "data" input_shape { dim: 1 dim: 3 dim: 184 dim: 184 }',
    'layer { name: "data" type: "Input" top: "data" input_param '
    "{ shape { dim: 1 dim: 3 dim: 184 dim: 184 } } }",
    'force_backward: true input: "data" input_dim: 1 input_dim: 3 input_dim: 184 input_dim: 184',
]


@pytest.mark.parametrize("text", INPUTS)
def test_every_way_to_write_the_input_size_is_read(text, tmp_path):
    network = dataclasses.replace(random_network(np.random.default_rng(2)), input_size=184)
    model = seeded_model(network, 2)
    path = tmp_path / "other.caffemodel"
    model_files.write(model, path, "caffe")
    layers = path.with_suffix(".prototxt").read_text().partition("layer {")
    path.with_suffix(".prototxt").write_text(text + "\n" + "".join(layers[1:]))
    read = model_files.read(path)
    assert read.card.network.input_size == 184
    assert read.digest == model.digest


def test_blobs_in_the_old_four_dimensional_form_are_read(model, written, assert_same):
    net = _Net.FromString(written.read_bytes())
    for layer in net.layer:
        for blob in layer.blobs:
            shape = [1] * (4 - len(blob.shape.dim)) + list(blob.shape.dim)
            blob.num, blob.channels, blob.height, blob.width = shape
            blob.ClearField("shape")
    written.write_bytes(net.SerializeToString())
    assert_same(model_files.read(written), model)


@pytest.mark.parametrize("shape", [(2**62, 2**62), (-1, -3, 3, 3), (0, 3, 3, 3), ()])
def test_shapes_that_do_not_fit_their_values_are_refused(shape, written):
    net = _Net.FromString(written.read_bytes())
    blob = next(layer for layer in net.layer if layer.blobs).blobs[0]
    blob.shape.dim[:] = shape
    written.write_bytes(net.SerializeToString())
    with pytest.raises(WeightsError, match="do not fill"):
        model_files.read(written)


@pytest.mark.parametrize(
    "part",
    [
        b"\xa2\x06\x00",  # an empty layer
        b"\x1a\x00",  # an empty name of an input
        b"\x08\x01",  # a number that is no field
    ],
)
def test_swarms_of_tiny_parts_are_refused_before_they_become_objects(part, tmp_path):
    path = tmp_path / "swarm.caffemodel"
    path.write_bytes(b"\n\x00\x1a\x00" + part * 4_000_001)
    with pytest.raises(WeightsError, match="parts"):
        model_files.read(path)


@pytest.mark.parametrize(
    "text",
    ["# facemask_zoo.card: {", "layer {", "layer: 3", "input_dim: x", "a {" * 10_000, "\0", "}"],
)
def test_a_damaged_prototxt_is_refused(text, written):
    written.with_suffix(".prototxt").write_text(text)
    with pytest.raises(WeightsError):
        model_files.read(written)


def test_a_prototxt_that_is_not_text_is_refused(written):
    written.with_suffix(".prototxt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WeightsError, match="prototxt"):
        model_files.read(written)


@pytest.mark.shared
def test_aizoos_pair_equals_its_mxnet_file_bit_for_bit(shared):
    folder = shared / "aizoo"
    caffe = model_files.read(folder / "face_mask_detection.caffemodel")
    mxnet = model_files.read(folder / "face_mask_detection.params")
    folded = model_files.read(folder / "face_mask_detection.pth")
    assert caffe.digest == mxnet.digest
    assert caffe.card.network == folded.card.network
    for name, values in folded.tensors.items():
        np.testing.assert_allclose(caffe.tensors[name], values, rtol=0, atol=1e-6)


@pytest.mark.shared
def test_our_layers_are_aizoos_layers(shared, tmp_path):
    published = shared / "aizoo" / "face_mask_detection.caffemodel"
    model_files.write(model_files.read(published), tmp_path / "own.caffemodel", "caffe")
    kinds = []
    for path in (published, tmp_path / "own.caffemodel"):
        text = path.with_suffix(".prototxt").read_text()
        net = text_format.Parse(text, _Net(), allow_unknown_field=True)
        kinds.append(Counter(layer.type for layer in net.layer))
    assert kinds[0] == kinds[1]
