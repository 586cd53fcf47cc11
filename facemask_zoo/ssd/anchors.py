"""Anchor boxes: where on the picture each output row looks."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.ssd.network import BOX_COORDINATES, Level, Network


@functools.lru_cache(maxsize=32)
def anchors(network: Network) -> NDArray[np.float64]:
    """All anchors of a network.

    Args:
        network: Gives the level sizes, anchor sizes and ratios.

    Returns:
        Read-only (A, 4) array of normalised corners (xmin, ymin, xmax, ymax), not clipped to the
        picture, ordered by level, row, column and anchor.
    """
    boxes = np.concatenate(
        [
            _level_anchors(size, level)
            for size, level in zip(network.level_sizes, network.levels, strict=True)
        ]
    )
    boxes.flags.writeable = False
    return boxes


def _level_anchors(cells: int, level: Level) -> NDArray[np.float64]:
    """Anchors of one level, (cells * cells * anchors_per_cell, 4)."""
    centres = (np.arange(cells) + 0.5) / cells
    y, x = np.meshgrid(centres, centres, indexing="ij")
    half = _anchor_sizes(level) / 2
    centre = np.stack([x, y], axis=-1)[:, :, None, :]
    corners = np.concatenate([centre - half, centre + half], axis=-1)
    return np.asarray(corners.reshape(-1, BOX_COORDINATES))


def _anchor_sizes(level: Level) -> NDArray[np.float64]:
    """Width and height of the anchors of one cell: each size, then the first at other ratios."""
    first = level.ratios[0]
    pairs = [(size, first) for size in level.sizes]
    pairs += [(level.sizes[0], ratio) for ratio in level.ratios[1:]]
    return np.array([(size * np.sqrt(ratio), size / np.sqrt(ratio)) for size, ratio in pairs])
