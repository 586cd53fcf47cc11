"""TFLite: a float graph of any batch size, written from the schema without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.half import to_half
from facemask_zoo.converters.keras_layers import (
    BIAS,
    KERNEL,
    from_layers,
    group_by_layer,
    to_arrays,
)
from facemask_zoo.converters.limits import Budget, read_bytes
from facemask_zoo.converters.shapes import concatenated, convolved, flattened, pooled
from facemask_zoo.converters.tflite_writer import GraphTensor, GraphWriter
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Model
from facemask_zoo.recognition import card_from_tensors
from facemask_zoo.ssd.network import INPUT_NAME, LOC_NAME, SCORES_NAME, Convolution, build

_LAYOUT = "OHWI"
_AXIS_ROWS = 1
_FLOATS = {tflite.TensorType.FLOAT32: "<f4", tflite.TensorType.FLOAT16: "<f2"}
_MAX_ENTRIES = 4096
_MAX_NAME_BYTES = 1024
# What the schema's classes raise when offsets point anywhere.
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError)
# TOCO, TensorFlow's first converter, names a fused bias so.
_TOCO_BIAS = "convolution_bias"


def read(path: Path) -> Model:
    """Read a float file; without an embedded card the network is AIZOO's by shape.

    Raises:
        WeightsError: The file is damaged, quantised, or holds other layers.
    """
    data = read_bytes(path)
    try:
        file = tflite.Model.GetRootAs(data, 0)
        graph = file.Subgraphs(0)
        layers = group_by_layer(dict(_parameters(file, graph)))
        card_text = _card_text(file)
        input_size = int(graph.Tensors(graph.Inputs(0)).Shape(1))
    except _DAMAGE as error:
        raise WeightsError(f"{path}: not a whole TFLite file: {error!r}") from error
    tensors = from_layers(layers, _LAYOUT)
    if card_text is not None:
        return Model(ModelCard.from_json(card_text), tensors)
    return Model(card_from_tensors(tensors, path.stem, input_size), tensors)


def read_card(path: Path) -> bytes | None:
    """The text of the card within a file of any precision; None if there is none.

    Raises:
        WeightsError: It is no TFLite file.
    """
    data = read_bytes(path)
    try:
        return _card_text(tflite.Model.GetRootAs(data, 0))
    except _DAMAGE as error:
        raise WeightsError(f"{path}: not a whole TFLite file: {error!r}") from error


def write(model: Model, path: Path) -> None:
    """Write a graph with input ``data`` (N, S, S, 3) and the two named outputs.

    The declared N is 1; ``resize_tensor_input`` makes it any other.
    """
    path.write_bytes(graph_bytes(model))


def graph_bytes(model: Model, *, half: bool = False) -> bytes:
    """The file that :func:`write` writes.

    Args:
        model: What to write.
        half: Whether to store the weights in half precision; they are computed with in single.
    """
    writer = GraphWriter()
    size = model.card.network.input_size
    image = writer.tensor(INPUT_NAME, (1, size, size, 3))
    loc, scores = build(model.card.network, image, TFLiteBuilder(writer, model, half=half))
    outputs = {LOC_NAME: loc, SCORES_NAME: scores}
    return writer.finish(model.card.name, {INPUT_NAME: image}, outputs, card_metadata(model))


def card_metadata(model: Model) -> dict[str, bytes]:
    """The model's card, as files hold it."""
    return {CARD_KEY: model.card.portable().to_json().encode()}


def _parameters(file: Any, graph: Any) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Names and values of the float constants, as views of the file where they are float32."""
    budget = Budget()  # any number of tensors may share a buffer
    for index in range(_count(graph.TensorsLength())):
        tensor = graph.Tensors(index)
        name = _name(tensor).replace(_TOCO_BIAS, BIAS)
        if not name.endswith((f"/{KERNEL}", f"/{BIAS}")):
            continue
        if tensor.Type() not in _FLOATS:
            raise WeightsError(f"{name}: expected floats, but the file is quantised.")
        values = file.Buffers(tensor.Buffer()).DataAsNumpy()
        shape = [tensor.Shape(axis) for axis in range(min(tensor.ShapeLength(), 5))]
        stored = values.view(_FLOATS[tensor.Type()]).reshape(shape)
        budget.spend(stored.size * np.dtype(np.float32).itemsize)
        yield name, stored.astype(np.float32, copy=False)


def _card_text(file: Any) -> bytes | None:
    for index in range(_count(file.MetadataLength())):
        entry = file.Metadata(index)
        if _name(entry) == CARD_KEY:
            return bytes(file.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return None


def _name(table: Any) -> str:
    """Name of a tensor or another table; any number of them may share a long one."""
    name = table.Name()
    if len(name) > _MAX_NAME_BYTES:
        raise WeightsError(f"A name in the file has {len(name)} bytes.")
    return str(name, "utf-8")


def _count(length: int) -> int:
    if length > _MAX_ENTRIES:
        raise WeightsError(f"The file lists {length} entries, more than {_MAX_ENTRIES}.")
    return length


class TFLiteBuilder:
    """The five operations, added to a graph."""

    def __init__(self, writer: GraphWriter, model: Model, *, half: bool = False) -> None:
        self._writer = writer
        self._arrays = to_arrays(model, _LAYOUT)
        self._half = half

    def pool(self, x: GraphTensor, name: str) -> GraphTensor:
        y = self._writer.tensor(name, pooled(x.shape))
        window = {"StrideH": 2, "StrideW": 2, "FilterHeight": 2, "FilterWidth": 2}
        options = self._writer.table("Pool2DOptions", Padding=tflite.Padding.SAME, **window)
        self._writer.operator("MAX_POOL_2D", [x], [y], "Pool2DOptions", options)
        return y

    def convolve(self, x: GraphTensor, layer: Convolution) -> GraphTensor:
        y = self._writer.tensor(layer.name, convolved(x.shape, layer))
        activation = tflite.ActivationFunctionType
        options = self._writer.table(
            "Conv2DOptions",
            Padding=tflite.Padding.SAME if layer.padding else tflite.Padding.VALID,
            StrideH=1,
            StrideW=1,
            FusedActivationFunction=activation.RELU if layer.relu else activation.NONE,
        )
        names = [f"{layer.name}/{parameter}" for parameter in (KERNEL, BIAS)]
        constants = [self._weight(name) for name in names]
        self._writer.operator("CONV_2D", [x, *constants], [y], "Conv2DOptions", options)
        return y

    def flatten(self, x: GraphTensor, columns: int, name: str) -> GraphTensor:
        y = self._writer.tensor(name, flattened(x.shape, columns))
        shape = (-1, *y.shape[1:])
        constant = self._writer.constant(f"{name}/shape", np.array(shape, np.int32))
        options = self._writer.table("ReshapeOptions", NewShape=self._writer.integers(shape))
        self._writer.operator("RESHAPE", [x, constant], [y], "ReshapeOptions", options)
        return y

    def sigmoid(self, x: GraphTensor, name: str) -> GraphTensor:
        y = self._writer.tensor(name, x.shape)
        self._writer.operator("LOGISTIC", [x], [y])
        return y

    def concatenate(self, parts: Sequence[GraphTensor], name: str) -> GraphTensor:
        y = self._writer.tensor(name, concatenated([part.shape for part in parts]))
        options = self._writer.table("ConcatenationOptions", Axis=_AXIS_ROWS)
        self._writer.operator("CONCATENATION", list(parts), [y], "ConcatenationOptions", options)
        return y

    def _weight(self, name: str) -> GraphTensor:
        values = self._arrays[name]
        if not self._half:
            return self._writer.constant(name, values)
        stored = self._writer.constant(name, to_half(values))
        weight = self._writer.tensor(f"{name}_float32", values.shape, any_batch=False)
        self._writer.operator("DEQUANTIZE", [stored], [weight])
        return weight
