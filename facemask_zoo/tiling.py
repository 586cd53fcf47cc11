"""Large pictures in overlapping windows, whose answers become one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.detections import Detections
from facemask_zoo.errors import InvalidArgumentError

Window = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels."""

OVERLAP = 0.25
"""Share of a window's side that the next one has in common with it, at least."""

_EDGE = 0.02
_INSIDE = 0.6
_DOUBLE = 2


def windows(image_size: tuple[int, int], side: int) -> list[Window]:
    """Windows of `side` pixels, of twice that, and so on up to the whole picture.

    Each size finds the faces that are too large for the one before. A face of up to a quarter of a
    window's side is whole in at least one of that size.

    Args:
        image_size: Width and height of the picture, in pixels.
        side: Of the smallest windows.
    """
    width, height = image_size
    found: list[Window] = []
    while side < max(width, height):
        places = itertools.product(_starts(height, side), _starts(width, side))
        found += [
            (left, top, min(left + side, width), min(top + side, height)) for top, left in places
        ]
        side *= _DOUBLE
    return [*found, (0, 0, width, height)]


def detect_tiled(
    detect: Callable[[Sequence[NDArray[np.uint8]]], list[Detections]],
    image: NDArray[np.uint8],
    side: int,
    iou: float,
    batch_size: int,
) -> Detections:
    """Search a picture window by window.

    Args:
        detect: Finds the faces in several pictures.
        image: (H, W, 3) uint8 RGB.
        side: Of the smallest windows, in pixels.
        iou: Of two boxes that overlap by more than this, the better one stays.
        batch_size: Windows to search at once.
    """
    size = (image.shape[1], image.shape[0])
    places = windows(size, side)
    results = [
        result
        for start in range(0, len(places), batch_size)
        for result in detect([_cut(image, place) for place in places[start : start + batch_size]])
    ]
    return merge(results, places, size, iou)


def merge(
    results: Sequence[Detections], places: Sequence[Window], size: tuple[int, int], iou: float
) -> Detections:
    """One answer from those of the windows.

    A box at an edge inside the picture is left out: it is of a face that is cut there, which
    another window has whole. So is a box that overlaps a better one by more than `iou`, or most of
    whose area, or of the other's, the two have in common.

    Args:
        results: Of each window.
        places: The windows.
        size: Width and height of the picture, in pixels.
        iou: Overlap of duplicates.
    """
    whole = [
        _moved(result[~_is_cut(result, place, size)], place)
        for result, place in zip(results, places, strict=True)
    ]
    boxes = np.concatenate([boxes for boxes, _, _ in whole])
    scores = np.concatenate([scores for _, scores, _ in whole])
    ids = np.concatenate([ids for _, _, ids in whole])
    kept = list(_better(boxes.astype(np.float64), scores, iou))
    stages = results[0].speed
    speed = {stage: sum(result.speed.get(stage, 0.0) for result in results) for stage in stages}
    classes = results[0].classes
    return Detections(boxes[kept], scores[kept], ids[kept], classes, size, speed=speed)


def check_tiles(tiles: int, input_shape: Sequence[int]) -> None:
    """Refuse windows that are much smaller than the network's input: they gain nothing.

    Args:
        tiles: Side of the smallest windows.
        input_shape: Channels, height and width of the network's input.

    Raises:
        InvalidArgumentError: They are, or `tiles` is no whole number.
    """
    least = math.ceil(max(input_shape[1:]) / _DOUBLE)
    whole = isinstance(tiles, int | np.integer) and not isinstance(tiles, bool)
    if not whole or tiles < least:
        raise InvalidArgumentError(
            f"tiles: expected a side of at least {least} pixels, but got {tiles!r}."
        )


def check_tiles_of_picture(tiles: int, image_size: tuple[int, int]) -> None:
    """Refuse windows that are no smaller than the picture: they are the picture.

    Args:
        tiles: Side of the smallest windows.
        image_size: Width and height, in pixels.

    Raises:
        InvalidArgumentError: They are.
    """
    if tiles >= max(image_size):
        width, height = image_size
        raise InvalidArgumentError(
            f"tiles: windows of {tiles} pixels gain nothing in a picture of {width} x {height}."
        )


def _starts(length: int, side: int) -> list[int]:
    """Where windows begin along one side of the picture, evenly."""
    if length <= side:
        return [0]
    count = math.ceil((length - side) / (side * (1 - OVERLAP))) + 1
    return [round(start) for start in np.linspace(0, length - side, count)]


def _cut(image: NDArray[np.uint8], place: Window) -> NDArray[np.uint8]:
    left, top, right, bottom = place
    return image[top:bottom, left:right]


def _is_cut(result: Detections, place: Window, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which faces lie at an edge of the window that is none of the picture."""
    left, top, right, bottom = place
    width, height = right - left, bottom - top
    margin = _EDGE * max(width, height)
    low, high = (
        result.boxes[:, :2] < margin,
        result.boxes[:, 2:] > [width - margin, height - margin],
    )
    inside_low = np.array([left > 0, top > 0])
    inside_high = np.array([right < size[0], bottom < size[1]])
    cut: NDArray[np.bool_] = ((low & inside_low) | (high & inside_high)).any(axis=1)
    return cut


def _moved(
    result: Detections, place: Window
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    offset = np.array(place[:2] * 2, np.float32)
    return result.boxes + offset, result.scores, result.class_ids


def _better(boxes: NDArray[np.float64], scores: NDArray[np.float32], iou: float) -> Iterator[int]:
    """Indices of the boxes that stay, best score first."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    order = np.argsort(-scores, kind="stable")
    while order.size:
        best, rest = order[0], order[1:]
        yield int(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = np.prod(np.maximum(high - low, 0), axis=1)
        union = areas[best] + areas[rest] - common
        smaller = np.minimum(areas[best], areas[rest])
        order = rest[(common <= iou * union) & (common <= _INSIDE * smaller)]
