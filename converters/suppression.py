"""What the formats that hold decoding and suppression have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.ssd import anchors
from facemask_zoo.ssd.grid import AnchoredDetector


def anchor_centres(network: AnchoredDetector) -> NDArray[np.float64]:
    """Anchors (A, 4) as normalised centre x, centre y, width, height."""
    low, high = np.split(anchors(network), 2, axis=1)
    return np.concatenate([(low + high) / 2, high - low], axis=1)
