"""TFLite's flatbuffer, written from its schema: tensors and operators, and the file around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
import tflite
from numpy.typing import NDArray

from facemask_zoo.converters.shapes import Shape
from facemask_zoo.converters.signatures import TFLITE_IDENTIFIER

_VERSION = 3
_ALIGNMENT = 16
_KINDS = {
    "float32": tflite.TensorType.FLOAT32,
    "float16": tflite.TensorType.FLOAT16,
    "int32": tflite.TensorType.INT32,
}
_SIGNATURE = "serving_default"


class AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Places vectors where vector instructions can read them without a copy."""

    def StartVector(self, size: int, count: int, alignment: int) -> Any:  # noqa: N802
        return super().StartVector(size, count, max(alignment, _ALIGNMENT))


class GraphTensor(NamedTuple):
    """A tensor of the graph, and its shape for one picture."""

    number: int
    shape: Shape


class GraphWriter:
    """Collects a graph and gives the file; offsets into the growing file are plain integers."""

    def __init__(self) -> None:
        self._flat = AlignedBuilder(0)
        self._buffers = [self.table("Buffer")]  # by convention the first one is empty
        self._tensors: list[int] = []
        self._operators: list[int] = []
        self._codes: dict[tuple[int, str], int] = {}

    def tensor(
        self,
        name: str,
        shape: Shape,
        kind: int = tflite.TensorType.FLOAT32,
        *,
        buffer: int = 0,
        any_batch: bool = True,
    ) -> GraphTensor:
        """Declare a tensor.

        Args:
            name: Its name.
            shape: Its shape for one picture.
            kind: A ``tflite.TensorType``.
            buffer: Where its values lie; 0 if they are computed.
            any_batch: Whether its first axis may become longer; not for constants.
        """
        fields = {
            "Name": self._flat.CreateString(name),
            "Shape": self.integers(shape),
            "Type": kind,
            "Buffer": buffer,
        }
        if any_batch and not buffer:
            fields["ShapeSignature"] = self.integers((-1, *shape[1:]))
        self._tensors.append(self.table("Tensor", **fields))
        return GraphTensor(len(self._tensors) - 1, shape)

    def constant(self, name: str, values: NDArray[Any]) -> GraphTensor:
        """A tensor of float32, float16 or int32 values."""
        kind = _KINDS[values.dtype.name]
        buffer = self._buffer(values.reshape(-1).view(np.uint8))
        return self.tensor(name, values.shape, kind, buffer=buffer)

    def operator(
        self,
        kind: str,
        inputs: Sequence[GraphTensor],
        outputs: Sequence[GraphTensor],
        options_type: str = "NONE",
        options: int = 0,
    ) -> None:
        """Add a builtin operator; `options` is a table made before."""
        fields = {"BuiltinOptionsType": getattr(tflite.BuiltinOptions, options_type)}
        if options:
            fields["BuiltinOptions"] = options
        code = (getattr(tflite.BuiltinOperator, kind), "")
        self._operator(code, inputs, outputs, fields)

    def custom_operator(
        self,
        name: str,
        inputs: Sequence[GraphTensor],
        outputs: Sequence[GraphTensor],
        options: bytes,
    ) -> None:
        """Add an operator that the schema only knows by name; `options` is a flexbuffer."""
        place = self._flat.CreateNumpyVector(np.frombuffer(options, np.uint8))
        code = (tflite.BuiltinOperator.CUSTOM, name)
        self._operator(code, inputs, outputs, {"CustomOptions": place})

    def finish(
        self,
        name: str,
        inputs: Mapping[str, GraphTensor],
        outputs: Mapping[str, GraphTensor],
        metadata: Mapping[str, bytes],
    ) -> bytes:
        """The whole file, with one signature that names inputs and outputs."""
        entries = [
            self._named("Metadata", key, Buffer=self._buffer(np.frombuffer(value, np.uint8)))
            for key, value in metadata.items()
        ]
        graph = self._named(
            "SubGraph",
            name,
            Inputs=self.integers([part.number for part in inputs.values()]),
            Outputs=self.integers([part.number for part in outputs.values()]),
            Tensors=self._tables(self._tensors),
            Operators=self._tables(self._operators),
        )
        fields = {
            "Version": _VERSION,
            "Description": self._flat.CreateString("facemask_zoo"),
            "Metadata": self._tables(entries),
            "SignatureDefs": self._tables([self._signature(inputs, outputs)]),
            "Subgraphs": self._tables([graph]),
            "OperatorCodes": self._tables([self._code(*code) for code in self._codes]),
            "Buffers": self._tables(self._buffers),
        }
        self._flat.Finish(self.table("Model", **fields), TFLITE_IDENTIFIER)
        return bytes(self._flat.Output())

    def integers(self, values: Sequence[int]) -> int:
        """A vector of int32."""
        return int(self._flat.CreateNumpyVector(np.array(values, np.int32)))

    def table(self, kind: str, **fields: int) -> int:
        """A table of the schema; fields that are vectors or strings are offsets made before."""
        getattr(tflite, f"{kind}Start")(self._flat)
        for name, value in fields.items():
            getattr(tflite, f"{kind}Add{name}")(self._flat, value)
        return int(getattr(tflite, f"{kind}End")(self._flat))

    def _operator(
        self,
        code: tuple[int, str],
        inputs: Sequence[GraphTensor],
        outputs: Sequence[GraphTensor],
        fields: Mapping[str, int],
    ) -> None:
        places = {
            "Inputs": self.integers([part.number for part in inputs]),
            "Outputs": self.integers([part.number for part in outputs]),
        }
        index = self._codes.setdefault(code, len(self._codes))
        self._operators.append(self.table("Operator", OpcodeIndex=index, **places, **fields))

    def _code(self, kind: int, name: str) -> int:
        fields = {"CustomCode": self._flat.CreateString(name)} if name else {}
        return self.table(
            "OperatorCode", DeprecatedBuiltinCode=kind, BuiltinCode=kind, Version=1, **fields
        )

    def _signature(
        self, inputs: Mapping[str, GraphTensor], outputs: Mapping[str, GraphTensor]
    ) -> int:
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
        return self.table("SignatureDef", Inputs=maps[0], Outputs=maps[1], SignatureKey=key)

    def _buffer(self, data: NDArray[np.uint8]) -> int:
        self._buffers.append(self.table("Buffer", Data=self._flat.CreateNumpyVector(data)))
        return len(self._buffers) - 1

    def _tables(self, offsets: Sequence[int]) -> int:
        self._flat.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._flat.PrependUOffsetTRelative(offset)
        return int(self._flat.EndVector())

    def _named(self, kind: str, name: str, **fields: int) -> int:
        return self.table(kind, Name=self._flat.CreateString(name), **fields)
