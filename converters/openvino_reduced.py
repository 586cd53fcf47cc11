"""OpenVINO's representation with weights in half precision, or in 8-bit integers by NNCF."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from facemask_zoo.converters.formats.openvino import core, graph_of
from facemask_zoo.converters.half import to_half
from facemask_zoo.converters.samples import check_pictures
from facemask_zoo.converters.saturation import EIGHT_BIT, UNSIGNED, check_weights
from facemask_zoo.model import Model
from facemask_zoo.quiet import log_silenced

# NNCF would report its use to its makers; its own tests switch that off by this variable.
_NO_TELEMETRY = "NNCF_CI"
_CONSTANT = "Constant"


def write_half(model: Model, path: Path) -> None:
    """Write a graph with weights in half precision, half the size, that computes in single.

    Raises:
        WeightsError: A weight is too large for half precision.
    """
    for values in model.tensors.values():
        to_half(values)  # OpenVINO would write infinity
    openvino.save_model(graph_of(model.program), path, compress_to_fp16=True)


def write_int8(model: Model, path: Path, pictures: NDArray[np.float32]) -> None:
    """Write a graph of 8-bit activations and weights (per channel, of 7 bits), quantised by NNCF.

    Args:
        model: What to write.
        path: Where.
        pictures: (N, 3, S, S) RGB, 0..1, as the network will see them; they set the ranges.

    Raises:
        InvalidArgumentError: There is no picture.
        WeightsError: The weights that were written could saturate; no file is left.
    """
    check_pictures(pictures)
    core()  # which outlives those that NNCF makes
    quantised = _quantise(model, pictures)
    # NNCF's own are numbered by how many operations the process has made so far.
    for index, operation in enumerate(quantised.get_ordered_ops()):
        kind, _, _ = operation.get_friendly_name().rpartition("_")
        if kind == operation.get_type_name() or kind == _CONSTANT:
            operation.set_friendly_name(f"{kind}_{index}")
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / path.name
        openvino.save_model(quantised, written, compress_to_fp16=False)
        check_int8(written)
        for part in (written.with_suffix(".bin"), written):
            shutil.move(part, path.with_name(part.name))


def check_int8(path: Path) -> None:
    """See that the 8-bit weights of a file are right on every processor.

    Args:
        path: The .xml file, with its .bin beside it.

    Raises:
        WeightsError: They could saturate, or there are none.
    """
    constants = [
        operation
        for operation in core().read_model(path).get_ordered_ops()
        if operation.get_type_name() == _CONSTANT
        and operation.get_element_type().to_dtype() in EIGHT_BIT
    ]
    weights = {each.get_friendly_name(): np.array(each.data) for each in constants}
    check_weights(weights, UNSIGNED)


def _quantise(model: Model, pictures: NDArray[np.float32]) -> openvino.Model:
    with _quiet_nncf() as nncf:
        # By default only the first layer has weights of 7 bits.
        settings = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
        return nncf.quantize(
            graph_of(model.program),
            nncf.Dataset([{model.graph.input: picture[None]} for picture in pictures]),
            subset_size=len(pictures),
            advanced_parameters=settings,
        )


@contextlib.contextmanager
def _quiet_nncf() -> Iterator[Any]:
    """NNCF without progress bars, advice in the log, or reports of its use to its makers."""
    with log_silenced(), contextlib.redirect_stdout(io.StringIO()), _variable(_NO_TELEMETRY, "1"):
        import nncf

        yield nncf


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
