"""TFLite: a float graph of any batch size, written from the schema without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
import tflite
from numpy.typing import NDArray

from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.keras_layers import (
    BIAS,
    KERNEL,
    from_layers,
    group_by_layer,
    to_arrays,
)
from facemask_zoo.converters.limits import read_bytes
from facemask_zoo.converters.recognition import card_from_tensors
from facemask_zoo.converters.safetensors import CARD_KEY
from facemask_zoo.converters.shapes import Shape, concatenated, convolved, flattened, pooled
from facemask_zoo.converters.signatures import TFLITE_IDENTIFIER
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Model
from facemask_zoo.ssd.network import INPUT_NAME, LOC_NAME, SCORES_NAME, Convolution, build

_VERSION = 3
_LAYOUT = "OHWI"
_AXIS_ROWS = 1
_MAX_ENTRIES = 4096
# TOCO, TensorFlow's first converter, names a fused bias so.
_TOCO_BIAS = "convolution_bias"
_ALIGNMENT = 16
_SIGNATURE = "serving_default"


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
        card_text = _metadata(file).get(CARD_KEY)
        input_size = int(graph.Tensors(graph.Inputs(0)).Shape(1))
    except (
        struct.error,
        IndexError,
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:
        raise WeightsError(f"{path}: not a whole TFLite file: {error!r}") from error
    tensors = from_layers(layers, _LAYOUT)
    if card_text is not None:
        return Model(ModelCard.from_json(card_text), tensors)
    return Model(card_from_tensors(tensors, path.stem, input_size), tensors)


def write(model: Model, path: Path) -> None:
    """Write a graph with input ``data`` (N, S, S, 3) and the two named outputs.

    The declared N is 1; ``resize_tensor_input`` makes it any other.
    """
    writer = _Writer(model)
    size = model.card.network.input_size
    image = writer.tensor(INPUT_NAME, (1, size, size, 3))
    outputs = build(model.card.network, image, writer)
    path.write_bytes(writer.finish(image, outputs))


def _parameters(file: Any, graph: Any) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Names and values of the float constants, as views of the file."""
    for index in range(_count(graph.TensorsLength())):
        tensor = graph.Tensors(index)
        name = tensor.Name().decode().replace(_TOCO_BIAS, BIAS)
        if not name.endswith((f"/{KERNEL}", f"/{BIAS}")):
            continue
        if tensor.Type() != tflite.TensorType.FLOAT32:
            raise WeightsError(f"{name}: expected float32, but the file is quantised.")
        values = file.Buffers(tensor.Buffer()).DataAsNumpy()
        shape = [tensor.Shape(axis) for axis in range(min(tensor.ShapeLength(), 5))]
        yield name, values.view("<f4").reshape(shape)


def _metadata(file: Any) -> dict[str, bytes]:
    entries = [file.Metadata(index) for index in range(_count(file.MetadataLength()))]
    return {
        entry.Name().decode(): file.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
        for entry in entries
        if entry.Name() == CARD_KEY.encode()
    }


def _count(length: int) -> int:
    if length > _MAX_ENTRIES:
        raise WeightsError(f"The file lists {length} entries, more than {_MAX_ENTRIES}.")
    return length


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Places vectors where vector instructions can read them without a copy."""

    def StartVector(self, size: int, count: int, alignment: int) -> Any:  # noqa: N802
        return super().StartVector(size, count, max(alignment, _ALIGNMENT))


class _Tensor(NamedTuple):
    number: int
    shape: Shape


class _Writer:
    """Emits operators and, at the end, the file around them."""

    def __init__(self, model: Model) -> None:
        self._flat = _AlignedBuilder(0)
        self._card = model.card
        self._arrays = to_arrays(model, _LAYOUT)
        self._buffers = [self._table("Buffer")]  # by convention the first one is empty
        self._tensors: list[int] = []
        self._operators: list[int] = []
        self._codes: dict[int, int] = {}

    def pool(self, x: _Tensor, name: str) -> _Tensor:
        y = self.tensor(name, pooled(x.shape))
        window = {"StrideH": 2, "StrideW": 2, "FilterHeight": 2, "FilterWidth": 2}
        options = self._table("Pool2DOptions", Padding=tflite.Padding.SAME, **window)
        self._operator("MAX_POOL_2D", [x], y, "Pool2DOptions", options)
        return y

    def convolve(self, x: _Tensor, layer: Convolution) -> _Tensor:
        y = self.tensor(layer.name, convolved(x.shape, layer))
        activation = tflite.ActivationFunctionType
        options = self._table(
            "Conv2DOptions",
            Padding=tflite.Padding.SAME if layer.padding else tflite.Padding.VALID,
            StrideH=1,
            StrideW=1,
            FusedActivationFunction=activation.RELU if layer.relu else activation.NONE,
        )
        names = [f"{layer.name}/{parameter}" for parameter in (KERNEL, BIAS)]
        constants = [self._constant(name, self._arrays[name]) for name in names]
        self._operator("CONV_2D", [x, *constants], y, "Conv2DOptions", options)
        return y

    def flatten(self, x: _Tensor, columns: int, name: str) -> _Tensor:
        y = self.tensor(name, flattened(x.shape, columns))
        shape = np.array([-1, *y.shape[1:]], np.int32)
        constant = self._constant(f"{name}/shape", shape)
        options = self._table("ReshapeOptions", NewShape=self._flat.CreateNumpyVector(shape))
        self._operator("RESHAPE", [x, constant], y, "ReshapeOptions", options)
        return y

    def sigmoid(self, x: _Tensor, name: str) -> _Tensor:
        y = self.tensor(name, x.shape)
        self._operator("LOGISTIC", [x], y)
        return y

    def concatenate(self, parts: Sequence[_Tensor], name: str) -> _Tensor:
        y = self.tensor(name, concatenated([part.shape for part in parts]))
        options = self._table("ConcatenationOptions", Axis=_AXIS_ROWS)
        self._operator("CONCATENATION", list(parts), y, "ConcatenationOptions", options)
        return y

    def tensor(
        self,
        name: str,
        shape: Shape,
        kind: int = tflite.TensorType.FLOAT32,
        buffer: int = 0,
    ) -> _Tensor:
        """Declare a tensor; those without a buffer have a first axis of any length."""
        flat = self._flat
        fields = {
            "Name": flat.CreateString(name),
            "Shape": self._integers(shape),
            "Type": kind,
            "Buffer": buffer,
        }
        if not buffer:
            fields["ShapeSignature"] = self._integers((-1, *shape[1:]))
        self._tensors.append(self._table("Tensor", **fields))
        return _Tensor(len(self._tensors) - 1, shape)

    def finish(self, image: _Tensor, outputs: Sequence[_Tensor]) -> bytes:
        """The whole file."""
        results = dict(zip((LOC_NAME, SCORES_NAME), outputs, strict=True))
        card = self._buffer(np.frombuffer(self._card.portable().to_json().encode(), np.uint8))
        fields = {
            "Version": _VERSION,
            "Description": self._flat.CreateString("facemask_zoo"),
            "Metadata": self._tables([self._named("Metadata", CARD_KEY, Buffer=card)]),
            "SignatureDefs": self._tables([self._signature({INPUT_NAME: image}, results)]),
            "Subgraphs": self._tables([self._graph(image, outputs)]),
            "OperatorCodes": self._tables([self._code(kind) for kind in self._codes]),
            "Buffers": self._tables(self._buffers),
        }
        self._flat.Finish(self._table("Model", **fields), TFLITE_IDENTIFIER)
        return bytes(self._flat.Output())

    def _graph(self, image: _Tensor, outputs: Sequence[_Tensor]) -> int:
        return self._named(
            "SubGraph",
            self._card.name,
            Inputs=self._integers([image.number]),
            Outputs=self._integers([output.number for output in outputs]),
            Tensors=self._tables(self._tensors),
            Operators=self._tables(self._operators),
        )

    def _signature(self, inputs: dict[str, _Tensor], outputs: dict[str, _Tensor]) -> int:
        maps = [
            self._tables(
                [
                    self._named("TensorMap", name, TensorIndex=part.number)
                    for name, part in side.items()
                ]
            )
            for side in (inputs, outputs)
        ]
        key = self._flat.CreateString(_SIGNATURE)
        return self._table("SignatureDef", Inputs=maps[0], Outputs=maps[1], SignatureKey=key)

    def _operator(
        self,
        kind: str,
        inputs: Sequence[_Tensor],
        output: _Tensor,
        options_type: str = "NONE",
        options: int = 0,
    ) -> None:
        code = self._codes.setdefault(getattr(tflite.BuiltinOperator, kind), len(self._codes))
        fields = {
            "OpcodeIndex": code,
            "Inputs": self._integers([part.number for part in inputs]),
            "Outputs": self._integers([output.number]),
            "BuiltinOptionsType": getattr(tflite.BuiltinOptions, options_type),
        }
        if options:
            fields["BuiltinOptions"] = options
        self._operators.append(self._table("Operator", **fields))

    def _code(self, kind: int) -> int:
        return self._table("OperatorCode", DeprecatedBuiltinCode=kind, BuiltinCode=kind, Version=1)

    def _constant(self, name: str, values: NDArray[Any]) -> _Tensor:
        kind = tflite.TensorType.INT32 if values.dtype == np.int32 else tflite.TensorType.FLOAT32
        buffer = self._buffer(values.reshape(-1).view(np.uint8))
        return self.tensor(name, values.shape, kind, buffer)

    def _buffer(self, data: NDArray[np.uint8]) -> int:
        self._buffers.append(self._table("Buffer", Data=self._flat.CreateNumpyVector(data)))
        return len(self._buffers) - 1

    def _integers(self, values: Sequence[int]) -> int:
        return int(self._flat.CreateNumpyVector(np.array(values, np.int32)))

    def _tables(self, offsets: Sequence[int]) -> int:
        self._flat.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._flat.PrependUOffsetTRelative(offset)
        return int(self._flat.EndVector())

    def _named(self, kind: str, name: str, **fields: int) -> int:
        return self._table(kind, Name=self._flat.CreateString(name), **fields)

    def _table(self, kind: str, **fields: int) -> int:
        """A table of the schema; fields that are vectors or strings are offsets made before."""
        getattr(tflite, f"{kind}Start")(self._flat)
        for name, value in fields.items():
            getattr(tflite, f"{kind}Add{name}")(self._flat, value)
        return int(getattr(tflite, f"{kind}End")(self._flat))
