"""Which boxes may overlap: pairs found on grids of cells, without comparing every two boxes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]
Pairs = tuple[Indices, Indices]

LEAST_OVERLAP = 0.2
"""Below this, what may overlap is nearly everything, and looking for it is of no use."""

# Boxes are put into classes by area, and each class into a grid of its own, with so many cells to
# the side of its largest square box, and at most so many in all.
_CELLS_A_SIDE = 2
_FINEST = 64
_AREAS = (1e-6, 4.0)

# What rounding may take from a bound.
_SLACK = 1e-9

# Per box; more pairs than that take more time and memory than comparing block by block.
_MOST_PAIRS = 256

# About so many pairs are listed at once, so that what is computed of them stays in the cache.
_CHUNK = 1 << 13


class _Runs(NamedTuple):
    """Runs of sorted boxes: whose neighbours they are, their starts, and their lengths."""

    box: Indices
    start: Indices
    length: Indices


class Neighbours:
    """Boxes sorted by class of area and, within it, by row and column of the class's grid.

    Of two boxes whose intersection over union is above t, neither area is below t times the other,
    nor is a side; so their centres are within ``max(1 - t, (1 / t - 1) / 2)`` sides of either box.

    Args:
        boxes: (N, 4) corners.
        overlap: Intersection over union above which two boxes are asked for, at least
            ``LEAST_OVERLAP``.

    Attributes:
        real: Indices of the boxes of finite, positive area; the others overlap nothing.
    """

    def __init__(self, boxes: NDArray[np.floating[Any]], overlap: float) -> None:
        size = boxes[:, 2:] - boxes[:, :2]
        with np.errstate(over="ignore", invalid="ignore"):
            area = size[:, 0] * size[:, 1]
        real = (size[:, 0] > 0) & (size[:, 1] > 0) & (area > 0) & np.isfinite(area)
        self.real = np.flatnonzero(real)
        if len(self.real) < len(boxes):
            boxes, size, area = (np.where(real, each.T, 1).T for each in (boxes, size, area))
        least = overlap - _SLACK
        centre = boxes[:, :2] + size / 2
        reach = size * (max(1 - least, (1 / least - 1) / 2) * (1 + _SLACK))
        self._low, self._high = centre - reach, centre + reach
        self._lay_grids(centre, area, max(2.0, 1 / least))

    def _lay_grids(
        self, centre: NDArray[np.floating[Any]], area: NDArray[np.floating[Any]], ratio: float
    ) -> None:
        limited = np.minimum(np.maximum(area, _AREAS[0]), _AREAS[1])
        classes = (np.log(limited / _AREAS[0]) / np.log(ratio)).astype(np.intp)
        smallest, largest = (int(find(classes)) if classes.size else 0 for find in (np.min, np.max))
        self._kind = classes - smallest
        side = np.sqrt(_AREAS[0] * ratio ** np.arange(smallest + 1, largest + 2))
        self._cells = np.clip(_CELLS_A_SIDE / side, 1, _FINEST).astype(np.intp)
        self._offset = np.concatenate([[0], np.cumsum(self._cells**2)])
        cells = self._cells[self._kind]
        self._row = _cell(centre[:, 1], cells)
        self._key = self._offset[self._kind] + self._row * cells + _cell(centre[:, 0], cells)
        self._sorted = self.real[np.argsort(self._key[self.real], kind="stable")]

    def among(self, boxes: Indices) -> Iterator[Pairs] | None:
        """All pairs of these boxes that may overlap, each pair once.

        Args:
            boxes: Which of ``real`` are meant, in ascending order.

        Returns:
            Indices of the first and of the second of each pair, some thousand pairs at once; None
            if they are so many that comparing blocks of boxes with all others is cheaper.
        """
        there, starts = self._filled(boxes)
        kind = self._kind[boxes]
        # Each box with those of its own class that come later, and with all of the class below.
        position = np.empty_like(self._key)
        position[there] = np.arange(len(there))
        box, start, count = self._runs(starts, boxes, kind, self._row[boxes])
        later = np.maximum(start, position[box] + 1)
        own = _Runs(box, later, np.maximum(start + count - later, 0))
        bigger = kind > 0
        runs = _joined(own, self._runs(starts, boxes[bigger], kind[bigger] - 1))
        if runs.length.sum() > _MOST_PAIRS * len(boxes):
            return None
        return _pairs(runs, there)

    def between(self, boxes: Indices, others: Indices) -> Iterator[Pairs]:
        """All pairs of a box and one of the others that may overlap.

        Args:
            boxes: Some of ``real``.
            others: More of ``real``.

        Returns:
            Indices of the box and of the other of each pair, some thousand pairs at once.
        """
        there, starts = self._filled(others)
        near = []
        for step in (-1, 0, 1):
            kind = self._kind[boxes] + step
            known = (kind >= 0) & (kind < len(self._cells))
            near.append(self._runs(starts, boxes[known], kind[known]))
        return _pairs(_joined(*near), there)

    def _filled(self, boxes: Indices) -> tuple[Indices, Indices]:
        """These boxes as they are sorted, and where each cell starts among them."""
        chosen = np.zeros(len(self._key), dtype=bool)
        chosen[boxes] = True
        there = self._sorted[chosen[self._sorted]]
        filled = np.bincount(self._key[there] + 1, minlength=self._offset[-1] + 1)
        return there, np.cumsum(filled)

    def _runs(
        self, starts: Indices, boxes: Indices, kind: Indices, first_row: Indices | None = None
    ) -> _Runs:
        """Runs of sorted boxes of one class near each box, one run for each row of cells.

        Args:
            starts: Where each cell starts among the sorted boxes.
            boxes: Whose neighbours are asked for.
            kind: The class in which to look, for each.
            first_row: Row from which to look, for each; None for the first in reach.
        """
        cells = self._cells[kind]
        low, high = self._low[boxes], self._high[boxes]
        if first_row is None:
            first_row = _cell(low[:, 1], cells)
        rows = _cell(high[:, 1], cells) - first_row + 1
        which = np.repeat(np.arange(len(boxes)), rows)
        row = (self._offset[kind] + first_row * cells)[which] + _ranges(0, rows) * cells[which]
        start = starts[row + _cell(low[:, 0], cells)[which]]
        end = starts[row + _cell(high[:, 0], cells)[which] + 1]
        return _Runs(boxes[which], start, end - start)


def _cell(place: NDArray[np.floating[Any]], cells: Indices) -> Indices:
    """Row or column of a coordinate in a grid of so many; those outside are at its edge."""
    return np.minimum(np.maximum(place * cells, 0), cells - 1).astype(np.intp)


def _joined(*runs: _Runs) -> _Runs:
    """Those that are not empty, one after the other."""
    box, start, count = (np.concatenate(each) for each in zip(*runs, strict=True))
    filled = np.flatnonzero(count)
    return _Runs(box[filled], start[filled], count[filled])


def _pairs(runs: _Runs, there: Indices) -> Iterator[Pairs]:
    """Each box with those of its runs, about ``_CHUNK`` pairs at once."""
    total = np.cumsum(runs.length)
    most = int(total[-1]) if total.size else 0
    ends = np.searchsorted(total, np.arange(0, most, _CHUNK), side="right")
    for first, last in itertools.pairwise([*ends.tolist(), len(total)]):
        box, start, count = (each[first:last] for each in runs)
        yield np.repeat(box, count), there[_ranges(start, count)]


def _ranges(start: Indices | int, count: Indices) -> Indices:
    """``start[i], start[i] + 1, ...``, `count[i]` numbers each, one range after the other."""
    end = np.cumsum(count)
    total = int(end[-1]) if end.size else 0
    return np.asarray(np.arange(total) + np.repeat(start - end + count, count))
