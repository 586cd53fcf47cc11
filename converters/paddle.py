"""Paddle: an inference model, ``.pdiparams`` and ``.pdmodel``, both without Paddle.

The program is written in the form that every Paddle since 1.6 runs; AIZOO's ``__params__`` and
``__model__`` are an early pair of the same two files.
"""

from __future__ import annotations

import dataclasses
import math
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.limits import read_bytes
from facemask_zoo.converters.protobuf_schema import declare, parse, serialize
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Model
from facemask_zoo.recognition import card_from_tensors
from facemask_zoo.ssd.network import INPUT_NAME, Convolution, build

_OLD_NAMES = ("__model__", "__params__")
_SUFFIXES = (".pdmodel", ".pdiparams")

# Field and type numbers as in Paddle's framework.proto.
_MESSAGES = declare(
    "facemask_zoo.paddle",
    """
    message TensorDesc { int32 data_type = 1; repeated int64 dims = 2; }
    message DenseTensorDesc { TensorDesc tensor = 1; int32 lod_level = 2; }
    message VarType { int32 type = 1; DenseTensorDesc dense_tensor = 3; }
    message VarAttr { string name = 1; int32 type = 2; string s = 4; }
    message VarDesc {
        string name = 1; VarType type = 2; bool persistable = 3; repeated VarAttr attrs = 7;
    }
    message OpVar { string parameter = 1; repeated string arguments = 2; }
    message OpAttr {
        string name = 1; int32 type = 2; int32 i = 3; string s = 5; repeated int32 ints = 6;
        bool b = 10;
    }
    message OpDesc {
        repeated OpVar inputs = 1; repeated OpVar outputs = 2; string type = 3;
        repeated OpAttr attrs = 4;
    }
    message BlockDesc {
        int32 idx = 1; int32 parent_idx = 2; repeated VarDesc vars = 3; repeated OpDesc ops = 4;
    }
    message Version { int64 version = 1; }
    message ProgramDesc { repeated BlockDesc blocks = 1; Version version = 4; }
    """,
)
_Program = _MESSAGES["ProgramDesc"]
_TensorDesc = _MESSAGES["TensorDesc"]
_FLOAT32, _DENSE_TENSOR, _FEED, _FETCH = 5, 7, 9, 10
_TYPES: dict[int, np.dtype[Any]] = {
    4: np.dtype("<f2"),
    _FLOAT32: np.dtype("<f4"),
    6: np.dtype("<f8"),
}
_INT, _STRING, _INTS, _BOOLEAN = 0, 2, 3, 6

# Some of Paddle's loaders fill in what is left out, others refuse it.
_EXPLICIT = {"data_format": "NCHW", "padding_algorithm": "EXPLICIT"}
_CONVOLUTION: dict[str, Any] = {"strides": [1, 1], "dilations": [1, 1], "groups": 1, **_EXPLICIT}
_POOL: dict[str, Any] = {
    "pooling_type": "max",
    "ksize": [2, 2],
    "strides": [2, 2],
    "paddings": [0, 0],
    "ceil_mode": True,
    "global_pooling": False,
    "adaptive": False,
    "exclusive": True,
    **_EXPLICIT,
}

# Version of the tensor list, levels of detail (none), version of the tensor, length of its type.
_TENSOR_HEAD = struct.Struct("<IQIi")
_MAX_TYPE_BYTES = 128
_MAX_DIMENSIONS = 8
_PARAMETER_NAME = re.compile(r"(?P<layer>\w+)_(?P<part>weight|bias)s?")


def read(path: Path) -> Model:
    """Read parameters by the names in the program; without a card the network is AIZOO's.

    Args:
        path: Either file of the pair, or a folder with AIZOO's ``__model__`` and ``__params__``.

    Raises:
        WeightsError: A file is missing or damaged, or holds other layers.
    """
    program_path, parameters_path = pair_of(path)
    block = _block(parse(_Program, read_bytes(program_path)), program_path)
    names = sorted(
        variable.name
        for variable in block.vars
        if variable.persistable and variable.type.type == _DENSE_TENSOR
    )
    arrays = _read_parameters(read_bytes(parameters_path), names)
    tensors = {_canonical_name(name): values for name, values in arrays.items()}
    image = next((variable for variable in block.vars if variable.name == INPUT_NAME), None)
    card = _embedded_card(image)
    return Model(card or card_from_tensors(tensors, path.stem, _input_size(image)), tensors)


def write(model: Model, path: Path) -> None:
    """Write both files; the parameters follow each other in the order of their names."""
    builder = _ProgramBuilder(model)
    outputs = build(model.card.network, builder.image, builder)
    builder.fetch(outputs)
    program_path, parameters_path = pair_of(path)
    program_path.write_bytes(serialize(builder.program))
    values = {_variable_name(name): tensor for name, tensor in model.tensors.items()}
    parameters_path.write_bytes(b"".join(_packed(values[name]) for name in sorted(values)))


def pair_of(path: Path) -> tuple[Path, Path]:
    """Program and parameters, given either of them or a folder in the old style."""
    if path.is_dir():
        return path / _OLD_NAMES[0], path / _OLD_NAMES[1]
    if path.name in _OLD_NAMES:
        return path.with_name(_OLD_NAMES[0]), path.with_name(_OLD_NAMES[1])
    return path.with_suffix(_SUFFIXES[0]), path.with_suffix(_SUFFIXES[1])


def companions(path: Path) -> list[Path]:
    """The other half of a pair."""
    return [part for part in pair_of(path) if part != path]


def _variable_name(name: str) -> str:
    """AIZOO's name of a canonical tensor: ``<layer>_weights`` or ``<layer>_bias``."""
    return name.replace(".weight", "_weights").replace(".", "_")


def _canonical_name(name: str) -> str:
    match = _PARAMETER_NAME.fullmatch(name)
    return f"{match['layer']}.{match['part']}" if match else name


def _packed(values: NDArray[np.float32]) -> bytes:
    kind = serialize(_TensorDesc(data_type=_FLOAT32, dims=values.shape))
    content = np.ascontiguousarray(values, dtype=_TYPES[_FLOAT32]).tobytes()
    return _TENSOR_HEAD.pack(0, 0, 0, len(kind)) + kind + content


def _read_parameters(data: bytes, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    arrays, offset = {}, 0
    for name in names:
        arrays[name], offset = _read_tensor(data, offset, name)
    if offset != len(data):
        raise WeightsError(f"{len(data) - offset} bytes follow the last Paddle parameter.")
    return arrays


def _read_tensor(data: bytes, offset: int, name: str) -> tuple[NDArray[np.float32], int]:
    """One parameter, and where the next begins."""
    start = offset + _TENSOR_HEAD.size
    if start > len(data):
        raise WeightsError(f"The file ends before parameter {name!r}.")
    *versions, length = _TENSOR_HEAD.unpack_from(data, offset)
    if any(versions) or not 0 < length <= _MAX_TYPE_BYTES:
        raise WeightsError(f"Parameter {name!r} is in an unknown version of Paddle's format.")
    kind = parse(_TensorDesc, data[start : start + length])
    shape, dtype = tuple(kind.dims), _TYPES.get(kind.data_type)
    if dtype is None or not 0 < len(shape) <= _MAX_DIMENSIONS or min(shape) < 1:
        raise WeightsError(f"Parameter {name!r} has shape {shape} and type {kind.data_type}.")
    start += length
    end = start + math.prod(shape) * dtype.itemsize
    if end > len(data):
        raise WeightsError(f"The file ends within parameter {name!r} of shape {shape}.")
    values = np.frombuffer(memoryview(data)[start:end], dtype).reshape(shape)
    return np.array(values, dtype=np.float32), end


def _block(program: Any, path: Path) -> Any:
    if len(program.blocks) != 1:
        raise WeightsError(f"{path}: expected a program of one block, not {len(program.blocks)}.")
    return program.blocks[0]


def _embedded_card(image: Any) -> ModelCard | None:
    texts = [attr.s for attr in image.attrs if attr.name == CARD_KEY] if image else []
    return ModelCard.from_json(texts[0]) if texts else None


def _input_size(image: Any) -> int | None:
    shape = list(image.type.dense_tensor.tensor.dims) if image else []
    return int(shape[2]) if len(shape) == 4 else None


@dataclasses.dataclass(frozen=True)
class _Variable:
    """A variable of the program: its name and its shape, in which -1 is the batch."""

    name: str
    shape: tuple[int, ...]


class _ProgramBuilder:
    """Adds operators and their variables to the only block of a program."""

    def __init__(self, model: Model) -> None:
        network = model.card.network
        self.program = _Program(version={"version": 0})
        self._block = self.program.blocks.add(idx=0, parent_idx=-1)
        for name, values in model.tensors.items():
            self._declare(_Variable(_variable_name(name), values.shape), persistable=True)
        for name, kind in (("feed", _FEED), ("fetch", _FETCH)):
            self._block.vars.add(name=name, type={"type": kind}, persistable=True)
        self.image = _Variable(INPUT_NAME, (-1, 3, network.input_size, network.input_size))
        card = model.card.portable().to_json()
        self._declare(self.image).attrs.add(name=CARD_KEY, type=_STRING, s=card)
        self._operate("feed", {"X": ["feed"]}, {"Out": [INPUT_NAME]}, col=0)

    def pool(self, x: _Variable, name: str) -> _Variable:
        batch, channels, height, width = x.shape
        y = _Variable(name, (batch, channels, (height + 1) // 2, (width + 1) // 2))
        return self._add("pool2d", {"X": [x.name]}, y, **_POOL)

    def convolve(self, x: _Variable, layer: Convolution) -> _Variable:
        change = 2 * layer.padding - 2
        shape = (x.shape[0], layer.outputs, x.shape[2] + change, x.shape[3] + change)
        inputs = {"Input": [x.name], "Filter": [_variable_name(layer.weight_name)]}
        y = _Variable(f"{layer.name}.product", shape)
        self._add("conv2d", inputs, y, "Output", paddings=[layer.padding] * 2, **_CONVOLUTION)
        inputs = {"X": [y.name], "Y": [_variable_name(layer.bias_name)]}
        y = self._add("elementwise_add", inputs, _Variable(layer.name, shape), axis=1)
        activation = _Variable(f"{layer.name}_activation", shape)
        return self._add("relu", {"X": [y.name]}, activation) if layer.relu else y

    def flatten(self, x: _Variable, columns: int, name: str) -> _Variable:
        batch, channels, height, width = x.shape
        last = _Variable(f"{name}_permute", (batch, height, width, channels))
        self._add("transpose2", {"X": [x.name]}, last, shadow="XShape", axis=[0, 2, 3, 1])
        shape = (batch, height * width * channels // columns, columns)
        inputs = {"X": [last.name]}
        return self._add(
            "reshape2", inputs, _Variable(name, shape), shadow="XShape", shape=[0, -1, columns]
        )

    def sigmoid(self, x: _Variable, name: str) -> _Variable:
        return self._add("sigmoid", {"X": [x.name]}, _Variable(name, x.shape))

    def concatenate(self, parts: Sequence[_Variable], name: str) -> _Variable:
        rows = sum(part.shape[1] for part in parts)
        y = _Variable(name, (parts[0].shape[0], rows, parts[0].shape[2]))
        return self._add("concat", {"X": [part.name for part in parts]}, y, axis=1)

    def fetch(self, outputs: Sequence[_Variable]) -> None:
        """Mark the outputs of the program, in this order."""
        for column, output in enumerate(outputs):
            self._operate("fetch", {"X": [output.name]}, {"Out": ["fetch"]}, col=column)

    def _declare(self, variable: _Variable, persistable: bool = False) -> Any:
        tensor = {"data_type": _FLOAT32, "dims": variable.shape}
        kind = {"type": _DENSE_TENSOR, "dense_tensor": {"tensor": tensor, "lod_level": 0}}
        return self._block.vars.add(name=variable.name, type=kind, persistable=persistable)

    def _add(
        self,
        kind: str,
        inputs: Mapping[str, list[str]],
        y: _Variable,
        output: str = "Out",
        shadow: str = "",
        **attributes: Any,
    ) -> _Variable:
        """Declare `y` and the operator that makes it; `shadow` names an output nobody reads."""
        self._declare(y)
        outputs = {output: [y.name]}
        if shadow:
            self._declare(unread := _Variable(f"{y.name}.shape", (0, *y.shape)))
            outputs[shadow] = [unread.name]
        self._operate(kind, inputs, outputs, **attributes)
        return y

    def _operate(
        self,
        kind: str,
        inputs: Mapping[str, list[str]],
        outputs: Mapping[str, list[str]],
        **attributes: Any,
    ) -> None:
        operator = self._block.ops.add(type=kind)
        for group, names in ((operator.inputs, inputs), (operator.outputs, outputs)):
            for parameter, arguments in names.items():
                group.add(parameter=parameter, arguments=arguments)
        for name, value in attributes.items():
            operator.attrs.add(name=name, **_attribute(value))


def _attribute(value: bool | int | str | list[int]) -> dict[str, Any]:
    """Type and value of an operator's attribute."""
    if isinstance(value, bool):
        return {"type": _BOOLEAN, "b": value}
    if isinstance(value, int):
        return {"type": _INT, "i": value}
    if isinstance(value, str):
        return {"type": _STRING, "s": value}
    return {"type": _INTS, "ints": value}
