"""Weights in half precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import WeightsError


def to_half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """The nearest values in half precision.

    Raises:
        WeightsError: One is too large for it.
    """
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise WeightsError(f"A weight of {np.abs(values).max():g} is too large for half precision.")
    return half
