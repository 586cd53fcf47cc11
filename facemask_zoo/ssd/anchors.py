"""Anchor boxes: where on the picture each output row looks."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.ssd.grid import AnchoredDetector


@functools.lru_cache(maxsize=32)
def anchors(network: AnchoredDetector) -> NDArray[np.float64]:
    """All anchors of a detector.

    Args:
        network: Gives the grids of its levels.

    Returns:
        Read-only (A, 4) array of normalised corners (xmin, ymin, xmax, ymax), not clipped to the
        picture, ordered by level, row, column and anchor.
    """
    boxes = np.concatenate([grid.anchors() for grid in network.grids])
    boxes.flags.writeable = False
    return boxes
