"""An interpreter of the Core ML programs that this package writes, in double precision.

Core ML itself runs on Apple's systems alone. This reads nothing but the saved files: what a program
says is carried out operation by operation, and anything that it should not say is an error.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from coremltools.proto import Model_pb2
from numpy.typing import NDArray

from facemask_zoo.errors import WeightsError
from facemask_zoo.ssd.network import INPUT_NAME, LOC_NAME, SCORES_NAME

Doubles = NDArray[np.float64]

_DATA = Path("Data") / "com.apple.CoreML"
_BLOB = struct.Struct("<IIQQ")
_BLOB_MAGIC, _BLOB_FLOAT32 = 0xDEADBEEF, 2


class Program:
    """A saved ML program.

    Args:
        package: The ``.mlpackage``.

    Attributes:
        spec: Its description, as Apple's message.

    Raises:
        WeightsError: A file is missing.
    """

    def __init__(self, package: Path) -> None:
        try:
            self.spec = Model_pb2.Model.FromString((package / _DATA / "model.mlmodel").read_bytes())
            self._blobs = (package / _DATA / "weights" / "weight.bin").read_bytes()
        except OSError as error:
            raise WeightsError(f"{package} is no whole Core ML package: {error}") from error
        function = self.spec.mlProgram.functions["main"]
        self._block = function.block_specializations[function.opset]

    def run(self, batch: NDArray[np.floating[Any]]) -> tuple[Doubles, Doubles]:
        """Carry the program out.

        Args:
            batch: (N, 3, S, S) RGB, 0..1.

        Returns:
            Raw box offsets (N, A, 4) and scores (N, A, C).

        Raises:
            WeightsError: The program says what none of this package's would.
        """
        values: dict[str, Any] = {INPUT_NAME: np.asarray(batch, np.float64)}
        for operation in self._block.operations:
            (output,) = operation.outputs
            if operation.type == "const":
                values[output.name] = self._constant(output.type, operation.attributes["val"])
                continue
            arguments = {
                key: [values[argument.name] for argument in binding.arguments]
                for key, binding in operation.inputs.items()
            }
            single = {key: v if key == "values" else v[0] for key, v in arguments.items()}
            values[output.name] = _OPERATIONS[operation.type](**single)
            _check_shape(output, values[output.name])
        return values[LOC_NAME], values[SCORES_NAME]

    def _constant(self, declared: Any, value: Any) -> Any:
        shape = [dimension.constant.size for dimension in declared.tensorType.dimensions]
        if value.HasField("blobFileValue"):
            magic, kind, size, offset = _BLOB.unpack_from(self._blobs, value.blobFileValue.offset)
            _require((magic, kind) == (_BLOB_MAGIC, _BLOB_FLOAT32), "a blob of floats")
            return np.frombuffer(self._blobs, "<f4", size // 4, offset).reshape(shape)
        tensor = value.immediateValue.tensor
        found = list(getattr(tensor, tensor.WhichOneof("value")).values)
        return np.array(found).reshape(shape) if shape else found[0]


def _check_shape(output: Any, value: Doubles) -> None:
    for size, dimension in zip(value.shape, output.type.tensorType.dimensions, strict=True):
        if dimension.HasField("constant"):
            _require(size == dimension.constant.size, f"the declared shape of {output.name}")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise WeightsError(f"The Core ML program lacks {what}.")


def _convolve(
    x: Doubles,
    weight: Doubles,
    bias: Doubles,
    strides: Any,
    pad: Any,
    pad_type: str,
    groups: int,
    dilations: Any,
) -> Doubles:
    plain = (list(strides), groups, list(dilations), pad_type) == ([1, 1], 1, [1, 1], "custom")
    _require(plain, "plain convolutions")
    padded = np.pad(x, [(0, 0), (0, 0), tuple(pad[:2]), tuple(pad[2:])])
    height, width = padded.shape[2] - 2, padded.shape[3] - 2
    windows = np.stack(
        [padded[:, :, y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=2
    )
    taps = weight.reshape(len(weight), -1).astype(np.float64)
    product = np.matmul(taps, windows.reshape(len(x), taps.shape[1], -1))
    return np.asarray(product.reshape(len(x), -1, height, width) + bias[:, None, None])


def _pool(
    x: Doubles, kernel_sizes: Any, strides: Any, pad_type: str, pad: Any, ceil_mode: bool
) -> Doubles:
    plain = (list(kernel_sizes), list(strides), pad_type) == ([2, 2], [2, 2], "valid")
    _require(plain and ceil_mode and not np.any(pad), "2x2 pools that round up")
    odd = [(0, size % 2) for size in x.shape[2:]]
    x = np.pad(x, [(0, 0), (0, 0), *odd], constant_values=-np.inf)
    n, c, h, w = x.shape
    return np.asarray(x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5)))


def _concatenate(values: list[Doubles], axis: int, interleave: bool) -> Doubles:
    _require(not interleave, "a plain concatenation")
    return np.concatenate(values, axis=axis)


_OPERATIONS: dict[str, Any] = {
    "conv": _convolve,
    "relu": lambda x: np.maximum(x, 0),
    "max_pool": _pool,
    "transpose": lambda x, perm: x.transpose(perm),
    "reshape": lambda x, shape: x.reshape(shape),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "concat": _concatenate,
}
