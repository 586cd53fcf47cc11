"""TensorFlow's frozen graph (``.pb``), read and written without TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.keras_layers import (
    BIAS,
    EPSILON,
    KERNEL,
    Array,
    Layers,
    from_layers,
    group_by_layer,
    to_arrays,
)
from facemask_zoo.converters.limits import read_bytes
from facemask_zoo.converters.protobuf_schema import declare, parse, serialize
from facemask_zoo.converters.shapes import Shape, concatenated, convolved, flattened, pooled
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Model
from facemask_zoo.recognition import card_from_tensors
from facemask_zoo.ssd.network import INPUT_NAME, Convolution, build

_SCHEMA = declare(
    "facemask_zoo.tensorflow",
    """
    message GraphDef { repeated NodeDef node = 1; Versions versions = 4; Library library = 2; }
    message Versions { int32 producer = 1; }
    message Library { repeated bytes function = 1; }
    message NodeDef {
      string name = 1; string op = 2; repeated string input = 3; repeated Attribute attr = 5;
    }
    message Attribute { string key = 1; Value value = 2; }
    message Value {
      List list = 1; bytes s = 2; int64 i = 3; float f = 4; bool b = 5; int32 type = 6;
      Shape shape = 7; Tensor tensor = 8;
    }
    message List { repeated int64 i = 3 [packed]; }
    message Shape { repeated Dimension dim = 2; }
    message Dimension { int64 size = 1; }
    message Tensor {
      int32 dtype = 1; Shape tensor_shape = 2; bytes tensor_content = 4;
      repeated float float_val = 5 [packed]; repeated bytes string_val = 8;
    }
    """,
)

_FLOAT, _INT32, _STRING = 1, 3, 7
_LAYOUT = "HWIO"
_ANY_SIZE = -1
# Any runtime since TensorFlow 1.0 reads graphs of this age.
_PRODUCER = 27
_SAFE_OPERATIONS = frozenset(
    [
        "AddV2",
        "BiasAdd",
        "ConcatV2",
        "Const",
        "Conv2D",
        "FusedBatchNorm",
        "FusedBatchNormV2",
        "FusedBatchNormV3",
        "Identity",
        "MaxPool",
        "Mul",
        "NoOp",
        "Pack",
        "Pad",
        "PadV2",
        "Placeholder",
        "Prod",
        "Relu",
        "Reshape",
        "Shape",
        "Sigmoid",
        "StridedSlice",
        "Sub",
    ]
)
_MAX_REPEATED_VALUES = 1 << 22


def read(path: Path) -> Model:
    """Read the constants of a graph; batch normalisation is folded.

    Without an embedded card the network is AIZOO's by shape.

    Raises:
        WeightsError: The file is damaged, or holds other layers.
    """
    graph = parse_graph(read_bytes(path))
    tensors = from_layers(_layers(graph), _LAYOUT)
    for node in graph.node:
        if node.name == CARD_KEY and node.op == "Const":
            return Model(ModelCard.from_json(_text(node)), tensors)
    return Model(card_from_tensors(tensors, path.stem, _input_size(graph)), tensors)


def read_layers(path: Path) -> Layers:
    """The constants by layer as they are stored, kernels (height, width, in, out).

    Raises:
        WeightsError: The file is damaged.
    """
    return _layers(parse_graph(read_bytes(path)))


def parse_graph(data: bytes) -> Any:
    """A ``GraphDef`` that only computes.

    Raises:
        WeightsError: The bytes are damaged, or the graph does more than a network of this family
            needs: operations that read or write files would run with the user's rights.
    """
    graph = parse(_SCHEMA["GraphDef"], data)
    foreign = {node.op for node in graph.node} - _SAFE_OPERATIONS
    if foreign or graph.library.function:
        raise WeightsError(
            f"The graph holds functions or operations that no network here needs: "
            f"{sorted(foreign)[:5]}."
        )
    return graph


def write(model: Model, path: Path) -> None:
    """Write a graph with input ``data`` (N, S, S, 3) and the two named outputs."""
    path.write_bytes(graph_bytes(model))


def graph_bytes(model: Model) -> bytes:
    """The graph that :func:`write` writes."""
    size = model.card.network.input_size
    builder = _GraphBuilder(model)
    build(model.card.network, builder.image((_ANY_SIZE, size, size, 3)), builder)
    builder.text(CARD_KEY, model.card.portable().to_json())
    return serialize(builder.graph)


class _Node(NamedTuple):
    name: str
    shape: Shape


class _GraphBuilder:
    """Emits nodes."""

    def __init__(self, model: Model) -> None:
        self.graph = _SCHEMA["GraphDef"]()
        self.graph.versions.producer = _PRODUCER
        self._arrays = to_arrays(model, _LAYOUT)

    def pool(self, x: _Node, name: str) -> _Node:
        window = [1, 2, 2, 1]
        self._float("MaxPool", [x.name], name, ksize=window, strides=window, padding=b"SAME")
        return _Node(name, pooled(x.shape))

    def convolve(self, x: _Node, layer: Convolution) -> _Node:
        kernel, bias = f"{layer.name}/{KERNEL}", f"{layer.name}/{BIAS}"
        for name in (kernel, bias):
            self._constant(name, self._arrays[name], _FLOAT)
        padding = b"SAME" if layer.padding else b"VALID"
        product = f"{layer.name}/convolution"
        self._float("Conv2D", [x.name, kernel], product, strides=[1, 1, 1, 1], padding=padding)
        y = self._float("BiasAdd", [product, bias], layer.name)
        if layer.relu:
            y = self._float("Relu", [y], f"{layer.name}_activation")
        return _Node(y, convolved(x.shape, layer))

    def flatten(self, x: _Node, columns: int, name: str) -> _Node:
        shape = flattened(x.shape, columns)
        self._float("Reshape", [x.name, self._integers(f"{name}/shape", shape)], name)
        return _Node(name, shape)

    def sigmoid(self, x: _Node, name: str) -> _Node:
        return _Node(self._float("Sigmoid", [x.name], name), x.shape)

    def concatenate(self, parts: Sequence[_Node], name: str) -> _Node:
        inputs = [part.name for part in parts]
        if len(inputs) == 1:  # ConcatV2 wants two or more
            self._float("Identity", inputs, name)
        else:
            axis = self._integers(f"{name}/axis", 1)
            self._float("ConcatV2", [*inputs, axis], name, N=len(inputs))
        return _Node(name, concatenated([part.shape for part in parts]))

    def image(self, shape: Shape) -> _Node:
        """The graph's input."""
        return _Node(self._node("Placeholder", [], INPUT_NAME, dtype=_FLOAT, shape=shape), shape)

    def text(self, name: str, text: str) -> None:
        """A string constant."""
        tensor = _SCHEMA["Tensor"](dtype=_STRING, string_val=[text.encode()])
        tensor.tensor_shape.SetInParent()
        self._node("Const", [], name, dtype=_STRING, value=tensor)

    def _node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        node = self.graph.node.add(name=name, op=kind, input=inputs)
        for key, value in attributes.items():
            node.attr.add(key=key, value=_value(key, value))
        return name

    def _float(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        return self._node(kind, inputs, name, T=_FLOAT, **attributes)

    def _integers(self, name: str, values: int | Sequence[int]) -> str:
        return self._constant(name, np.array(values, np.int32), _INT32)

    def _constant(self, name: str, values: NDArray[Any], kind: int) -> str:
        little = values.astype(values.dtype.newbyteorder("<"), copy=False)
        tensor = _SCHEMA["Tensor"](dtype=kind, tensor_content=little.tobytes())
        tensor.tensor_shape.CopyFrom(_shape(values.shape))
        return self._node("Const", [], name, dtype=kind, value=tensor)


def _value(key: str, value: Any) -> Any:
    """An attribute; its kind follows from the Python type, and from the key for integers."""
    if isinstance(value, bytes):
        return _SCHEMA["Value"](s=value)
    if isinstance(value, tuple):
        return _SCHEMA["Value"](shape=_shape(value))
    if isinstance(value, list):
        return _SCHEMA["Value"](list=_SCHEMA["List"](i=value))
    if isinstance(value, int):
        return _SCHEMA["Value"](i=value) if key == "N" else _SCHEMA["Value"](type=value)
    return _SCHEMA["Value"](tensor=value)


def _shape(sizes: Sequence[int]) -> Any:
    return _SCHEMA["Shape"](dim=[_SCHEMA["Dimension"](size=size) for size in sizes])


def _layers(graph: Any) -> Layers:
    return group_by_layer({**dict(_constants(graph)), **dict(_epsilons(graph))})


def _constants(graph: Any) -> Iterator[tuple[str, Array]]:
    budget = _MAX_REPEATED_VALUES
    for node in graph.node:
        tensor = _attribute(node, "value").tensor
        if node.op == "Const" and tensor.dtype == _FLOAT:
            values = _array(node.name, tensor, budget)
            budget -= values.size if tensor.float_val else 0
            yield node.name, values


def _array(name: str, tensor: Any, budget: int) -> NDArray[np.float32]:
    """The values as a view where they are stored plainly.

    TensorFlow may leave out the tail of a constant when it repeats one value.
    """
    sizes = [dimension.size for dimension in tensor.tensor_shape.dim]
    count = math.prod(sizes)
    stored = np.frombuffer(tensor.tensor_content, "<f4") if not tensor.float_val else None
    try:
        if stored is not None:
            return stored.reshape(sizes)
        values = np.fromiter(tensor.float_val, np.float32, len(tensor.float_val))
        if not len(values) <= count <= budget:
            raise WeightsError(f"{name}: {len(values)} values cannot fill the shape {sizes}.")
        return np.pad(values, (0, count - len(values)), mode="edge").reshape(sizes)
    except ValueError as error:
        raise WeightsError(f"{name}: the values do not fit the shape {sizes}.") from error


def _epsilons(graph: Any) -> Iterator[tuple[str, Array]]:
    """What normalisation nodes add to the variance, named like their other parameters."""
    for node in graph.node:
        if node.op.startswith("FusedBatchNorm"):
            layer = node.name.rpartition("/")[0]
            yield f"{layer}/{EPSILON}", np.float64(_attribute(node, EPSILON).f).reshape(())


def _input_size(graph: Any) -> int | None:
    for node in graph.node:
        dimensions = _attribute(node, "shape").shape.dim
        if node.op == "Placeholder" and len(dimensions) == 4 and dimensions[1].size > 0:
            return int(dimensions[1].size)
    return None


def _text(node: Any) -> bytes:
    values = _attribute(node, "value").tensor.string_val
    if len(values) != 1:
        raise WeightsError(f"{node.name}: expected one string, but got {len(values)}.")
    return bytes(values[0])


def _attribute(node: Any, key: str) -> Any:
    for attribute in node.attr:
        if attribute.key == key:
            return attribute.value
    return _SCHEMA["Value"]()
