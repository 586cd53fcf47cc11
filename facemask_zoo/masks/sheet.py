"""A sheet of one face: every template, worn in every way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facemask_zoo.datasets.landmarks import Points, check_points, face_box
from facemask_zoo.datasets.wearing import Wearing
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.masks.place import put_on
from facemask_zoo.masks.template import list_templates

_SIDES, _ABOVE, _BELOW = 0.3, 0.3, 0.4
_TILES = (16, 1024)


def draw_sheet(
    image: NDArray[np.uint8], landmarks: Points, *, templates: Sequence[str] = (), tile: int = 114
) -> NDArray[np.uint8]:
    """Put every mask on a face in every way.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) pixels.
        templates: Names or paths, one column each; all that ship unless given.
        tile: Width of a column, in pixels.

    Returns:
        (h, w, 3) uint8 RGB; a row for each of :class:`Wearing`, in its order.

    Raises:
        InvalidArgumentError: The landmarks are no good, the face is too small, or `tile` is.
        UnknownNameError: There is no such template.
    """
    if not _TILES[0] <= tile <= _TILES[1]:
        raise InvalidArgumentError(f"tile: expected {_TILES[0]} to {_TILES[1]}, but got {tile}.")
    frame = _frame(check_points(landmarks), (image.shape[1], image.shape[0]))
    left, top, right, bottom = frame
    size = (tile, max(1, round(tile * (bottom - top) / (right - left))))
    names = templates or list_templates()
    rows = []
    for wearing in Wearing:
        masked = (put_on(image, landmarks, template=name, wearing=wearing) for name in names)
        tiles = [Image.fromarray(each.image).crop(frame).resize(size) for each in masked]
        rows.append(np.hstack([np.asarray(each) for each in tiles]))
    return np.vstack(rows)


def _frame(points: Points, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The face with some surroundings, inside the picture: left, top, right, bottom."""
    x1, y1, x2, y2 = face_box(points, size)
    width, height = x2 - x1, y2 - y1
    left, top = max(x1 - _SIDES * width, 0), max(y1 - _ABOVE * height, 0)
    right, bottom = min(x2 + _SIDES * width, size[0]), min(y2 + _BELOW * height, size[1])
    if right - left < 1 or bottom - top < 1:
        raise InvalidArgumentError("The landmarks lie outside the picture.")
    return int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom))
