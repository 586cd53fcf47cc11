"""AIZOO's arithmetic after the network, written from its description, loop by loop.

Nothing here comes from the package: it is what the package's ``nms="aizoo"`` is compared with.
"""

from __future__ import annotations

import dataclasses

import numpy as np

CELLS = {260: (33, 17, 9, 5, 3), 360: (45, 23, 12, 6, 4)}
SIZES = ((0.04, 0.056), (0.08, 0.11), (0.16, 0.22), (0.32, 0.45), (0.64, 0.72))
RATIOS = (1.0, 0.62, 0.42)
VARIANCES = (0.1, 0.1, 0.2, 0.2)
EPSILON = 1e-3


@dataclasses.dataclass
class Margins:
    """How far any decision was from being another: smaller than an error, and it is luck."""

    pixel: float = np.inf
    conf: float = np.inf
    order: float = np.inf
    overlap: float = np.inf


@dataclasses.dataclass(frozen=True)
class Answer:
    """Rows of class, xmin, ymin, xmax, ymax, best score first; their scores; and the margins."""

    rows: np.ndarray
    scores: np.ndarray
    margins: Margins


def anchors(input_size: int) -> np.ndarray:
    """(A, 4) corners by level, row, column; then both sizes at ratio 1, the first at the others."""
    boxes = []
    for cells, sizes in zip(CELLS[input_size], SIZES, strict=True):
        shapes = [(size, RATIOS[0]) for size in sizes] + [(sizes[0], r) for r in RATIOS[1:]]
        for row in range(cells):
            for column in range(cells):
                x, y = (column + 0.5) / cells, (row + 0.5) / cells
                for size, ratio in shapes:
                    width, height = size * np.sqrt(ratio), size / np.sqrt(ratio)
                    boxes.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return np.array(boxes, np.float64)


def decode(loc: np.ndarray, input_size: int) -> np.ndarray:
    """(A, 4) corners from (A, 4) raw offsets."""
    boxes = []
    for (dx, dy, dw, dh), (left, top, right, bottom) in zip(
        loc.astype(np.float64), anchors(input_size), strict=True
    ):
        x = dx * VARIANCES[0] * (right - left) + (left + right) / 2
        y = dy * VARIANCES[1] * (bottom - top) + (top + bottom) / 2
        width = np.exp(dw * VARIANCES[2]) * (right - left)
        height = np.exp(dh * VARIANCES[3]) * (bottom - top)
        boxes.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return np.array(boxes, np.float64)


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union, in whose areas alone the sides are longer by ``EPSILON``."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    shared = np.where((width > 0) & (height > 0), width * height, 0.0)
    area = (box[2] - box[0] + EPSILON) * (box[3] - box[1] + EPSILON)
    areas = (others[:, 2] - others[:, 0] + EPSILON) * (others[:, 3] - others[:, 1] + EPSILON)
    return shared / (area + areas - shared)


def detect(
    loc: np.ndarray,
    scores: np.ndarray,
    input_size: int,
    image_size: tuple[int, int],
    conf: float,
    iou: float,
) -> Answer:
    """What AIZOO's programs report for the two outputs (A, 4) and (A, 2) of one picture."""
    boxes, best = decode(loc, input_size), scores.max(axis=1)
    classes = np.where(scores[:, 0] >= scores[:, 1], 0, 1)
    margins = Margins(conf=np.abs(best - conf).min())
    left = [int(index) for index in np.argsort(best) if best[index] > conf]
    margins.order = np.diff(best[left]).min(initial=np.inf)
    picked = []
    while left:
        picked.append(left.pop())
        shares = overlaps(boxes[picked[-1]], boxes[left])
        margins.overlap = min(margins.overlap, np.abs(shares - iou).min(initial=np.inf))
        left = [index for index, share in zip(left, shares, strict=True) if share <= iou]
    rows = [(classes[index], *to_pixels(boxes[index], image_size, margins)) for index in picked]
    return Answer(np.array(rows, np.int64).reshape(-1, 5), best[picked], margins)


def to_pixels(box: np.ndarray, image_size: tuple[int, int], margins: Margins) -> list[int]:
    """The fraction of a pixel is cut off, then both corners are held to one side each."""
    width, height = image_size
    exact = [float(value * side) for value, side in zip(box, (width, height) * 2, strict=True)]
    margins.pixel = min(margins.pixel, *(abs(value - round(value)) for value in exact))
    left, top, right, bottom = map(int, exact)
    return [max(0, left), max(0, top), min(right, width), min(bottom, height)]


def with_area(answer: Answer) -> np.ndarray:
    """Which rows show something: AIZOO also reports boxes beside the picture, the zoo does not."""
    _, left, top, right, bottom = answer.rows.T
    return (right > left) & (bottom > top)
