"""A small landmark network, and crops of noise to train one on."""

from __future__ import annotations

import numpy as np

from facemask_zoo.architectures.landmarks import LandmarkNetwork
from facemask_zoo.architectures.residuals import Block
from facemask_zoo.datasets.face_crops import FaceCrops

SMALL = LandmarkNetwork(
    input_size=40,
    points=68,
    stem=8,
    blocks=(Block(8, expansion=1, stride=2), Block(8, expansion=2), Block(12, stride=2)),
    features=16,
)


def noise_crops(count: int = 3, copies: int = 2, side: int = 8) -> FaceCrops:
    """Crops whose points and poses are random."""
    rng = np.random.default_rng(0)
    return FaceCrops(
        rng.integers(0, 256, (count, side, side, 3)).astype(np.uint8),
        rng.integers(0, 256, (count, copies, side, side, 3)).astype(np.uint8),
        rng.random((count, 68, 2), np.float32),
        rng.random((count, 3), np.float32),
        np.array([f"group {index}" for index in range(count)]),
    )
