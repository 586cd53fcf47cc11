"""In which shares masks are worn, and where they sit then."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.datasets.wearing import Wearing

SHARES: Mapping[str, Mapping[Wearing, float]] = MappingProxyType(
    {
        "masked-face-net": {
            Wearing.CORRECT: 0.49,
            Wearing.CHIN_BARE: 0.051,
            Wearing.NOSE_BARE: 0.408,
            Wearing.NOSE_AND_MOUTH_BARE: 0.051,
        },
        "even": dict.fromkeys(Wearing, 0.25),
        "correct": {Wearing.CORRECT: 1.0},
        "incorrect": {
            Wearing.CHIN_BARE: 0.1,
            Wearing.NOSE_BARE: 0.8,
            Wearing.NOSE_AND_MOUTH_BARE: 0.1,
        },
    }
)
"""Presets: which share of the faces wears the mask in which way."""

# Heights on the chart (the chin is at 800): where the edges of a mask go in its middle, and how far
# a mask that is pulled down hangs lower.
_BELOW_NOSE, _BELOW_LIPS, _ABOVE_CHIN = 548.0, 694.0, 712.0
_RISE, _SLIP, _SLIP_FAR = 14.0, 30.0, 76.0
# Straps end at the ears, however the mask is worn: half the width of mask, and of straps, in chart.
_MASK_HALF, _EAR_HALF = 270.0, 308.0
_SIDE_SHARE = 0.7


def move(
    chart: NDArray[np.float64], wearing: Wearing, extent: tuple[float, float]
) -> NDArray[np.float64]:
    """Where the places of a correctly worn mask go, on the chart.

    Args:
        chart: (N, 2) places on the chart.
        wearing: How the mask is worn.
        extent: Upper and lower edge of the mask in its middle, on the chart.

    Returns:
        (N, 2) places on the chart.
    """
    upper, lower = extent
    top, bottom = {
        Wearing.CORRECT: (upper, lower),
        Wearing.CHIN_BARE: (upper - _RISE, _ABOVE_CHIN),
        Wearing.NOSE_BARE: (_BELOW_NOSE, lower + _SLIP),
        Wearing.NOSE_AND_MOUTH_BARE: (_BELOW_LIPS, lower + _SLIP_FAR),
    }[wearing]
    x, y = chart[:, 0], chart[:, 1]
    moved = top + (y - upper) * (bottom - top) / max(lower - upper, 1.0)
    out = np.clip((np.abs(x - 500) - _MASK_HALF) / (_EAR_HALF - _MASK_HALF), 0, 1)
    inner = np.clip(np.abs(x - 500) / _MASK_HALF, 0, 1) ** 2
    share = (1 - (1 - _SIDE_SHARE) * inner) * (1 - out)
    return np.stack([x, y + share * (moved - y)], axis=1)
