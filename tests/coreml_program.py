"""An interpreter of the Core ML programs that this package writes, in double precision.

Core ML itself runs on Apple's systems alone. This reads nothing but the saved files, and follows
Apple's description of the operations of its intermediate language: what a program says is carried
out operation by operation, and anything beyond that description is an error.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from coremltools.proto import Model_pb2
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from facemask_zoo.converters.runners import Runner
from facemask_zoo.model import Model

Doubles = NDArray[np.float64]

DATA = Path("Data") / "com.apple.CoreML"
_BLOB = struct.Struct("<IIQQ")
_BLOB_MAGIC, _BLOB_FLOAT32 = 0xDEADBEEF, 2
_MAX_AXES = 5
_MAX_AXES_OF_LINEAR = 3


class Program:
    """A saved ML program.

    Args:
        package: The ``.mlpackage``.

    Attributes:
        spec: Its description, as Apple's message.
    """

    def __init__(self, package: Path) -> None:
        self.spec = Model_pb2.Model.FromString((package / DATA / "model.mlmodel").read_bytes())
        weights = package / DATA / "weights" / "weight.bin"
        self._blobs = weights.read_bytes() if weights.exists() else b""  # large tensors alone
        (function,) = self.spec.mlProgram.functions.values()
        self._block = function.block_specializations[function.opset]
        (self._input,) = [entry.name for entry in function.inputs]

    def run(self, batch: NDArray[np.floating[Any]]) -> dict[str, Doubles]:
        """Carry the program out.

        Args:
            batch: (N, ...) in the shape of its input.

        Returns:
            (N, ...) by name, in the order of the description.
        """
        described = self.spec.description
        assert [entry.name for entry in described.input] == [self._input]
        assert [entry.name for entry in described.output] == list(self._block.outputs)
        values: dict[str, Any] = {self._input: np.asarray(batch, np.float64)}
        for operation in self._block.operations:
            (output,) = operation.outputs
            assert output.name not in values, f"{output.name} is there twice"
            values[output.name] = self._value(operation, values)
            _check_shape(output, values[output.name])
        return {name: values[name] for name in self._block.outputs}

    def _value(self, operation: Any, values: dict[str, Any]) -> Any:
        if operation.type == "const":
            return self._constant(operation.outputs[0].type, operation.attributes["val"])
        arguments = {
            key: [values[argument.name] for argument in binding.arguments]
            for key, binding in operation.inputs.items()
        }
        single = {key: v if key == "values" else v[0] for key, v in arguments.items()}
        return _OPERATIONS[operation.type](**single)

    def _constant(self, declared: Any, value: Any) -> Any:
        shape = [dimension.constant.size for dimension in declared.tensorType.dimensions]
        if value.HasField("blobFileValue"):
            magic, kind, size, offset = _BLOB.unpack_from(self._blobs, value.blobFileValue.offset)
            assert (magic, kind) == (_BLOB_MAGIC, _BLOB_FLOAT32)
            assert size == 4 * math.prod(shape)
            found = np.frombuffer(self._blobs, "<f4", size // 4, offset)
            return found.reshape(shape).astype(np.float64)
        tensor = value.immediateValue.tensor
        listed = list(getattr(tensor, tensor.WhichOneof("value")).values)
        return np.array(listed).reshape(shape) if shape else listed[0]


def _run(path: Path, model: Model, batch: NDArray[np.float32]) -> list[dict[str, Doubles]]:
    answers = Program(path).run(batch)
    return [{name: values[i] for name, values in answers.items()} for i in range(len(batch))]


INTERPRETER = Runner(
    "interpreter of Core ML programs", lambda: metadata.version("coremltools"), "", _run
)
"""Proves conversions where Core ML itself does not run."""


def _check_shape(output: Any, value: Any) -> None:
    dimensions = output.type.tensorType.dimensions
    assert len(dimensions) <= _MAX_AXES
    for size, dimension in zip(np.shape(value), dimensions, strict=True):
        if dimension.HasField("constant"):
            assert size == dimension.constant.size, f"{output.name} has another shape"


def _padded(x: Doubles, pad_type: str, pad: Sequence[int], value: float) -> Doubles:
    if pad_type == "valid":
        assert not np.any(pad)
    else:
        assert pad_type == "custom"
    top, bottom, left, right = pad
    sides = [(0, 0), (0, 0), (top, bottom), (left, right)]
    return np.pad(x, sides, constant_values=value)


def _windows(x: Doubles, reach: Sequence[int], strides: Sequence[int]) -> Doubles:
    """What each step sees: (N, C, steps down, steps to the right, height, width)."""
    steps = sliding_window_view(x, tuple(reach), axis=(2, 3))
    return steps[:, :, :: strides[0], :: strides[1]]


def _convolve(
    x: Doubles,
    weight: Doubles,
    pad_type: str,
    strides: Sequence[int],
    pad: Sequence[int],
    dilations: Sequence[int],
    groups: int,
    bias: Doubles,
) -> Doubles:
    (outputs, taken, *kernel) = weight.shape
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    windows = _windows(_padded(x, pad_type, pad, 0.0), reach, strides)
    windows = windows[..., :: dilations[0], :: dilations[1]]
    assert taken * groups == x.shape[1]
    each = outputs // groups
    parts = [
        np.einsum(
            "nchwyx,fcyx->nfhw",
            windows[:, group * taken : (group + 1) * taken],
            weight[group * each : (group + 1) * each],
            optimize=True,
        )
        for group in range(groups)
    ]
    return np.concatenate(parts, axis=1) + bias[:, None, None]


def _max_pool(
    x: Doubles,
    kernel_sizes: Sequence[int],
    pad_type: str,
    strides: Sequence[int],
    pad: Sequence[int],
    ceil_mode: bool,
) -> Doubles:
    assert not ceil_mode
    padded = _padded(x, pad_type, pad, -np.inf)
    return np.asarray(_windows(padded, kernel_sizes, strides).max(axis=(4, 5)))


def _average_pool(
    x: Doubles,
    kernel_sizes: Sequence[int],
    pad_type: str,
    strides: Sequence[int],
    pad: Sequence[int],
    ceil_mode: bool,
    exclude_padding_from_average: bool,
) -> Doubles:
    assert not ceil_mode
    total = _windows(_padded(x, pad_type, pad, 0.0), kernel_sizes, strides).sum(axis=(4, 5))
    counted = _padded(np.ones_like(x), pad_type, pad, 1.0 - exclude_padding_from_average)
    return np.asarray(total / _windows(counted, kernel_sizes, strides).sum(axis=(4, 5)))


def _linear(x: Doubles, weight: Doubles, bias: Doubles) -> Doubles:
    assert x.ndim <= _MAX_AXES_OF_LINEAR
    return np.asarray(np.einsum("...i,oi->...o", x, weight) + bias)


def _concatenate(values: list[Doubles], axis: int, interleave: bool) -> Doubles:
    assert not interleave
    return np.concatenate(values, axis=axis)


def _slice(
    x: Doubles,
    begin: Sequence[int],
    end: Sequence[int],
    begin_mask: Sequence[bool],
    end_mask: Sequence[bool],
) -> Doubles:
    limits = zip(begin, end, begin_mask, end_mask, strict=True)
    return x[
        tuple(
            slice(None if from_start else first, None if to_end else last)
            for first, last, from_start, to_end in limits
        )
    ]


def _pad(x: Doubles, pad: Sequence[int], mode: str, constant_val: float) -> Doubles:
    """The pairs belong to the last axes."""
    assert mode == "constant"
    pairs = np.reshape(pad, (-1, 2))
    still = [(0, 0)] * (x.ndim - len(pairs))
    return np.pad(x, [*still, *map(tuple, pairs)], constant_values=constant_val)


def _nearest(x: Doubles, scale_factor_height: float, scale_factor_width: float) -> Doubles:
    down, right = int(scale_factor_height), int(scale_factor_width)
    assert (down, right) == (scale_factor_height, scale_factor_width)
    return np.kron(x, np.ones((down, right)))


def _bilinear(
    x: Doubles, scale_factor_height: float, scale_factor_width: float, align_corners: bool
) -> Doubles:
    assert not align_corners
    rows = _between(x.shape[2], scale_factor_height)
    columns = _between(x.shape[3], scale_factor_width)
    return np.asarray(rows @ x @ columns.T)


def _between(size: int, scale: float) -> Doubles:
    """(size * scale, size): the share of every cell in every sample."""
    count = math.floor(size * scale)
    spacing = size / count
    points = [min(size - 1, max(0, i * spacing + 0.5 * spacing - 0.5)) for i in range(count)]
    return np.array([[max(0.0, 1 - abs(point - cell)) for cell in range(size)] for point in points])


def _prelu(x: Doubles, alpha: Doubles) -> Doubles:
    """Of three or five axes only one and the same slope is allowed."""
    assert x.ndim == 4
    return np.maximum(x, 0) + alpha[:, None, None] * np.minimum(x, 0)


def _reshape(x: Doubles, shape: Sequence[int]) -> Doubles:
    assert 0 not in shape
    return x.reshape(shape)


def _softmax(x: Doubles, axis: int) -> Doubles:
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


_OPERATIONS: dict[str, Any] = {
    "add": lambda x, y: x + y,
    "avg_pool": _average_pool,
    "concat": _concatenate,
    "conv": _convolve,
    "leaky_relu": lambda x, alpha: np.where(x >= 0, x, alpha * x),
    "linear": _linear,
    "max_pool": _max_pool,
    "mul": lambda x, y: x * y,
    "pad": _pad,
    "prelu": _prelu,
    "reduce_mean": lambda x, axes, keep_dims: x.mean(axis=tuple(axes), keepdims=keep_dims),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.minimum(np.maximum(x, 0), 6),
    "reshape": _reshape,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sigmoid_hard": lambda x, alpha, beta: np.minimum(np.maximum(alpha * x + beta, 0), 1),
    "slice_by_index": _slice,
    "softmax": _softmax,
    "tanh": lambda x: np.tanh(x),
    "transpose": lambda x, perm: x.transpose(perm),
    "upsample_bilinear": _bilinear,
    "upsample_nearest_neighbor": _nearest,
}
