"""Matlab files, as MAFA and WIDER FACE have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from facemask_zoo.errors import DatasetError
from facemask_zoo.extras import require

_MAX_BYTES = 256 << 20


def load(path: Path) -> dict[str, Any]:
    """The variables of a Matlab file (version 5 to 7.2), as arrays of arrays.

    Raises:
        DatasetError: It is too large, damaged, or of version 7.3.
        FrameworkNotInstalledError: SciPy is not installed.
    """
    reader = require("scipy.io", "data")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DatasetError(f"{path}: expected at most {_MAX_BYTES} bytes.")
        content: dict[str, Any] = reader.loadmat(path)
    except DatasetError:
        raise
    except Exception as error:  # SciPy's reader has no base class for what damaged files raise
        raise DatasetError(f"{path} cannot be read as a Matlab file: {error!r:.200}") from error
    return content


def cells(value: Any) -> list[Any]:
    """The entries of a cell array of any shape."""
    return list(np.asarray(value, dtype=object).ravel()) if np.ndim(value) else [value]


def text(value: Any) -> str:
    """A string, however deep in cells."""
    while isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    return value if isinstance(value, str) else ""


def rows(value: Any) -> Iterator[list[float]]:
    """The rows of a matrix of numbers, however deep in cells.

    Raises:
        DatasetError: It is no matrix.
    """
    while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.ravel()[0]
    array = np.asarray(value)
    if array.size == 0:
        return
    if array.dtype.kind not in "iuf" or array.ndim != 2:
        raise DatasetError(f"expected a matrix, but got {array.dtype} of shape {array.shape}")
    for row in array:
        yield [float(number) for number in row]
