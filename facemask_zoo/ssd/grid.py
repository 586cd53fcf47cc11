"""Grids of cells with anchors: what a detector's output rows look at, whatever its architecture."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

BOX_COORDINATES = 4


@dataclasses.dataclass(frozen=True)
class Grid:
    """The cells of one detection level.

    Attributes:
        rows: Number of cells from top to bottom.
        columns: Number of cells from left to right.
        sizes: Width and height of each anchor of a cell, relative to the input.
    """

    rows: int
    columns: int
    sizes: tuple[tuple[float, float], ...]

    @property
    def anchor_count(self) -> int:
        """Number of anchors of all cells."""
        return self.rows * self.columns * len(self.sizes)

    def anchors(self) -> NDArray[np.float64]:
        """Normalised corners (anchors, 4), ordered by row, column and anchor."""
        y, x = np.meshgrid(_centres(self.rows), _centres(self.columns), indexing="ij")
        half = np.array(self.sizes) / 2
        centre = np.stack([x, y], axis=-1)[:, :, None, :]
        corners = np.concatenate([centre - half, centre + half], axis=-1)
        return np.asarray(corners.reshape(-1, BOX_COORDINATES))


class AnchoredDetector(Protocol):
    """What decoding needs to know about a detector; frozen, so that it can be a key."""

    def __hash__(self) -> int: ...

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The detection levels, in the order of the outputs' rows."""

    @property
    def variances(self) -> tuple[float, float, float, float]:
        """Scales of the four box offsets (x, y, w, h)."""


def anchor_sizes(
    sizes: Sequence[float], ratios: Sequence[float]
) -> tuple[tuple[float, float], ...]:
    """Width and height of a cell's anchors: each size at the first ratio, the first at the others.

    Args:
        sizes: Square roots of the anchors' areas.
        ratios: Width to height.
    """
    pairs = [(size, ratios[0]) for size in sizes]
    pairs += [(sizes[0], ratio) for ratio in ratios[1:]]
    return tuple(
        (float(size * np.sqrt(ratio)), float(size / np.sqrt(ratio))) for size, ratio in pairs
    )


def _centres(cells: int) -> NDArray[np.float64]:
    return np.asarray((np.arange(cells) + 0.5) / cells)
