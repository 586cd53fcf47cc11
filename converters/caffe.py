"""Caffe: ``.caffemodel`` with the weights and ``.prototxt`` with the graph, both without Caffe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray

from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.limits import read_bytes
from facemask_zoo.converters.protobuf_schema import declare, parse, serialize
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Model
from facemask_zoo.recognition import card_from_tensors
from facemask_zoo.ssd.network import INPUT_NAME, Convolution, build

_NETWORK_NAME = "facemask_zoo"
_CARD_COMMENT = f"# {CARD_KEY}: "
_MAX_PROTOTXT_BYTES = 1024 * 1024

# Field numbers as in Caffe's caffe.proto; Permute is the SSD branch's, which OpenCV reads too.
_MESSAGES = declare(
    "facemask_zoo.caffe",
    """
    enum PoolMethod { MAX = 0; AVE = 1; STOCHASTIC = 2; }
    message BlobShape { repeated int64 dim = 1 [packed]; }
    message BlobProto {
        int32 num = 1; int32 channels = 2; int32 height = 3; int32 width = 4;
        repeated float data = 5 [packed]; BlobShape shape = 7;
    }
    message InputParameter { repeated BlobShape shape = 1; }
    message ConcatParameter { int32 axis = 2; }
    message ConvolutionParameter {
        uint32 num_output = 1; repeated uint32 pad = 3;
        repeated uint32 kernel_size = 4; repeated uint32 stride = 6;
    }
    message PoolingParameter { PoolMethod pool = 1; uint32 kernel_size = 2; uint32 stride = 3; }
    message ReshapeParameter { BlobShape shape = 1; }
    message PermuteParameter { repeated uint32 order = 1; }
    message LayerParameter {
        string name = 1; string type = 2; repeated string bottom = 3; repeated string top = 4;
        repeated BlobProto blobs = 7; ConcatParameter concat_param = 104;
        ConvolutionParameter convolution_param = 106; PoolingParameter pooling_param = 121;
        ReshapeParameter reshape_param = 133; InputParameter input_param = 143;
        PermuteParameter permute_param = 202;
    }
    message NetParameter {
        string name = 1; repeated string input = 3; repeated int32 input_dim = 4;
        repeated BlobShape input_shape = 8; repeated LayerParameter layer = 100;
    }
    """,
)
_Net = _MESSAGES["NetParameter"]


def companions(path: Path) -> list[Path]:
    """The graph of a file of weights."""
    return [path.with_suffix(".prototxt")]


def read(path: Path) -> Model:
    """Read the blobs, and the card from the ``.prototxt`` beside them.

    Without a card the network is AIZOO's by shape, of the input size that the files name.

    Raises:
        WeightsError: A file is damaged, or holds other layers.
    """
    net = parse(_Net, read_bytes(path))
    tensors: dict[str, NDArray[np.float32]] = {}
    for layer in net.layer:
        for part, blob in zip(("weight", "bias"), layer.blobs, strict=False):
            tensors[f"{layer.name}.{part}"] = _array(layer.name, blob, flat=part == "bias")
    prototxt = path.with_suffix(".prototxt")
    graph = _read_prototxt(prototxt) if prototxt.is_file() else net
    if isinstance(graph, ModelCard):
        return Model(graph, tensors)
    size = _input_size(graph) or _input_size(net)
    return Model(card_from_tensors(tensors, path.stem, size), tensors)


def write(model: Model, path: Path) -> None:
    """Write both files; Caffe's SSD branch and OpenCV 4 load the pair."""
    net = _Net(name=_NETWORK_NAME, input=[INPUT_NAME], input_dim=_input_dimensions(model))
    build(model.card.network, INPUT_NAME, _CaffeBuilder(net))
    text = f"{_CARD_COMMENT}{model.card.portable().to_json()}\n{text_format.MessageToString(net)}"
    layers = {layer.name: layer for layer in net.layer}
    for convolution in model.card.network.convolutions:
        for name in (convolution.weight_name, convolution.bias_name):
            values = model.tensors[name]
            blob = layers[convolution.name].blobs.add()
            blob.data.extend(values.ravel().tolist())
            blob.shape.dim.extend(values.shape)
    path.write_bytes(serialize(net))
    path.with_suffix(".prototxt").write_text(text, encoding="utf-8")


def _input_dimensions(model: Model) -> tuple[int, int, int, int]:
    size = model.card.network.input_size
    return (1, 3, size, size)


def _array(layer: str, blob: Any, flat: bool) -> NDArray[np.float32]:
    old_shape = (blob.num, blob.channels, blob.height, blob.width)
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else old_shape
    if min(shape, default=0) < 1 or math.prod(shape) != len(blob.data):
        raise WeightsError(f"Layer {layer}: {len(blob.data)} values do not fill shape {shape}.")
    values = np.fromiter(blob.data, np.float32, len(blob.data))
    return values if flat else values.reshape(shape)


def _read_prototxt(path: Path) -> Any:
    """The embedded card, or the graph of a file without one."""
    try:
        text = read_bytes(path, _MAX_PROTOTXT_BYTES).decode("utf-8")
        for line in text.splitlines():
            if line.startswith(_CARD_COMMENT):
                return ModelCard.from_json(line.removeprefix(_CARD_COMMENT))
        return text_format.Parse(text, _Net(), allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise WeightsError(f"{path}: not a prototxt of Caffe: {error}") from error


def _input_size(net: Any) -> int | None:
    """Height of the first input, in any of the three ways in which Caffe has written it."""
    shapes = [list(net.input_dim)]
    shapes += [list(shape.dim) for shape in net.input_shape]
    shapes += [list(shape.dim) for layer in net.layer for shape in layer.input_param.shape]
    return next((int(shape[2]) for shape in shapes if len(shape) == 4), None)


class _CaffeBuilder:
    """Adds layers to a net; tensors are the names of their blobs."""

    def __init__(self, net: Any) -> None:
        self._net = net

    def pool(self, x: str, name: str) -> str:
        return self._add(
            "Pooling", name, [x], pooling_param={"pool": "MAX", "kernel_size": 2, "stride": 2}
        )

    def convolve(self, x: str, layer: Convolution) -> str:
        shape = {"kernel_size": [3], "stride": [1], "pad": [layer.padding]}
        y = self._add(
            "Convolution", layer.name, [x], convolution_param={"num_output": layer.outputs, **shape}
        )
        return self._in_place("ReLU", f"{layer.name}_activation", y) if layer.relu else y

    def flatten(self, x: str, columns: int, name: str) -> str:
        last = self._add("Permute", f"{x}_permute", [x], permute_param={"order": [0, 2, 3, 1]})
        return self._add(
            "Reshape", name, [last], reshape_param={"shape": {"dim": [0, -1, columns]}}
        )

    def sigmoid(self, x: str, name: str) -> str:
        return self._in_place("Sigmoid", name, x)

    def concatenate(self, parts: Sequence[str], name: str) -> str:
        return self._add("Concat", name, list(parts), concat_param={"axis": 1})

    def _in_place(self, kind: str, name: str, x: str) -> str:
        self._net.layer.add(name=name, type=kind, bottom=[x], top=[x])
        return x

    def _add(self, kind: str, name: str, inputs: list[str], **parameters: Any) -> str:
        self._net.layer.add(name=name, type=kind, bottom=inputs, top=[name], **parameters)
        return name
