"""Faces cut out of pictures, or made unrecognisable in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facemask_zoo.arguments import check_number
from facemask_zoo.errors import UnknownNameError

_BLOCKS = 6
"""Mean colours that are left along the longer side of a face: too few to know it by."""


def crops(
    pixels: NDArray[np.uint8], boxes: NDArray[np.float32], margin: float
) -> list[NDArray[np.uint8]]:
    """Copies of parts of a picture.

    Args:
        pixels: (H, W, 3) RGB.
        boxes: (N, 4) xyxy pixels.
        margin: What to add on each side, as a share of the box.

    Returns:
        One (h, w, 3) array per box, of at least one pixel.

    Raises:
        InvalidArgumentError: The margin is negative or no number.
    """
    return [pixels[region].copy() for region in _regions(pixels, boxes, margin)]


def blur(
    pixels: NDArray[np.uint8], boxes: NDArray[np.float32], how: str, margin: float
) -> NDArray[np.uint8]:
    """A copy of a picture in which parts are made unrecognisable.

    Args:
        pixels: (H, W, 3) RGB.
        boxes: (N, 4) xyxy pixels.
        how: A key of :data:`WAYS`.
        margin: What to add on each side, as a share of the box.

    Raises:
        UnknownNameError: No such way.
        InvalidArgumentError: The margin is negative or no number.
    """
    if how not in WAYS:
        raise UnknownNameError.among("how", how, WAYS)
    result = pixels.copy()
    for region in _regions(pixels, boxes, margin):
        result[region] = WAYS[how](result[region])
    return result


def _regions(
    pixels: NDArray[np.uint8], boxes: NDArray[np.float32], margin: float
) -> list[tuple[slice, slice]]:
    """Rows and columns of each box and its margin, inside the picture and never empty."""
    check_number("margin", margin, 0)
    corners = boxes.astype(np.float64).reshape(-1, 2, 2)
    added = (corners[:, 1] - corners[:, 0]) * margin
    limit = np.array([pixels.shape[1], pixels.shape[0]])
    first = np.clip(np.floor(corners[:, 0] - added), 0, limit - 1).astype(int)
    last = np.clip(np.ceil(corners[:, 1] + added), first + 1, limit).astype(int)
    return [(slice(y1, y2), slice(x1, x2)) for (x1, y1), (x2, y2) in zip(first, last, strict=True)]


def _pixelate(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return _from_few_blocks(face, Image.Resampling.NEAREST)


def _soften(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A Gaussian alone could be undone in part; what is not in the few blocks is gone."""
    return _from_few_blocks(face, Image.Resampling.BICUBIC)


def _blacken(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.zeros_like(face)


def _from_few_blocks(face: NDArray[np.uint8], resampling: Any) -> NDArray[np.uint8]:
    height, width = face.shape[:2]
    longer = max(height, width)
    few = (max(1, round(_BLOCKS * width / longer)), max(1, round(_BLOCKS * height / longer)))
    blocks = Image.fromarray(face).resize(few, Image.Resampling.BOX)
    return np.asarray(blocks.resize((width, height), resampling))


WAYS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "pixelate": _pixelate,
    "gaussian": _soften,
    "box": _blacken,
}
"""How a face is made unrecognisable, by name."""
