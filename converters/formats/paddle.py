"""Paddle: an inference model, ``.pdmodel`` and ``.pdiparams``, in and out without Paddle.

The program is written in the form that every Paddle since 2.0 runs; AIZOO's ``__model__`` and
``__params__`` are an early pair of the same two files. Paddle 3 can also save programs as JSON
(``.json``), which are not read here.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.formats.emitting import Rules, emit, full_padding, same_padding
from facemask_zoo.converters.formats.importing import (
    OPEN_BATCH,
    Importer,
    damage_reported,
    reshape_target,
    settled_shape,
)
from facemask_zoo.converters.limits import Budget, read_bytes
from facemask_zoo.converters.protobuf_schema import load, parse, serialize
from facemask_zoo.errors import UnsupportedOperationError, WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.operations import Operation, Padding, Pair, Shape, Window
from facemask_zoo.graph.program import Program

FORMAT = "paddle"

_OLD_NAMES = ("__model__", "__params__")
_SUFFIXES = (".pdmodel", ".pdiparams")

_MESSAGES = load("paddle")
_Program = _MESSAGES["ProgramDesc"]
_TensorDesc = _MESSAGES["TensorDesc"]
_INT32, _INT64, _FLOAT32, _DENSE_TENSOR, _FEED, _FETCH = 2, 3, 5, 7, 9, 10
_Types = dict[int, np.dtype[Any]]
_TYPES: _Types = {
    4: np.dtype("<f2"),
    _FLOAT32: np.dtype("<f4"),
    6: np.dtype("<f8"),
}
_INTEGERS: _Types = {_INT32: np.dtype(np.int32), _INT64: np.dtype(np.int64)}
_INT, _FLOAT, _STRING, _INTS, _FLOATS, _BOOLEAN = 0, 1, 2, 3, 4, 6
_FIELDS = {
    _INT: "i",
    _FLOAT: "f",
    _STRING: "s",
    _INTS: "ints",
    _FLOATS: "floats",
    _BOOLEAN: "b",
    9: "l",
    11: "longs",
    15: "float64",
}
"""Field of an attribute by its type; the others belong to training."""

# Some of Paddle's loaders fill in what is left out, others refuse it.
_EXPLICIT = {"data_format": "NCHW", "padding_algorithm": "EXPLICIT"}
_NCHW = ("NCHW", "AnyLayout", "NCDHW")

# Version of the tensor list, levels of detail (none), version of the tensor, length of its type.
_TENSOR_HEAD = struct.Struct("<IQIi")
_MAX_TYPE_BYTES = 128
_MAX_DIMENSIONS = 8
_MOST_SIZES = 64
_SIXTH = 1 / 6
_TINY = 1e-6

Array = NDArray[Any]
Result = str | Array
_Attributes = dict[str, Any]


def read(path: Path) -> Program:
    """Read a graph of any architecture.

    Args:
        path: Either file of the pair, or a folder with AIZOO's ``__model__`` and ``__params__``.

    Raises:
        WeightsError: A file is missing or damaged, or the program is no network of floats.
        UnsupportedOperationError: It does more than graphs can.
    """
    program_path, parameters_path = pair_of(path)
    with damage_reported(path, "Paddle model"):
        block = _block(parse(_Program, read_bytes(program_path)), program_path)
        names = sorted(
            variable.name
            for variable in block.vars
            if variable.persistable and variable.type.type == _DENSE_TENSOR
        )
        reader = _Reader(block, _read_parameters(read_bytes(parameters_path), names))
        for operator in block.ops:
            reader.read(operator)
        return reader.program()


def write(program: Program, path: Path) -> None:
    """Write both files; the parameters follow each other in the order of their names.

    Raises:
        UnsupportedOperationError: The program holds what is folded when files are read.
    """
    emitter = _Emitter(program)
    values = emit(program.graph, emitter.image, emitter, _RULES, FORMAT)
    emitter.fetch([values[name] for name in program.graph.outputs])
    program_path, parameters_path = pair_of(path)
    program_path.write_bytes(serialize(emitter.proto))
    parameters = emitter.parameters
    parameters_path.write_bytes(b"".join(_packed(parameters[name]) for name in sorted(parameters)))


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


class _Reader:
    """Follows the operators of a program; a value is a name in the graph, or a constant array.

    Arrays of integers may hold -1 for the batch, where a program computes shapes.
    """

    def __init__(self, block: Any, parameters: Mapping[str, Array]) -> None:
        self._budget = Budget()
        self.values: dict[str, Result] = dict(parameters)
        feeds = [
            operator.outputs[0].arguments[0] for operator in block.ops if _is(operator, "feed")
        ]
        if len(feeds) != 1:
            raise WeightsError(f"Expected one input, but the file has {feeds[:5]}.")
        (image,) = (variable for variable in block.vars if variable.name == feeds[0])
        self.importer = Importer(FORMAT, image.name, _input_shape(image))
        self._image = image.name
        self._outputs: dict[int, str] = {}
        self._card = next((attr.s for attr in image.attrs if attr.name == CARD_KEY), "")

    def read(self, operator: Any) -> None:
        """Take in an operator."""
        call = _Call(self, operator)
        if _is(operator, "feed"):
            self.values[self._image] = self.importer.input
        elif _is(operator, "fetch"):
            self._outputs[int(call.a.get("col", 0))] = call.value("X")
        else:
            rule = _READERS.get(operator.type)
            if rule is None:
                raise call.unsupported()
            results = rule(call)
            names = call.outputs
            self.values.update(zip(names, results, strict=False))

    def program(self) -> Program:
        """What was read."""
        if not self._outputs:
            raise WeightsError("The program fetches no output.")
        outputs = [self._outputs[column] for column in sorted(self._outputs)]
        return self.importer.program(outputs, self._card)

    def constant(self, shape: Sequence[int], value: float, dtype: np.dtype[Any]) -> Array:
        """An array of one number."""
        if any(size < 0 for size in shape) or len(shape) > _MAX_DIMENSIONS:
            raise WeightsError(f"A constant claims the shape {list(shape)[:10]}.")
        self._budget.spend(math.prod(shape) * dtype.itemsize)
        return np.full(tuple(shape), value, dtype)


def _is(operator: Any, kind: str) -> bool:
    return bool(operator.type == kind)


class _Call:
    """One operator of a program: what it sees, gives and says.

    Attributes:
        reader: What it is read by.
        kind: Its type.
        a: Its attributes.
        outputs: Names of what it gives, without what only training reads.
    """

    def __init__(self, reader: _Reader, operator: Any) -> None:
        self.reader = reader
        self.importer = reader.importer
        self.kind: str = operator.type
        self.a: _Attributes = {
            attr.name: _value(attr) for attr in operator.attrs if attr.type in _FIELDS
        }
        self._inputs = {each.parameter: list(each.arguments) for each in operator.inputs}
        given = {each.parameter: list(each.arguments) for each in operator.outputs}
        self.outputs = next((given[key] for key in ("Out", "Output", "Y") if given.get(key)), [])

    @property
    def name(self) -> str:
        """Name of what it gives."""
        if not self.outputs:
            raise WeightsError(f"An operator {self.kind!r} gives nothing.")
        return str(self.outputs[0])

    def unsupported(self, why: str = "") -> Exception:
        """The error for an operator, or a setting of it, that graphs do not have."""
        operation = f"{self.kind} {why}" if why else self.kind
        return self.importer.unsupported(operation, self.outputs[0] if self.outputs else "")

    def results(self, parameter: str) -> list[Result]:
        """Everything that it sees as one parameter."""
        names = self._inputs.get(parameter, [])
        missing = [name for name in names if name not in self.reader.values]
        if missing:
            raise WeightsError(
                f"{self.kind} {self.outputs[:1]}: nothing before it gives {missing}."
            )
        return [self.reader.values[name] for name in names]

    def result(self, parameter: str) -> Result:
        """What it sees as one parameter."""
        found = self.results(parameter)
        if len(found) != 1:
            raise WeightsError(f"{self.kind} {self.outputs[:1]}: expected one {parameter}.")
        return found[0]

    def value(self, parameter: str = "X") -> str:
        """An input that depends on the picture."""
        found = self.result(parameter)
        if not isinstance(found, str):
            raise self.unsupported("of constants")
        return found

    def constant(self, parameter: str) -> Array | None:
        """An input that is constant; None if there is none."""
        found = self.results(parameter)
        if not found:
            return None
        if len(found) != 1 or isinstance(found[0], str):
            raise self.unsupported("by computed numbers")
        return found[0]

    def needed(self, parameter: str) -> Array:
        """An input that has to be there and constant."""
        found = self.constant(parameter)
        if found is None:
            raise WeightsError(f"{self.kind} {self.outputs[:1]} lacks its {parameter}.")
        return found

    def refuse_inputs(self, *parameters: str) -> None:
        """See that settings are attributes: what other operators compute is not followed."""
        for parameter in parameters:
            if self.results(parameter):
                raise self.unsupported(f"by computed {parameter}")

    def shape(self) -> Shape:
        """Shape of X, without the batch."""
        return self.importer.shape(self.value())

    def axis(self, axis: int, rank: int) -> int:
        """An axis, counted from the batch; never the batch itself."""
        if not -rank <= axis < rank or axis % rank == 0:
            raise self.unsupported(f"along axis {axis} of {rank}")
        return axis % rank

    def check_layout(self) -> None:
        """See that channels come first."""
        layout = self.a.get("data_format", self.a.get("data_layout", _NCHW[0]))
        if layout not in _NCHW:
            raise self.unsupported(f"in the layout {layout}")

    def add(self, kind: type[Operation], *inputs: str, **attributes: Any) -> list[Result]:
        """Append an operation under the name of what the operator gives."""
        return [self.importer.add(kind, self.name, *(inputs or (self.value(),)), **attributes)]


def _value(attribute: Any) -> Any:
    found = getattr(attribute, _FIELDS[attribute.type])
    return found if isinstance(found, bool | int | float | str) else list(found)


def _input_shape(image: Any) -> Shape:
    tensor = image.type.dense_tensor.tensor
    sizes = [int(size) for size in tensor.dims]
    if tensor.data_type not in _TYPES or len(sizes) < 2:
        raise WeightsError(f"Input {image.name!r}: expected floats with a batch, got {sizes}.")
    return settled_shape(image.name, sizes[1:])


def _pair(values: Any) -> Pair:
    height, width = values
    return (int(height), int(width))


def _padding(call: _Call, window: Window) -> Padding:
    """Padding of a window whose kernel and strides are known."""
    algorithm = call.a.get("padding_algorithm", "EXPLICIT")
    if algorithm == "SAME":
        return same_padding(window, call.importer.spatial(call.value(_image_of(call))))
    if algorithm == "VALID":
        return (0, 0, 0, 0)
    sides = [int(side) for side in call.a.get("paddings", [0, 0])]
    if len(sides) == 2:
        sides = [sides[0], sides[0], sides[1], sides[1]]
    top, bottom, left, right = sides
    return (top, left, bottom, right)


def _image_of(call: _Call) -> str:
    return "X" if call.kind == "pool2d" else "Input"


def _read_convolution(call: _Call) -> list[Result]:
    call.check_layout()
    call.refuse_inputs("ResidualData")
    weight = call.needed("Filter")
    if weight.ndim != 4:
        raise call.unsupported(f"of {weight.ndim} dimensions")
    dilations = _pair(call.a.get("dilations", (1, 1)))
    if call.a.get("padding_algorithm") == "SAME" and dilations != (1, 1):
        raise call.unsupported("with dilations and SAME padding")
    window = Window(
        name="window",
        inputs=(),
        kernel=(weight.shape[2], weight.shape[3]),
        strides=_pair(call.a.get("strides", (1, 1))),
    )
    window.check()
    value = call.importer.convolution(
        call.name,
        call.value("Input"),
        weight,
        call.constant("Bias"),
        strides=window.strides,
        padding=_padding(call, window),
        dilations=dilations,
        groups=int(call.a.get("groups", 1)),
    )
    return [value]


def _read_pool(call: _Call) -> list[Result]:
    call.check_layout()
    maximum = call.a.get("pooling_type", "max") == "max"
    size = call.importer.spatial(call.value())
    kernel = _pair(call.a["ksize"])
    adaptive = bool(call.a.get("adaptive"))
    if call.a.get("global_pooling") or (adaptive and kernel == (1, 1)):
        if not maximum:
            return call.add(ops.GlobalAveragePool)
        return call.add(ops.MaxPool, kernel=size, strides=size)
    if adaptive:
        if min(kernel) < 1 or size[0] % kernel[0] or size[1] % kernel[1]:
            raise call.unsupported(f"of {size} to {kernel}")
        step = (size[0] // kernel[0], size[1] // kernel[1])
        return call.add(ops.MaxPool if maximum else ops.AveragePool, kernel=step, strides=step)
    padding = _pool_padding(call, kernel, size)
    settings = {"kernel": kernel, "strides": _pair(call.a.get("strides", (1, 1)))}
    if maximum:
        return call.add(ops.MaxPool, padding=padding, **settings)
    counted = not call.a.get("exclusive", True) and any(padding[:2])
    if counted and not _is_counted(padding):
        raise call.unsupported("with an average that counts half its padding")
    return call.add(ops.AveragePool, padding=padding, count_padding=counted, **settings)


def _is_counted(padding: Padding) -> bool:
    """Whether Paddle counts all of it: at the end, it counts no more than there is at the start."""
    top, left, bottom, right = padding
    return bottom <= top and right <= left


def _pool_padding(call: _Call, kernel: Pair, size: Pair) -> Padding:
    strides = _pair(call.a.get("strides", (1, 1)))
    window = Window(name="window", inputs=(), kernel=kernel, strides=strides)
    window.check()
    padding = _padding(call, window)
    if not call.a.get("ceil_mode"):
        return padding
    rounded = full_padding(dataclasses.replace(window, padding=padding), size)
    if rounded is None:
        raise call.unsupported("of padding alone")
    return rounded


def _read_mean(call: _Call) -> list[Result]:
    shape = call.shape()
    axes = sorted(axis % (len(shape) + 1) for axis in call.a.get("dim", []))
    if len(shape) != 3 or axes != [2, 3] or call.a.get("reduce_all"):
        raise call.unsupported(f"over the axes {axes}")
    if call.a.get("keep_dim"):
        return call.add(ops.GlobalAveragePool)
    pooled = call.importer.add(ops.GlobalAveragePool, f"{call.name}_pooled", call.value())
    return call.add(ops.Reshape, pooled, target=shape[:1])


def _read_norm(call: _Call) -> list[Result]:
    call.check_layout()
    in_training = not call.a.get("is_test", True) and not call.a.get("use_global_stats")
    if in_training or call.a.get("trainable_statistics"):
        raise call.unsupported("in training")
    mean, variance = call.needed("Mean"), call.needed("Variance")
    scale, shift = call.constant("Scale"), call.constant("Bias")
    norm = {
        "gamma": np.ones_like(mean) if scale is None else scale,
        "beta": np.zeros_like(mean) if shift is None else shift,
        "mean": mean,
        "variance": variance,
    }
    epsilon = float(call.a.get("epsilon", 1e-5))
    return [call.importer.batch_norm(call.name, call.value(), norm, epsilon)]


def _read_product(left: str, right: str) -> Any:
    """A product with a constant matrix; the attributes say what is transposed."""

    def read_it(call: _Call) -> list[Result]:
        weight = call.needed("Y") * np.float32(call.a.get("alpha", 1.0))
        if call.a.get(left) or weight.ndim != 2:
            raise call.unsupported("of values")
        weight = weight if call.a.get(right) else weight.T
        return [call.importer.linear(call.name, call.value(), weight, None)]

    return read_it


def _read_layer(call: _Call) -> list[Result]:
    """``fc`` and ``mul``: all axes from one on are flattened before the product."""
    fused = call.kind == "fc"
    image, matrix, key = (
        ("Input", "W", "in_num_col_dims") if fused else ("X", "Y", "x_num_col_dims")
    )
    x, weight = call.value(image), call.needed(matrix)
    axis, shape = int(call.a.get(key, 1)), call.importer.shape(x)
    if weight.ndim != 2 or call.a.get("y_num_col_dims", 1) != 1 or not 1 <= axis <= len(shape):
        raise call.unsupported(f"of {len(shape) + 1} axes from {axis}")
    if axis < len(shape):
        target = (*shape[: axis - 1], math.prod(shape[axis - 1 :]))
        x = call.importer.add(ops.Reshape, f"{call.name}_flat", x, target=target)
    bias = call.constant("Bias") if fused else None
    value = call.importer.linear(call.name, x, weight.T, bias)
    activation = call.a.get("activation_type", "")
    if activation == "relu":
        return [call.importer.add(ops.Relu, f"{call.name}_relu", value)]
    if activation:
        raise call.unsupported(f"with {activation}")
    return [value]


def _read_arithmetic(
    kind: type[Operation] | None, scale: Callable[[Array], Array | None], shift: Any
) -> Any:
    """Of two values by `kind`, or of a value and a constant as a scale and a shift."""

    def read_it(call: _Call) -> list[Result]:
        left, right = call.result("X"), call.result("Y")
        axis = int(call.a.get("axis", -1))
        if isinstance(left, str) and isinstance(right, str):
            if kind is None:
                raise call.unsupported("of two values")
            return call.add(kind, left, _aligned(call, left, right, axis))
        if not isinstance(left, str) and (kind is None or not isinstance(right, str)):
            raise call.unsupported("of a constant by something")
        constant, value = (right, left) if isinstance(left, str) else (left, right)
        assert isinstance(value, str)
        assert not isinstance(constant, str)
        rank = len(call.importer.shape(value)) + 1
        full = _full_shape(constant.shape, axis, rank)
        flat = constant.reshape(-1)
        if full == (*[1] * (rank - 1), flat.size) and kind is ops.Add:
            layer = call.importer.biased(call.name, value, flat)
            if layer is not None:
                return [layer]
        one = flat.size == 1 and len(full) == rank
        if not one and full != (1, flat.size, *[1] * (rank - 2)):
            raise call.unsupported(f"with a constant of shape {constant.shape}")
        return [call.importer.scaled(call.name, value, scale(flat), shift(flat))]

    return read_it


def _aligned(call: _Call, left: str, right: str, axis: int) -> str:
    """The right one in a shape that goes with the left: (C,) becomes (C, 1, 1) for axis 0."""
    shape, other = call.importer.shape(left), call.importer.shape(right)
    if axis == 0 and len(shape) == 3 and other == shape[:1]:
        return call.importer.add(ops.Reshape, f"{right}_cells", right, target=(*other, 1, 1))
    if axis > 0 or len(shape) != len(other):
        raise call.unsupported(f"of shapes {shape} and {other} at axis {axis}")
    return right


def _full_shape(shape: Shape, axis: int, rank: int) -> Shape:
    """A constant's shape with all axes of the value, whose `axis` its first one is."""
    begin = rank - len(shape) if axis < 0 else axis
    return (*[1] * begin, *shape, *[1] * (rank - begin - len(shape)))


def _read_scale(call: _Call) -> list[Result]:
    call.refuse_inputs("ScaleTensor", "BiasTensor")
    scale, shift = float(call.a.get("scale", 1.0)), float(call.a.get("bias", 0.0))
    if not call.a.get("bias_after_scale", True):
        shift *= scale
    source = call.result("X")
    if not isinstance(source, str):
        raise call.unsupported("of constants")
    if (scale, shift) == (1.0, 0.0):
        return [source]
    return [call.importer.scaled(call.name, source, np.array(scale), np.array(shift))]


def _read_clip(call: _Call) -> list[Result]:
    call.refuse_inputs("Min", "Max")
    least, most = float(call.a.get("min", -math.inf)), float(call.a.get("max", math.inf))
    if (least, most) == (0.0, 6.0):
        return call.add(ops.Relu6)
    if least == 0 and most >= float(np.finfo(np.float32).max):
        return call.add(ops.Relu)
    raise call.unsupported(f"to {least:g}..{most:g}")


def _read_relu6(call: _Call) -> list[Result]:
    if call.a.get("threshold", 6.0) != 6.0:
        raise call.unsupported(f"with the threshold {call.a['threshold']}")
    return call.add(ops.Relu6)


def _read_prelu(call: _Call) -> list[Result]:
    call.check_layout()
    if call.a.get("mode") not in ("all", "channel"):
        raise call.unsupported(f"by {call.a.get('mode')}")
    return [call.importer.prelu(call.name, call.value(), call.needed("Alpha"))]


def _read_hard_sigmoid(call: _Call) -> list[Result]:
    slope, offset = float(call.a.get("slope", 0.2)), float(call.a.get("offset", 0.5))
    return [call.importer.hard_sigmoid(call.name, call.value(), slope, offset)]


def _read_hard_swish(call: _Call) -> list[Result]:
    found = [float(call.a.get(key, std)) for key, std in _HARD_SWISH.items()]
    if found != list(_HARD_SWISH.values()):
        raise call.unsupported(f"with {found}")
    return call.add(ops.HardSwish)


def _read_swish(call: _Call) -> list[Result]:
    if call.a.get("beta", 1.0) != 1.0:
        raise call.unsupported(f"with a beta of {call.a['beta']}")
    gate = call.importer.add(ops.Sigmoid, f"{call.name}_gate", call.value())
    return call.add(ops.Multiply, call.value(), gate)


def _read_softmax(call: _Call) -> list[Result]:
    return call.add(ops.Softmax, axis=call.axis(int(call.a.get("axis", -1)), len(call.shape()) + 1))


def _read_concat(call: _Call) -> list[Result]:
    call.refuse_inputs("AxisTensor")
    parts = call.results("X")
    values = [part for part in parts if isinstance(part, str)]
    if not parts or len(values) != len(parts):
        raise call.unsupported("of constants")
    if len(values) == 1:
        return [values[0]]
    axis = call.axis(int(call.a.get("axis", 0)), len(call.importer.shape(values[0])) + 1)
    return call.add(ops.Concatenate, *values, axis=axis)


def _read_slice(call: _Call) -> list[Result]:
    call.refuse_inputs("StartsTensor", "EndsTensor", "StartsTensorList", "EndsTensorList")
    limits = list(zip(*(call.a[key] for key in ("axes", "starts", "ends")), strict=True))
    source, dropped = call.result("Input"), [int(axis) for axis in call.a.get("decrease_axis", [])]
    if not isinstance(source, str):
        ((axis, start, end),) = limits
        if axis or source.ndim != 1:
            raise call.unsupported("of constants")
        part = source[start:end]
        return [part.reshape(()) if dropped and part.size == 1 else part]
    value = source
    for each, start, end in limits:
        shape = call.importer.shape(value)
        axis = call.axis(each, len(shape) + 1)
        first, last, _ = slice(start, end).indices(shape[axis - 1])
        if (first, last) != (0, shape[axis - 1]):
            value = call.importer.add(
                ops.Slice, call.name, value, axis=axis, start=first, stop=last
            )
    return [_without_axes(call, value, dropped) if dropped else value]


def _without_axes(call: _Call, value: str, axes: Sequence[int]) -> str:
    """The value without axes of length 1."""
    shape = call.importer.shape(value)
    chosen = {call.axis(axis, len(shape) + 1) for axis in axes}
    if any(shape[axis - 1] != 1 for axis in chosen):
        raise call.unsupported(f"without the axes {sorted(chosen)} of {shape}")
    target = tuple(size for axis, size in enumerate(shape, 1) if axis not in chosen)
    return call.importer.add(ops.Reshape, call.name, value, target=target)


def _read_split(call: _Call) -> list[Result]:
    call.refuse_inputs("AxisTensor", "SectionsTensorList")
    shape = call.shape()
    axis = call.axis(int(call.a.get("axis", 0)), len(shape) + 1)
    length, count = shape[axis - 1], len(call.outputs)
    sizes = [int(size) for size in call.a.get("sections") or [length // max(count, 1)] * count]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = length - sum(sizes) - 1
    if sum(sizes) != length or len(sizes) != count:
        raise WeightsError(f"{call.kind} {call.name}: {length} cannot be split into {sizes}.")
    results: list[Result] = []
    start = 0
    for name, size in zip(call.outputs, sizes, strict=True):
        results.append(
            call.importer.add(
                ops.Slice, name, call.value(), axis=axis, start=start, stop=start + size
            )
        )
        start += size
    return results


def _read_reshape(call: _Call) -> list[Result]:
    wanted = [int(size) for size in call.a.get("shape", [])]
    parts = [*call.results("Shape"), *call.results("ShapeTensor")]
    arrays = [np.ravel(part) for part in parts if not isinstance(part, str)]
    if len(arrays) != len(parts):
        raise call.unsupported("to a computed shape")
    if sum(each.size for each in arrays) > _MOST_SIZES:
        raise call.unsupported("to a shape that is no list of a few sizes")
    if arrays:
        wanted = [int(size) for size in np.concatenate(arrays)]
    source = call.result("X")
    if not isinstance(source, str):
        return [source.reshape(wanted)]
    target = reshape_target(wanted, call.importer.shape(source))
    if target is None:
        raise call.unsupported(f"of {call.importer.shape(source)} to {wanted} across the batch")
    return call.add(ops.Reshape, source, target=target)


def _read_flatten(call: _Call) -> list[Result]:
    if call.a.get("axis", 1) != 1:
        raise call.unsupported("across the batch")
    return call.add(ops.Reshape, target=(math.prod(call.shape()),))


def _read_flatten_range(call: _Call) -> list[Result]:
    shape = call.shape()
    rank = len(shape) + 1
    start, stop = (call.axis(int(call.a.get(key, 1)), rank) for key in ("start_axis", "stop_axis"))
    middle = math.prod(shape[start - 1 : stop])
    return call.add(ops.Reshape, target=(*shape[: start - 1], middle, *shape[stop:]))


def _read_squeeze(call: _Call) -> list[Result]:
    axes = call.a.get("axes", [])
    if not axes:
        raise call.unsupported("of unknown axes")
    return [_without_axes(call, call.value(), axes)]


def _read_unsqueeze(call: _Call) -> list[Result]:
    call.refuse_inputs("AxesTensor", "AxesTensorList")
    shape, axes = call.shape(), call.a.get("axes", [])
    rank = len(shape) + 1 + len(axes)
    chosen = {call.axis(int(axis), rank) for axis in axes}
    sizes = iter(shape)
    target = tuple(1 if axis in chosen else next(sizes) for axis in range(1, rank))
    return call.add(ops.Reshape, target=target)


def _read_transpose(call: _Call) -> list[Result]:
    return call.add(ops.Transpose, order=tuple(int(axis) for axis in call.a["axis"]))


def _read_resize(mode: str) -> Any:
    def read_it(call: _Call) -> list[Result]:
        call.check_layout()
        call.refuse_inputs("OutSize", "SizeTensor", "Scale")
        size = call.importer.spatial(call.value())
        scales = np.ravel(call.a.get("scale", []))
        if not scales.size or scales[0] <= 0:
            wanted = (int(call.a.get("out_h", 0)), int(call.a.get("out_w", 0)))
            scales = np.array([new / old for new, old in zip(wanted, size, strict=True)])
        scales = np.broadcast_to(scales, 2)
        whole = np.rint(scales)
        if (np.abs(scales - whole) > _TINY).any():
            raise call.unsupported("by other than whole factors")
        half_pixel = mode == "nearest" or call.a.get("align_mode", 1) == 0
        if call.a.get("align_corners", True) or not half_pixel:
            raise call.unsupported("between the corners")
        return call.add(ops.Upsample, scales=(int(whole[0]), int(whole[1])), mode=mode)

    return read_it


def _read_pad(call: _Call) -> list[Result]:
    """``pad``: before and after every axis."""
    sides = [int(side) for side in call.a["paddings"]]
    if len(sides) != 8 or any(sides[:2]) or call.a.get("pad_value", 0.0):
        raise call.unsupported("with anything but zeros around a feature map")
    before, after, top, bottom, left, right = sides[2:]
    return call.add(ops.Pad, padding=(top, left, bottom, right), channels=(before, after))


def _read_pad2d(call: _Call) -> list[Result]:
    call.check_layout()
    top, bottom, left, right = (int(side) for side in call.a["paddings"])
    if call.a.get("mode", "constant") != "constant" or call.a.get("pad_value", 0.0):
        raise call.unsupported("with anything but zeros")
    return call.add(ops.Pad, padding=(top, left, bottom, right))


def _read_pad3d(call: _Call) -> list[Result]:
    """Of a feature map with one more axis, of length 1, before or behind its channels."""
    call.check_layout()
    call.refuse_inputs("Paddings")
    shape = call.shape()
    left, right, top, bottom, *depth = (int(side) for side in call.a["paddings"])
    behind = len(shape) == 4 and shape[1] == 1 and not any(depth)
    if not behind and (len(shape) != 4 or shape[0] != 1):
        raise call.unsupported("of more than a feature map")
    if call.a.get("mode", "constant") != "constant" or call.a.get("value", 0.0):
        raise call.unsupported("with anything but zeros")
    target = (shape[0], *shape[2:]) if behind else shape[1:]
    x = call.importer.add(ops.Reshape, f"{call.name}_flat", call.value(), target=target)
    sides = {"padding": (top, left, bottom, right), "channels": tuple(depth)}
    x = call.importer.add(ops.Pad, f"{call.name}_pad", x, **sides)
    channels, height, width = call.importer.shape(x)
    full = (channels, 1, height, width) if behind else (1, channels, height, width)
    return call.add(ops.Reshape, x, target=full)


def _read_shuffle(call: _Call) -> list[Result]:
    channels, height, width = (*call.shape(), 0, 0)[:3]
    groups = int(call.a.get("group", 1))
    if groups < 1 or channels % groups:
        raise call.unsupported(f"of {channels} in {groups} groups")
    name, apart = call.name, (groups, channels // groups, height, width)
    x = call.importer.add(ops.Reshape, f"{name}_groups", call.value(), target=apart)
    x = call.importer.add(ops.Transpose, f"{name}_swapped", x, order=(0, 2, 1, 3, 4))
    return call.add(ops.Reshape, x, target=(channels, height, width))


def _read_dropout(call: _Call) -> list[Result]:
    if not call.a.get("is_test", True):
        raise call.unsupported("in training")
    share = float(call.a.get("dropout_prob", 0.5))
    how = call.a.get("dropout_implementation", "downgrade_in_infer")
    if how == "upscale_in_train" or not share:
        return [call.value()]
    return [call.importer.scaled(call.name, call.value(), np.array(1 - share), None)]


def _read_same(call: _Call) -> list[Result]:
    return [call.result("X")]


def _read_cast(call: _Call) -> list[Result]:
    source = call.result("X")
    if isinstance(source, str) and call.a.get("out_dtype", _FLOAT32) not in _TYPES:
        raise call.unsupported("to other than floats")
    return [source]


def _read_shape(call: _Call) -> list[Result]:
    shape = call.importer.shape(call.value("Input"))
    return [np.array([OPEN_BATCH, *shape], np.int64)]


def _read_fill(call: _Call) -> list[Result]:
    call.refuse_inputs("ShapeTensor", "ShapeTensorList", "ValueTensor")
    kind = call.a.get("dtype", _FLOAT32)
    dtype = {**_TYPES, **_INTEGERS}.get(kind)
    if dtype is None:
        raise call.unsupported(f"of the type {kind}")
    value = float(call.a.get("str_value") or call.a.get("value", 0.0))
    return [call.reader.constant(call.a.get("shape", []), value, dtype)]


def _one(kind: type[Operation]) -> Any:
    return lambda call: call.add(kind)


def _nothing(constant: Array) -> None:
    return None


_HARD_SWISH = {"threshold": 6.0, "scale": 6.0, "offset": 3.0}

_READERS: Mapping[str, Callable[[_Call], list[Result]]] = {
    "conv2d": _read_convolution,
    "depthwise_conv2d": _read_convolution,
    "pool2d": _read_pool,
    "reduce_mean": _read_mean,
    "batch_norm": _read_norm,
    "matmul_v2": _read_product("trans_x", "trans_y"),
    "matmul": _read_product("transpose_X", "transpose_Y"),
    "mul": _read_layer,
    "fc": _read_layer,
    "elementwise_add": _read_arithmetic(ops.Add, _nothing, lambda constant: constant),
    "elementwise_sub": _read_arithmetic(None, _nothing, lambda constant: -constant),
    "elementwise_mul": _read_arithmetic(ops.Multiply, lambda constant: constant, _nothing),
    "elementwise_div": _read_arithmetic(
        None, lambda constant: 1 / constant.astype(np.float64), _nothing
    ),
    "scale": _read_scale,
    "clip": _read_clip,
    "relu": _one(ops.Relu),
    "relu6": _read_relu6,
    "leaky_relu": lambda call: call.add(ops.LeakyRelu, slope=float(call.a.get("alpha", 0.02))),
    "prelu": _read_prelu,
    "sigmoid": _one(ops.Sigmoid),
    "tanh": _one(ops.Tanh),
    "hard_sigmoid": _read_hard_sigmoid,
    "hard_swish": _read_hard_swish,
    "swish": _read_swish,
    "silu": _read_swish,
    "softmax": _read_softmax,
    "concat": _read_concat,
    "slice": _read_slice,
    "split": _read_split,
    "reshape": _read_reshape,
    "reshape2": _read_reshape,
    "flatten": _read_flatten,
    "flatten2": _read_flatten,
    "flatten_contiguous_range": _read_flatten_range,
    "squeeze2": _read_squeeze,
    "unsqueeze2": _read_unsqueeze,
    "transpose": _read_transpose,
    "transpose2": _read_transpose,
    "nearest_interp": _read_resize("nearest"),
    "nearest_interp_v2": _read_resize("nearest"),
    "bilinear_interp": _read_resize("bilinear"),
    "bilinear_interp_v2": _read_resize("bilinear"),
    "pad": _read_pad,
    "pad2d": _read_pad2d,
    "pad3d": _read_pad3d,
    "shuffle_channel": _read_shuffle,
    "dropout": _read_dropout,
    "assign": _read_same,
    "cast": _read_cast,
    "shape": _read_shape,
    "fill_constant": _read_fill,
}
"""From the format's operators to ours."""


@dataclasses.dataclass(frozen=True)
class _Variable:
    """A variable of the program: its name and its shape, in which -1 is the batch."""

    name: str
    shape: tuple[int, ...]


class _Emitter:
    """Adds operators and their variables to the only block of a program.

    Args:
        program: What to write.

    Attributes:
        proto: The program's message.
        parameters: What goes into the other file, by name.
        image: The input.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.proto = _Program(version={"version": 0})
        self.parameters: dict[str, NDArray[np.float32]] = {}
        self._block = self.proto.blocks.add(idx=0, parent_idx=-1)
        for name, kind in (("feed", _FEED), ("fetch", _FETCH)):
            self._block.vars.add(name=name, type={"type": kind}, persistable=True)
        graph = program.graph
        self.image = _Variable(graph.input, (OPEN_BATCH, *graph.input_shape))
        declared = self._declare(self.image)
        if program.card:
            declared.attrs.add(name=CARD_KEY, type=_STRING, s=program.card)
        self._operate("feed", {"X": ["feed"]}, {"Out": [graph.input]}, col=0)

    def tensor(self, op: Operation, part: str) -> _Variable:
        """Declare a tensor of the program as a parameter; a linear layer's is transposed."""
        name = f"{op.name}.{part}"
        values = self.program.tensors[name]
        self.parameters[name] = values.T if isinstance(op, ops.Linear) else values
        variable = _Variable(name, self.parameters[name].shape)
        self._declare(variable, persistable=True)
        return variable

    def operation(
        self, kind: str, op: Operation, x: Sequence[_Variable], **attributes: Any
    ) -> _Variable:
        """An operator from X to the operation's value."""
        return self.add(kind, {"X": x}, self.value(op), **attributes)

    def value(self, op: Operation, ending: str = "") -> _Variable:
        """A variable of the shape of an operation's value, under its name or a longer one."""
        shape = self.program.graph.shapes[op.name]
        return _Variable(f"{op.name}{ending}", (OPEN_BATCH, *shape))

    def fetch(self, outputs: Sequence[_Variable]) -> None:
        """Mark the outputs of the program, in this order."""
        for column, output in enumerate(outputs):
            self._operate("fetch", {"X": [output.name]}, {"Out": ["fetch"]}, col=column)

    def add(
        self,
        kind: str,
        inputs: Mapping[str, Sequence[_Variable]],
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
        names = {key: [each.name for each in variables] for key, variables in inputs.items()}
        self._operate(kind, names, outputs, **attributes)
        return y

    def _declare(self, variable: _Variable, persistable: bool = False) -> Any:
        tensor = {"data_type": _FLOAT32, "dims": variable.shape}
        kind = {"type": _DENSE_TENSOR, "dense_tensor": {"tensor": tensor, "lod_level": 0}}
        return self._block.vars.add(name=variable.name, type=kind, persistable=persistable)

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


def _attribute(value: bool | int | float | str | list[int] | list[float]) -> dict[str, Any]:
    """Type and value of an operator's attribute."""
    kinds = {bool: _BOOLEAN, int: _INT, float: _FLOAT, str: _STRING}
    if not isinstance(value, list):
        kind = kinds[type(value)]
    else:
        kind = _FLOATS if value and isinstance(value[0], float) else _INTS
    return {"type": kind, _FIELDS[kind]: value}


def _sides(window: Window) -> list[int]:
    top, left, bottom, right = window.padding
    symmetric = (top, left) == (bottom, right)
    return [top, left] if symmetric else [top, bottom, left, right]


def _convolution(e: _Emitter, op: ops.Convolution, x: Sequence[_Variable]) -> _Variable:
    product = e.add(
        "conv2d",
        {"Input": x, "Filter": [e.tensor(op, "weight")]},
        e.value(op, ".product"),
        "Output",
        strides=list(op.strides),
        paddings=_sides(op),
        dilations=list(op.dilations),
        groups=op.groups,
        **_EXPLICIT,
    )
    inputs = {"X": [product], "Y": [e.tensor(op, "bias")]}
    return e.add("elementwise_add", inputs, e.value(op), axis=1)


def _pool(kind: str, **settings: Any) -> Any:
    fixed = {"pooling_type": kind, "global_pooling": False, "ceil_mode": False, **_EXPLICIT}

    def write_it(e: _Emitter, op: Operation, x: Sequence[_Variable]) -> _Variable:
        if not isinstance(op, Window):  # a single cell for the whole of the input
            return e.operation("pool2d", op, x, **fixed, **settings)
        exclusive = not getattr(op, "count_padding", False)
        if not exclusive and not _is_counted(op.padding):
            raise UnsupportedOperationError(FORMAT, f"{op.kind} with padding as here", op.name)
        window = {"ksize": list(op.kernel), "strides": list(op.strides), "paddings": _sides(op)}
        return e.operation("pool2d", op, x, adaptive=False, exclusive=exclusive, **window, **fixed)

    return write_it


def _linear(e: _Emitter, op: ops.Linear, x: Sequence[_Variable]) -> _Variable:
    product = e.add(
        "matmul_v2",
        {"X": x, "Y": [e.tensor(op, "weight")]},
        e.value(op, ".product"),
        trans_x=False,
        trans_y=False,
    )
    inputs = {"X": [product], "Y": [e.tensor(op, "bias")]}
    return e.add("elementwise_add", inputs, e.value(op), axis=-1)


def _two(kind: str) -> Any:
    def write_it(e: _Emitter, op: Operation, x: Sequence[_Variable]) -> _Variable:
        return e.add(kind, {"X": [x[0]], "Y": [x[1]]}, e.value(op), axis=-1)

    return write_it


def _slice(e: _Emitter, op: ops.Slice, x: Sequence[_Variable]) -> _Variable:
    return e.add(
        "slice",
        {"Input": x},
        e.value(op),
        axes=[op.axis],
        starts=[op.start],
        ends=[op.stop],
        infer_flags=[1],
        decrease_axis=[],
    )


def _pad(e: _Emitter, op: ops.Pad, x: Sequence[_Variable]) -> _Variable:
    """As Paddle does it: with one more axis, since its newer executor hangs on plain ``pad``."""
    top, left, bottom, right = op.padding
    deep = _Variable(f"{op.name}.deep", (OPEN_BATCH, 1, *x[0].shape[1:]))
    e.add("unsqueeze2", {"X": x}, deep, shadow="XShape", axes=[1])
    padded = e.add(
        "pad3d",
        {"X": [deep]},
        _Variable(f"{op.name}.padded", (OPEN_BATCH, 1, *e.value(op).shape[1:])),
        paddings=[left, right, top, bottom, *op.channels],
        mode="constant",
        value=0.0,
        data_format="NCDHW",
    )
    return e.add("squeeze2", {"X": [padded]}, e.value(op), shadow="XShape", axes=[1])


def _upsample(e: _Emitter, op: ops.Upsample, x: Sequence[_Variable]) -> _Variable:
    return e.operation(
        f"{op.mode}_interp_v2",
        op,
        x,
        interp_method=op.mode,
        scale=[float(scale) for scale in op.scales],
        align_corners=False,
        align_mode=0,
        data_layout="NCHW",
        out_d=-1,
        out_h=-1,
        out_w=-1,
    )


def _plain(kind: str, **attributes: Any) -> Any:
    def write_it(e: _Emitter, op: Operation, x: Sequence[_Variable]) -> _Variable:
        return e.operation(kind, op, x, **attributes)

    return write_it


def _prelu(e: _Emitter, op: ops.Prelu, x: Sequence[_Variable]) -> _Variable:
    inputs = {"X": x, "Alpha": [e.tensor(op, "slope")]}
    return e.add("prelu", inputs, e.value(op), mode="channel", data_format="NCHW")


_RULES: Rules[_Emitter, _Variable] = {
    ops.Convolution: _convolution,
    ops.MaxPool: _pool("max"),
    ops.AveragePool: _pool("avg"),
    ops.GlobalAveragePool: _pool(
        "avg", ksize=[1, 1], strides=[1, 1], paddings=[0, 0], adaptive=True, exclusive=True
    ),
    ops.Linear: _linear,
    ops.Add: _two("elementwise_add"),
    ops.Multiply: _two("elementwise_mul"),
    ops.Concatenate: lambda e, op, x: e.operation("concat", op, x, axis=op.axis),
    ops.Slice: _slice,
    ops.Pad: _pad,
    ops.Upsample: _upsample,
    ops.Reshape: lambda e, op, x: e.operation(
        "reshape2", op, x, shadow="XShape", shape=[0, *op.target]
    ),
    ops.Transpose: lambda e, op, x: e.operation(
        "transpose2", op, x, shadow="XShape", axis=list(op.order)
    ),
    ops.Relu: _plain("relu"),
    ops.Relu6: _plain("relu6", threshold=6.0),
    ops.LeakyRelu: lambda e, op, x: e.operation("leaky_relu", op, x, alpha=op.slope),
    ops.Prelu: _prelu,
    ops.Sigmoid: _plain("sigmoid"),
    ops.Tanh: _plain("tanh"),
    ops.HardSigmoid: _plain("hard_sigmoid", slope=_SIXTH, offset=0.5),
    ops.HardSwish: _plain("hard_swish", **_HARD_SWISH),
    ops.Softmax: lambda e, op, x: e.operation("softmax", op, x, axis=op.axis),
}
