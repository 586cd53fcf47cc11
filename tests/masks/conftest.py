"""Faces that nobody has: drawn heads whose landmarks are known because they were drawn there."""

from __future__ import annotations

import needs
import numpy as np
import pytest

for _name in ("cv2", "resvg_py", "defusedxml"):
    needs.module(_name)

# The chart's frontal face, as fractions of 1000: jaw, brows, nose, eyes and lips.
FRONTAL = np.array(
    [[193, 318], [198, 379], [203, 442], [213, 509], [233, 580], [261, 639], [333, 722],
     [403, 776], [500, 800], [597, 776], [667, 722], [739, 639], [767, 580], [787, 509],
     [797, 442], [802, 379], [807, 318], [247, 246], [274, 222], [315, 210], [370, 214],
     [434, 222], [566, 222], [630, 214], [685, 210], [726, 222], [753, 246], [500, 300],
     [500, 372], [500, 437], [500, 477], [421, 509], [465, 524], [500, 527], [535, 524],
     [579, 509], [300, 313], [330, 298], [376, 295], [424, 322], [386, 330], [340, 329],
     [576, 322], [624, 295], [670, 298], [700, 313], [660, 329], [614, 330], [374, 595],
     [425, 580], [462, 576], [500, 582], [538, 576], [575, 580], [626, 595], [569, 653],
     [537, 667], [500, 671], [463, 667], [431, 653], [390, 596], [470, 600], [500, 602],
     [530, 600], [610, 596], [531, 629], [500, 632], [469, 629]],
    np.float64,
)  # fmt: skip


def draw_head(points, size, skin=(205, 160, 135), seed=0):
    """A picture of a plain head with noise: (H, W, 3) uint8.

    Args:
        points: (68, 2) landmarks.
        size: Width and height.
        skin: Its colour.
        seed: Of the noise.
    """
    import cv2

    image = np.full((size[1], size[0], 3), (90, 110, 120), np.uint8)
    outline = np.concatenate([points[:17], points[17:27] - [0, np.ptp(points[:, 1]) * 0.2]])
    cv2.fillConvexPoly(image, cv2.convexHull(outline.astype(np.int32)), skin)
    noise = np.random.default_rng(seed).normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def points():
    """Landmarks of a frontal face in a picture of 300 x 300."""
    return FRONTAL * 0.3


@pytest.fixture
def head(points):
    """The picture that goes with them."""
    return draw_head(points, (300, 300))
