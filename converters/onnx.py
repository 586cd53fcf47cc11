"""ONNX: a plain graph of any batch size, with the model card among its metadata."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.half import to_half
from facemask_zoo.converters.limits import read_bytes
from facemask_zoo.converters.protobuf_schema import check_counts
from facemask_zoo.converters.recognition import card_from_tensors
from facemask_zoo.converters.safetensors import CARD_KEY
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Model
from facemask_zoo.ssd.network import (
    BOX_COORDINATES,
    INPUT_NAME,
    LOC_NAME,
    SCORES_NAME,
    Convolution,
    Network,
    build,
)

# Old enough for every runtime in use.
_OPSET = 13
_IR_VERSION = 8


def read(path: Path) -> Model:
    """Read the initialisers; without an embedded card the network is AIZOO's by shape.

    Raises:
        WeightsError: The file is damaged, keeps data elsewhere, or holds other layers.
    """
    with _damage_reported(path):
        proto = _parsed(path)
        tensors = {
            tensor.name: _array(tensor)
            for tensor in proto.graph.initializer
            if tensor.name.endswith((".weight", ".bias"))
        }
    text = _card_text(proto)
    if text is not None:
        return Model(ModelCard.from_json(text), tensors)
    return Model(card_from_tensors(tensors, path.stem, _input_size(proto)), tensors)


def read_card(path: Path) -> str | None:
    """The text of the card within a file of any precision; None if there is none.

    Raises:
        WeightsError: It is no ONNX file.
    """
    with _damage_reported(path):
        return _card_text(_parsed(path))


def write(model: Model, path: Path) -> None:
    """Write a graph with input ``data`` (N, 3, S, S) and the two named outputs."""
    path.write_bytes(graph_bytes(model))


def graph_bytes(model: Model, *, half: bool = False) -> bytes:
    """The file that :func:`write` writes.

    Args:
        model: What to write.
        half: Whether to store and compute in half precision; input and outputs stay single.
    """
    network = model.card.network
    builder = _HalfBuilder(model) if half else OnnxBuilder(model)
    build(network, builder.image(), builder)
    return builder.finish([image_input(network)], _outputs(network))


class OnnxBuilder:
    """Emits nodes; tensors are their names."""

    def __init__(self, model: Model) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._card = model.card
        self._tensors: Mapping[str, NDArray[np.floating[Any]]] = model.tensors

    def image(self) -> str:
        """What the first layer sees."""
        return INPUT_NAME

    def pool(self, x: str, name: str) -> str:
        shape = {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}
        return self.node("MaxPool", [x], name, **shape)

    def convolve(self, x: str, layer: Convolution) -> str:
        for name in (layer.weight_name, layer.bias_name):
            self.constant(name, self._tensors[name])
        inputs = [x, layer.weight_name, layer.bias_name]
        y = self.node("Conv", inputs, layer.name, kernel_shape=[3, 3], pads=[layer.padding] * 4)
        return self.node("Relu", [y], f"{layer.name}_activation") if layer.relu else y

    def flatten(self, x: str, columns: int, name: str) -> str:
        last = self.node("Transpose", [x], f"{name}_permute", perm=[0, 2, 3, 1])
        self.constant(f"{name}_shape", np.array([0, -1, columns], dtype=np.int64))
        return self.node("Reshape", [last, f"{name}_shape"], name)

    def sigmoid(self, x: str, name: str) -> str:
        return self.node("Sigmoid", [x], name)

    def concatenate(self, parts: Sequence[str], name: str) -> str:
        return self.node("Concat", list(parts), name, axis=1)

    def node(self, kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        """Add a node with one output of its own name."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        """Add a constant."""
        self.constants.append(numpy_helper.from_array(np.array(values, order="C"), name))
        return name

    def finish(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> bytes:
        """The whole file, with the card."""
        graph = helper.make_graph(self.nodes, self._card.name, inputs, outputs, self.constants)
        proto = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="facemask_zoo"
        )
        proto.ir_version = _IR_VERSION
        helper.set_model_props(proto, {CARD_KEY: self._card.portable().to_json()})
        onnx.checker.check_model(proto)
        return bytes(proto.SerializeToString(deterministic=True))


class _HalfBuilder(OnnxBuilder):
    """The same in half precision, between a cast at the start and one at each end."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._tensors = {name: to_half(values) for name, values in model.tensors.items()}

    def image(self) -> str:
        return self.node("Cast", [INPUT_NAME], f"{INPUT_NAME}_half", to=onnx.TensorProto.FLOAT16)

    def concatenate(self, parts: Sequence[str], name: str) -> str:
        y = super().concatenate(parts, f"{name}_half")
        return self.node("Cast", [y], name, to=onnx.TensorProto.FLOAT)


def image_input(network: Network) -> onnx.ValueInfoProto:
    """The graph's input, (N, 3, S, S)."""
    shape = ["N", 3, network.input_size, network.input_size]
    return helper.make_tensor_value_info(INPUT_NAME, onnx.TensorProto.FLOAT, shape)


def _outputs(network: Network) -> list[onnx.ValueInfoProto]:
    columns = {LOC_NAME: BOX_COORDINATES, SCORES_NAME: len(network.classes)}
    return [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", network.anchor_count, n])
        for name, n in columns.items()
    ]


def _parsed(path: Path) -> onnx.ModelProto:
    data = read_bytes(path)
    check_counts(onnx.ModelProto, data)
    return onnx.load_model_from_string(data)


@contextlib.contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:  # protobuf and onnx raise many unrelated types on damaged files
        raise WeightsError(f"{path}: not a whole ONNX file: {error}") from error


def _card_text(proto: onnx.ModelProto) -> str | None:
    return {entry.key: entry.value for entry in proto.metadata_props}.get(CARD_KEY)


def _array(tensor: onnx.TensorProto) -> NDArray[np.float32]:
    if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise WeightsError(f"Tensor {tensor.name!r} lies outside the file, which is not read.")
    if tensor.float_data:  # onnx would make a Python object of every number
        values = np.fromiter(tensor.float_data, np.float32, len(tensor.float_data))
        return values.reshape(tuple(tensor.dims))
    stored = np.asarray(numpy_helper.to_array(tensor))
    return stored.astype(np.float32) if stored.dtype == np.float16 else stored


def _input_size(proto: onnx.ModelProto) -> int | None:
    for value in proto.graph.input:
        dimensions = value.type.tensor_type.shape.dim
        if len(dimensions) == BOX_COORDINATES and dimensions[2].dim_value:
            return int(dimensions[2].dim_value)
    return None
