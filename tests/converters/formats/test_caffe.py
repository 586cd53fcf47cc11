"""Caffe's files carry what OpenCV can run of every operation, there and back."""

from __future__ import annotations

import dataclasses

import needs
import numpy as np
import pytest
from google.protobuf import text_format
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program, single
from seeded import FULL

from facemask_zoo import WeightsError
from facemask_zoo.converters.formats import caffe as format_
from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph import reference
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.matching import renamed_like
from facemask_zoo.graph.program import Program

GRAPHS = {**SINGLE, **NETWORKS, "ssd": FULL.graph}
REFUSED = {"padded_average_pool": "AveragePool", "bilinear": "bilinear Upsample"}
"""What Caffe and OpenCV have no layers for."""
CARRIED = [name for name in GRAPHS if name not in REFUSED]
REWRITTEN = {"pad", "pad_channels"}
"""What comes back as other operations that compute the same."""


def assert_near(found, expected, tolerance=2e-5):
    assert len(found) == len(expected)
    for answer, right in zip(found, expected.values(), strict=True):
        assert answer.shape == right.shape
        np.testing.assert_allclose(answer, right, atol=tolerance)


def written(program, tmp_path):
    path = tmp_path / "file.caffemodel"
    format_.write(program, path)
    return path


def opencv_net(path):
    cv2 = needs.module("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 reads no Caffe files")
    return cv2.dnn.readNetFromCaffe(str(path.with_suffix(".prototxt")), str(path))


@pytest.mark.parametrize("name", CARRIED)
def test_a_graph_comes_back(name, tmp_path):
    program = dataclasses.replace(seeded_program(GRAPHS[name]), card='{"name": "x"}')
    read = format_.read(written(program, tmp_path))
    assert read.card == program.card
    batch = seeded_batch(program.graph, 2) * 4 - 2
    if name in REWRITTEN:
        assert_near(reference.forward(read, batch).values(), reference.forward(program, batch))
        return
    found = renamed_like(read, program.graph)
    assert found is not None
    assert found.digest == program.digest


@pytest.mark.parametrize("name", CARRIED)
def test_opencv_runs_it(name, tmp_path):
    program = seeded_program(GRAPHS[name])
    net = opencv_net(written(program, tmp_path))
    for count in (1, 3):
        batch = seeded_batch(program.graph, count) * 4 - 2
        net.setInput(batch, program.graph.input)
        answers = net.forward(list(program.graph.outputs))
        expected = reference.forward(program, batch)
        assert_near(answers, expected, 1e-4 if name == "ssd" else 2e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_layer_is_refused(name, tmp_path):
    with pytest.raises(UnsupportedOperationError, match=REFUSED[name]):
        written(seeded_program(GRAPHS[name]), tmp_path)


UNEVEN = {
    "dilated": {"kernel": (3, 3), "dilations": (2, 2), "padding": (2, 1, 0, 3)},
    "strided": {"kernel": (3, 2), "strides": (2, 1), "padding": (0, 2, 1, 0)},
}


@pytest.mark.parametrize("kind", UNEVEN)
def test_uneven_padding_of_a_convolution_is_written(kind, tmp_path):
    program = seeded_program(single(ops.Convolution, (3, 9, 8), filters=4, **UNEVEN[kind]))
    path = written(program, tmp_path)
    net, batch = opencv_net(path), seeded_batch(program.graph, 2) - 0.5
    net.setInput(batch, "image")
    expected = reference.forward(program, batch)
    assert_near(net.forward(["result"]), expected)
    assert_near(reference.forward(format_.read(path), batch).values(), expected)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (ops.Pad, {"channels": (0, 1)}),
        (ops.Convolution, {"filters": 1, "kernel": (1, 1), "padding": (0, 0, 127, 127)}),
    ],
)
def test_a_weight_that_grows_beyond_the_limit_is_refused(kind, settings, tmp_path):
    builder = GraphBuilder("x", (5000, 1, 1))
    graph = builder.finish(builder.add(kind, "y", "x", **settings))
    with pytest.raises(UnsupportedOperationError, match="by a weight of shape"):
        format_.write(seeded_program(graph), tmp_path / "file.caffemodel")
    assert not list(tmp_path.iterdir())


def test_an_output_that_others_read_stays_one(tmp_path):
    b = GraphBuilder("image", (3, 4, 4))
    middle = b.add(ops.Relu, "middle", "image")
    part = b.add(ops.Slice, "part", middle, axis=1, start=1, stop=2)
    program = Program(b.finish("middle", "part", b.add(ops.Tanh, "last", part)), {})
    path = written(program, tmp_path)
    net, batch = opencv_net(path), seeded_batch(program.graph, 2) - 0.5
    net.setInput(batch, "image")
    assert_near(net.forward(["middle", "part", "last"]), reference.forward(program, batch))
    assert renamed_like(format_.read(path), program.graph) is not None


# Layers as Caffe's own examples and the published MobileNet and SSD files write them.
STRANGER = """
name: "stranger"
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 3 dim: 20 dim: 17 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        param { lr_mult: 1 } convolution_param { num_output: 8 bias_term: false pad: 1
        kernel_size: 3 stride: 2 weight_filler { type: "msra" } } }
layer { name: "conv1/bn" type: "BatchNorm" bottom: "conv1" top: "conv1"
        batch_norm_param { use_global_stats: true eps: 1e-4 } }
layer { name: "conv1/scale" type: "Scale" bottom: "conv1" top: "conv1"
        scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "dw" type: "Convolution" bottom: "conv1" top: "dw"
        convolution_param { num_output: 8 group: 8 pad_h: 1 pad_w: 0 kernel_h: 3 kernel_w: 1 } }
layer { name: "leaky" type: "ReLU" bottom: "dw" top: "dw" relu_param { negative_slope: 0.2 } }
layer { name: "sum" type: "Eltwise" bottom: "conv1" bottom: "dw" top: "sum"
        eltwise_param { operation: SUM coeff: 1 coeff: -0.5 } }
layer { name: "pool" type: "Pooling" bottom: "sum" top: "pool"
        pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "cut" type: "Slice" bottom: "pool" top: "a" top: "b" slice_param { slice_dim: 1 } }
layer { name: "prelu" type: "PReLU" bottom: "a" top: "a" }
layer { name: "power" type: "Power" bottom: "b" top: "b" power_param { scale: 0.5 shift: -0.1 } }
layer { name: "joined" type: "Concat" bottom: "b" bottom: "a" top: "joined"
        concat_param { concat_dim: 1 } }
layer { name: "flat" type: "Flatten" bottom: "joined" top: "flat" }
layer { name: "drop" type: "Dropout" bottom: "flat" top: "flat"
        dropout_param { dropout_ratio: 0.5 } }
layer { name: "fc" type: "InnerProduct" bottom: "flat" top: "fc"
        inner_product_param { num_output: 4 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" top: "loss" include { phase: TRAIN } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" include { phase: TEST } }
"""
BLOBS = {
    "conv1": [(8, 3, 3, 3)],
    "conv1/bn": [(8,), (8,), (1,)],
    "conv1/scale": [(8,), (8,)],
    "dw": [(8, 1, 3, 1), (8,)],
    "prelu": [(4,)],
    "fc": [(4, 160), (4,)],
}


def stranger(tmp_path, text=STRANGER):
    rng = np.random.Generator(np.random.PCG64(9))
    net = text_format.Parse(text, format_._Net(), allow_unknown_field=True)
    for layer in net.layer:
        for shape in BLOBS.get(layer.name, ()):
            values = rng.random(shape) + (0.5 if layer.type == "BatchNorm" else -0.4)
            layer.blobs.add(data=values.ravel().tolist(), shape={"dim": shape})
    path = tmp_path / "net.caffemodel"
    path.write_bytes(net.SerializeToString())
    path.with_suffix(".prototxt").write_text(text)
    return path


def test_a_strangers_net_becomes_a_graph(tmp_path):
    path = stranger(tmp_path)
    program = format_.read(path)
    batch = seeded_batch(program.graph, 2)
    # OpenCV knows no phases.
    lines = STRANGER.splitlines()
    served = "\n".join(line for line in lines if "SoftmaxWithLoss" not in line)
    path.with_suffix(".prototxt").write_text(served)
    net = opencv_net(path)
    net.setInput(batch, "data")
    assert_near(list(reference.forward(program, batch).values()), {"prob": net.forward("prob")})
    path.with_suffix(".prototxt").unlink()
    assert format_.read(path).digest == program.digest


DAMAGES = {
    "cycle": ('bottom: "data" top: "conv1"', 'bottom: "prob" top: "conv1"'),
    "missing input": ('bottom: "dw" top: "sum"', 'bottom: "nothing" top: "sum"'),
    "no bottoms": ('bottom: "flat" top: "fc"', 'top: "fc"'),
    "one bottom of two": ('bottom: "conv1" bottom: "dw" top: "sum"', 'bottom: "dw" top: "sum"'),
    "two inputs": ('name: "stranger"', 'input: "x" input_shape { dim: 1 dim: 2 }'),
    "huge input": ("dim: 20 dim: 17", "dim: 2000000000 dim: 2000000000"),
    "empty input": ("dim: 20 dim: 17", "dim: 0 dim: 17"),
    "huge kernel": ("kernel_h: 3", "kernel_h: 4000000000"),
    "no stride": ("stride: 2 weight", "stride: 0 weight"),
    "huge padding": ("pad: 1", "pad: 4000000000"),
    "another width": ("num_output: 8 group", "num_output: 9 group"),
    "no groups": ("group: 8", "group: 0"),
    "slice outside": ("slice_dim: 1", "slice_dim: 1 slice_point: 99"),
    "more tops": ('top: "b" slice', 'top: "b" top: "c" slice'),
    "tops of a pool": ('top: "pool"', 'top: "pool" top: "more"'),
    "axis outside": ("concat_dim: 1", "concat_dim: 77"),
    "another shape": ('bottom: "b" bottom: "a"', 'bottom: "b" bottom: "sum"'),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damaged_nets_are_refused(what, tmp_path):
    old, new = DAMAGES[what]
    assert old in STRANGER
    with pytest.raises(WeightsError):
        format_.read(stranger(tmp_path, STRANGER.replace(old, new)))


@pytest.mark.parametrize("kind", ["LRN", "Deconvolution", "Python"])
def test_an_unknown_layer_is_named(kind, tmp_path):
    text = STRANGER.replace('"drop" type: "Dropout"', f'"drop" type: "{kind}"')
    with pytest.raises(WeightsError, match="drop"):
        format_.read(stranger(tmp_path, text))


def test_a_step_outside_of_the_input_is_not_rounded_up(tmp_path):
    """Caffe keeps such a window, which has no largest value, where there is no padding."""
    graph = single(ops.MaxPool, (3, 8, 8), kernel=(1, 1), strides=(2, 2))
    program = seeded_program(graph)
    path = written(program, tmp_path)
    batch = seeded_batch(graph, 2) - 2
    net = opencv_net(path)
    net.setInput(batch, "image")
    expected = reference.forward(program, batch)
    assert_near(net.forward(list(graph.outputs)), expected)
    assert_near(reference.forward(format_.read(path), batch).values(), expected)
    layers = path.with_suffix(".prototxt")
    layers.write_text(layers.read_text().replace("ceil_mode: false", ""))
    with pytest.raises(UnsupportedOperationError, match="Pooling"):
        format_.read(path)
