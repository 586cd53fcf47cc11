"""ONNX in half precision or in 8-bit integers, for speed and size."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from facemask_zoo.converters.formats.onnx import graph_bytes
from facemask_zoo.converters.samples import check_pictures
from facemask_zoo.converters.saturation import EIGHT_BIT, UNSIGNED, check_weights
from facemask_zoo.model import Model
from facemask_zoo.quiet import log_silenced

# Everything else costs next to nothing, and loses nothing as it is.
_QUANTISED = ["Conv", "Relu", "Clip", "MaxPool", "Add", "Gemm"]


def write_half(model: Model, path: Path) -> None:
    """Write a graph that computes in half precision, with single precision input and outputs.

    Raises:
        WeightsError: A weight is too large for half precision.
    """
    path.write_bytes(graph_bytes(model.program, half=True))


def write_int8(model: Model, path: Path, pictures: NDArray[np.float32]) -> None:
    """Write a graph of 8-bit activations (per tensor) and weights (per channel, of 7 bits).

    Args:
        model: What to write.
        path: Where.
        pictures: (N, 3, S, S) RGB, 0..1, as the network will see them; they set the ranges.

    Raises:
        InvalidArgumentError: There is no picture.
        WeightsError: The weights that were written could saturate; no file is left.
    """
    check_pictures(pictures)
    with tempfile.TemporaryDirectory() as folder, log_silenced():
        plain, prepared, quantised = (
            Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "quantised")
        )
        plain.write_bytes(graph_bytes(model.program))
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            quantised,
            _Pictures(model.graph.input, pictures),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_QUANTISED,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            reduce_range=True,  # 7 bits
        )
        onnx.checker.check_model(str(quantised))
        check_int8(quantised)
        shutil.move(quantised, path)


def check_int8(path: Path) -> None:
    """See that the 8-bit weights of a file are right on every processor.

    Args:
        path: A graph with QuantizeLinear and DequantizeLinear around its layers.

    Raises:
        WeightsError: They could saturate, or there are none.
    """
    graph = onnx.load(path).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = [node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"]
    values = {
        name: onnx.numpy_helper.to_array(constants[name]) for name in names if name in constants
    }
    # Biases have 32 bits.
    weights = {name: each for name, each in values.items() if each.dtype in EIGHT_BIT}
    check_weights(weights, UNSIGNED)


class _Pictures(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Feeds the pictures one by one."""

    def __init__(self, name: str, pictures: NDArray[np.float32]) -> None:
        self._name = name
        self._left = iter(pictures)

    def get_next(self) -> dict[str, Any] | None:
        picture = next(self._left, None)
        return None if picture is None else {self._name: picture[None]}
