"""Configurations of layers from strangers: a graph, or our own exception that says what is wrong.

TensorFlow.js's files are plain text, so that most is tried with them; the readers of the other two
formats are the same.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from facemask_zoo.converters.formats import tfjs
from facemask_zoo.errors import UnsupportedOperationError, WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph import reference


def layer(kind, name, *sources, **config):
    nodes = [[[source, 0, 0, {}] for source in sources]] if sources else []
    return {"class_name": kind, "name": name, "config": config, "inbound_nodes": nodes}


def image(*shape):
    return layer("InputLayer", "image", batch_input_shape=[None, *(shape or (8, 8, 3))])


def functional(layers, outputs=None):
    return {
        "class_name": "Model",
        "config": {
            "layers": layers,
            "input_layers": [["image", 0, 0]],
            "output_layers": [[name, 0, 0] for name in outputs or [layers[-1]["name"]]],
        },
    }


def called(model, name, source):
    return {**model, "name": name, "inbound_nodes": [[[source, 0, 0, {}]]]}


@pytest.fixture
def read(tmp_path):
    def read_it(model, **arrays):
        weights = [
            {"name": name.replace("__", "/"), "shape": list(values.shape), "dtype": "float32"}
            for name, values in arrays.items()
        ]
        manifest = [{"paths": ["model.bin"], "weights": weights}]
        text = json.dumps({"modelTopology": model, "weightsManifest": manifest})
        (tmp_path / "model.json").write_text(text)
        content = b"".join(values.astype("<f4").tobytes() for values in arrays.values())
        (tmp_path / "model.bin").write_bytes(content)
        return tfjs.read(tmp_path / "model.json")

    return read_it


RELU = layer("ReLU", "relu", "image")
ABSURD = {
    "a cycle": [image(), layer("Add", "a", "image", "b"), layer("ReLU", "b", "a")],
    "itself": [image(), layer("Add", "a", "image", "a")],
    "a missing layer": [image(), layer("ReLU", "a", "nowhere")],
    "a missing input": [RELU],
    "two of a name": [image(), RELU, RELU],
    "no input": [image(), layer("ReLU", "a")],
    "an open shape": [image(None, None, 3), RELU],
    "a negative shape": [image(-8, 8, 3), RELU],
    "a huge shape": [image(1 << 40, 1 << 40, 3), RELU],
    "a shape of text": [image("8", 8, 3), RELU],
    "many channels": [image(1, 1, 1 << 33), layer("Rescaling", "a", "image", scale=2.0)],
    "shapes apart": [
        image(),
        layer("MaxPooling2D", "a", "image", pool_size=[2, 2]),
        layer("Add", "b", "image", "a"),
    ],
    "a large kernel": [image(), layer("MaxPooling2D", "a", "image", pool_size=[9, 9])],
    "a huge kernel": [
        image(),
        layer("MaxPooling2D", "a", "image", pool_size=[10**30, 2], padding="same"),
    ],
    "no strides": [
        image(),
        layer("MaxPooling2D", "a", "image", pool_size=2, strides=[0, 0], padding="same"),
    ],
    "a kernel of text": [image(), layer("MaxPooling2D", "a", "image", pool_size="22")],
    "cropped away": [image(), layer("Cropping2D", "a", "image", cropping=[[8, 8], [0, 0]])],
    "cropped outwards": [image(), layer("Cropping2D", "a", "image", cropping=[[-1, 0], [0, 0]])],
    "padded by text": [image(), layer("ZeroPadding2D", "a", "image", padding="1111")],
    "no padding": [image(), layer("ZeroPadding2D", "a", "image")],
    "a reshape": [image(), layer("Reshape", "a", "image", target_shape=[-1, 7])],
    "two open axes": [image(), layer("Reshape", "a", "image", target_shape=[-1, -1])],
    "zeros": [image(), layer("Reshape", "a", "image", target_shape=[0, -1])],
    "the batch moved": [image(), layer("Permute", "a", "image", dims=[0, 1, 2])],
    "an axis too many": [image(), layer("Concatenate", "a", "image", "image", axis=9)],
    "infinite": [image(), layer("Rescaling", "a", "image", scale=1e999)],
    "a slope": [image(), layer("LeakyReLU", "a", "image", alpha=1e300)],
    "without weights": [image(), layer("Conv2D", "a", "image", filters=3, kernel_size=[3, 3])],
    "enlarged": [
        image(),
        *(
            layer("UpSampling2D", f"u{i}", f"u{i - 1}" if i else "image", size=[64, 64])
            for i in range(20)
        ),
    ],
    "too many": [image(), *(layer("ReLU", f"r{i}", "image") for i in range(5000))],
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_models_are_refused(name, read):
    with pytest.raises(WeightsError):
        read(functional(ABSURD[name]))


@pytest.mark.parametrize(
    "model",
    [
        *(None, 3, [], {}, {"class_name": "Model"}, {"class_name": "Model", "config": []}),
        {"class_name": "Sequential", "config": {"layers": []}},
        {"class_name": "Sequential", "config": {"layers": [RELU]}},
        {"class_name": "Sequential", "config": 3},
        functional([{"class_name": "ReLU"}], ["x"]),
        functional([{"class_name": [], "config": {}, "name": "x"}]),
        functional([image(), {**RELU, "inbound_nodes": [[["image", "0", 0, {}]]]}]),
        functional([image(), {**RELU, "inbound_nodes": [[["image", 0, 7, {}]]]}]),
        functional([image(), {**RELU, "inbound_nodes": [[["image", 0, 0, {"training": True}]]]}]),
        functional([image(), {**RELU, "inbound_nodes": [[[[[[[[[[["image", 0, 0]]]]]]]]]]]}]),
        functional([image(), RELU], ["relu", "relu"]),
    ],
)
def test_malformed_models_are_refused(model, read):
    with pytest.raises(WeightsError):
        read(model)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("Lambda", {"function": "__import__('os').system('true')"}),
        ("LSTM", {"units": 4}),
        ("Custom>Thing", {}),
        ("Activation", {"activation": "elu"}),
        ("ReLU", {"max_value": 3.0}),
        ("ReLU", {"threshold": 1.0}),
        ("MaxPooling2D", {"data_format": "channels_first"}),
        ("UpSampling2D", {"interpolation": "bilinear"}),
        ("BatchNormalization", {"axis": 1}),
        ("Softmax", {"axis": [1, 2]}),
    ],
)
def test_what_graphs_cannot_do_is_refused_by_layer(kind, config, read):
    with pytest.raises(UnsupportedOperationError, match="odd_one") as error:
        read(functional([image(), layer(kind, "odd_one", "image", **config)]))
    assert error.value.format == "tfjs"


def test_models_within_models_that_are_called_over_and_over_end(read):
    def often(inner, count=40):
        nodes = [[["image", 0, 0, {}]], *([["m", index, 0, {}]] for index in range(count - 1))]
        model = functional([image(), {**inner, "name": "m", "inbound_nodes": [*map(list, nodes)]}])
        model["config"]["output_layers"] = [["m", count - 1, 0]]
        return model

    model = functional([image(), layer("Dropout", "same", "image")])
    for _ in range(3):
        model = often(model)
    with pytest.raises(WeightsError, match="steps"):
        read(model)


def test_a_model_within_a_model_is_read_with_its_own_weights(read):
    inner = functional([image(4), layer("Dense", "dense", "image")])
    layers = [image(3), layer("Dense", "first", "image"), called(inner, "inner", "first")]
    outer = functional(layers)
    rng = np.random.default_rng(3)
    arrays = {
        "first__kernel": rng.random((3, 4)),
        "first__bias": rng.random(4),
        "dense__kernel": rng.random((4, 2)),
        "dense__bias": rng.random(2),
    }
    single = {name: values.astype(np.float32) for name, values in arrays.items()}
    program = read(outer, **single)
    batch = rng.random((5, 3))
    hidden = batch @ single["first__kernel"] + single["first__bias"]
    expected = hidden @ single["dense__kernel"] + single["dense__bias"]
    (answer,) = reference.forward(program, batch).values()
    np.testing.assert_allclose(answer, expected, atol=1e-12)


def test_what_no_output_needs_is_not_looked_at(read):
    program = read(functional([image(), layer("Lambda", "evil", "image", function="x"), RELU]))
    assert [type(each) for each in program.graph.operations[:1]] == [ops.Relu]


def test_a_chain_is_read(read):
    layers = [
        layer("Conv2D", "conv", kernel_size=[3, 3], batch_input_shape=[None, 8, 8, 3]),
        layer("BatchNormalization", "norm"),
        layer("GlobalAveragePooling2D", "mean"),
        layer("Dense", "dense", activation="softmax"),
    ]
    rng = np.random.default_rng(4)
    norm = {f"norm__{part}": np.ones(5) for part in ("gamma", "beta", "moving_mean")}
    arrays = {
        "conv__kernel": rng.random((3, 3, 3, 5)),
        "conv__bias": rng.random(5),
        **norm,
        "norm__moving_variance": np.ones(5),
        "dense__kernel": rng.random((5, 2)),
        "dense__bias": rng.random(2),
    }
    program = read({"class_name": "Sequential", "config": layers}, **arrays)
    assert program.graph.outputs == ("dense",)
    kinds = [ops.Convolution, ops.GlobalAveragePool, ops.Reshape, ops.Linear, ops.Softmax]
    assert [type(each) for each in program.graph.operations] == kinds
    arrays["conv__kernel"] = arrays["conv__kernel"][:, :, :2]
    with pytest.raises(WeightsError, match="expected float32 of shape"):
        read({"class_name": "Sequential", "config": layers}, **arrays)
