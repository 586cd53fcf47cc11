"""Which boxes may overlap: pairs found on grids of cells, without comparing every two boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]

LEAST_OVERLAP = 0.2
"""Below this, what may overlap is nearly everything, and :func:`close_pairs` is of no use."""

# Boxes are put into classes by area, and each class into a grid of its own, with so many cells to
# the side of its largest square box, and at most so many in all.
_CELLS_A_SIDE = 2
_FINEST = 64
_AREAS = (1e-6, 4.0)

# What rounding may take from a bound.
_SLACK = 1e-9

# Per box; more pairs than that take more time and memory than comparing block by block.
_MOST_PAIRS = 256


def close_pairs(boxes: NDArray[np.floating[Any]], overlap: float) -> Pairs | None:
    """All pairs of boxes that may overlap by more than `overlap`, each pair once.

    Of two boxes whose intersection over union is above t, neither area is below t times the other,
    nor is a side; so their centres are within ``max(1 - t, (1 / t - 1) / 2)`` sides of either box.

    Args:
        boxes: (N, 4) corners; those without a finite, positive area overlap nothing.
        overlap: Intersection over union, at least ``LEAST_OVERLAP``.

    Returns:
        Indices of the first and of the second of each pair; None if they are so many that
        comparing blocks of boxes with all others is cheaper.
    """
    size = boxes[:, 2:] - boxes[:, :2]
    with np.errstate(over="ignore", invalid="ignore"):
        area = size[:, 0] * size[:, 1]
    real = np.flatnonzero((size > 0).all(axis=1) & (area > 0) & np.isfinite(area))
    grids = _Grids(boxes[real, :2] + size[real] / 2, size[real], area[real], overlap - _SLACK)
    found = grids.pairs()
    return None if found is None else (real[found[0]], real[found[1]])


class _Grids:
    """Boxes sorted by class of area and, within it, by row and column of the class's grid."""

    def __init__(
        self,
        centre: NDArray[np.floating[Any]],
        size: NDArray[np.floating[Any]],
        area: NDArray[np.floating[Any]],
        overlap: float,
    ) -> None:
        ratio = max(2.0, 1 / overlap)
        limited = np.clip(area, *_AREAS)
        self._class = (np.log(limited / _AREAS[0]) / np.log(ratio)).astype(np.intp)
        classes = int(self._class.max(initial=0)) + 1
        largest = _AREAS[0] * ratio ** np.arange(1, classes + 1)
        self._cells = np.clip(_CELLS_A_SIDE / np.sqrt(largest), 1, _FINEST).astype(np.intp)
        self._offset = np.concatenate([[0], np.cumsum(self._cells**2)])
        self._low = centre - size * max(1 - overlap, (1 / overlap - 1) / 2) * (1 + _SLACK)
        self._high = 2 * centre - self._low
        self._row, column = (
            self._cell(centre[:, 1], self._class),
            self._cell(centre[:, 0], self._class),
        )
        key = self._offset[self._class] + self._row * self._cells[self._class] + column
        self._sorted = np.argsort(key, kind="stable")
        self._position = np.empty_like(self._sorted)
        self._position[self._sorted] = np.arange(len(key))
        filled = np.bincount(key, minlength=self._offset[-1])
        self._starts = np.concatenate([[0], np.cumsum(filled)])

    def pairs(self) -> Pairs | None:
        """Each box with those of its own class that come later, and with all of the class below."""
        everyone = np.arange(len(self._class))
        bigger = np.flatnonzero(self._class)
        own = self._runs(everyone, self._class, self._row, self._position + 1)
        first_row = self._cell(self._low[bigger, 1], self._class[bigger] - 1)
        below = self._runs(bigger, self._class[bigger] - 1, first_row, np.zeros_like(bigger))
        box, start, count = (np.concatenate(each) for each in zip(own, below, strict=True))
        if count.sum() > _MOST_PAIRS * len(everyone):
            return None
        return np.repeat(box, count), self._sorted[_ranges(start, count)]

    def _runs(
        self,
        box: NDArray[np.intp],
        kind: NDArray[np.intp],
        first_row: NDArray[np.intp],
        earliest: NDArray[np.intp],
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Runs of sorted boxes of one class near each box, one run for each row of cells.

        Args:
            box: Whose neighbours are asked for.
            kind: The class in which to look, for each.
            first_row: Row from which to look, for each.
            earliest: Position of the first that counts, for each.

        Returns:
            For each run, the box, its start among the sorted boxes, and its length.
        """
        rows = self._cell(self._high[box, 1], kind) - first_row + 1
        which = np.repeat(np.arange(len(box)), rows)
        line = self._offset[kind][which] + _ranges(first_row, rows) * self._cells[kind][which]
        start = self._starts[line + self._cell(self._low[box, 0], kind)[which]]
        end = self._starts[line + self._cell(self._high[box, 0], kind)[which] + 1]
        start = np.maximum(start, earliest[which])
        return box[which], start, np.maximum(end - start, 0)

    def _cell(self, place: NDArray[np.floating[Any]], kind: NDArray[np.intp]) -> NDArray[np.intp]:
        """Row or column of a coordinate in the grid of a class; those outside are at its edge."""
        cells = self._cells[kind]
        return np.asarray(np.clip(place * cells, 0, cells - 1), np.intp)


def _ranges(start: NDArray[np.intp], count: NDArray[np.intp]) -> NDArray[np.intp]:
    """``start[i], start[i] + 1, ...``, `count[i]` numbers each, one range after the other."""
    before = np.cumsum(count) - count
    return np.asarray(np.arange(int(count.sum())) + np.repeat(start - before, count))
