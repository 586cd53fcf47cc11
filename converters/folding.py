"""Batch normalisation, folded into the convolution before it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def fold_batch_norm(
    weight: Array,
    gamma: Array,
    beta: Array,
    mean: Array,
    variance: Array,
    epsilon: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fold in double precision and round once.

    Args:
        weight: (out, in, 3, 3) convolution without bias.
        gamma: (out,) scale.
        beta: (out,) shift.
        mean: (out,) running mean.
        variance: (out,) running variance.
        epsilon: Added to the variance, in single precision: a text that says 0.001 means the
            number that the framework computes with.

    Returns:
        Weight (out, in, 3, 3) and bias (out,), float32.
    """
    with np.errstate(all="ignore"):  # a model refuses what is not finite
        shifted = variance.astype(np.float64) + np.float64(np.float32(epsilon))
        scale = gamma.astype(np.float64) / np.sqrt(shifted)
        folded = weight.astype(np.float64) * scale[:, None, None, None]
        bias = beta.astype(np.float64) - mean.astype(np.float64) * scale
        return folded.astype(np.float32), bias.astype(np.float32)
