"""ONNX in half precision or in 8-bit integers, for speed and size."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from facemask_zoo.converters.onnx import graph_bytes
from facemask_zoo.converters.samples import check_pictures
from facemask_zoo.model import Model
from facemask_zoo.quiet import log_silenced
from facemask_zoo.ssd.network import INPUT_NAME

# Reshaping, concatenation and the sigmoid cost nothing, and lose nothing as they are.
_QUANTISED = ["Conv", "Relu", "MaxPool"]


def write_half(model: Model, path: Path) -> None:
    """Write a graph that computes in half precision, with single precision input and outputs.

    Raises:
        WeightsError: A weight is too large for half precision.
    """
    path.write_bytes(graph_bytes(model, half=True))


def write_int8(model: Model, path: Path, pictures: NDArray[np.float32]) -> None:
    """Write a graph of 8-bit weights (per channel) and activations (per tensor).

    Args:
        model: What to write.
        path: Where.
        pictures: (N, 3, S, S) RGB, 0..1, as the network will see them; they set the ranges.

    Raises:
        InvalidArgumentError: There is no picture.
    """
    check_pictures(pictures)
    with tempfile.TemporaryDirectory() as folder, log_silenced():
        plain, prepared = Path(folder) / "plain.onnx", Path(folder) / "prepared.onnx"
        plain.write_bytes(graph_bytes(model))
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            path,
            _Pictures(pictures),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_QUANTISED,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    onnx.checker.check_model(str(path))


class _Pictures(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Feeds the pictures one by one."""

    def __init__(self, pictures: NDArray[np.float32]) -> None:
        self._left = iter(pictures)

    def get_next(self) -> dict[str, Any] | None:
        picture = next(self._left, None)
        return None if picture is None else {INPUT_NAME: picture[None]}
