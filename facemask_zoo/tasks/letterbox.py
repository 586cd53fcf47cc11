"""A picture within a network's input, its aspect ratio kept and the rest grey."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Region = tuple[float, float, float, float]
"""Which part of the input a picture fills: left, top, right, bottom, 0..1."""

GREY = 114
"""Of the pixels beside the picture."""

# Pictures over this many times their new size are first averaged over whole blocks of pixels.
_GAP = 2.0


def letterbox(
    image: NDArray[np.uint8], height: int, width: int
) -> tuple[NDArray[np.uint8], Region]:
    """Fit a picture into the middle of the input.

    Its sides are rounded to whole pixels, at least one. It is resized by Pillow's bilinear filter,
    whose support grows where a picture shrinks, so that nothing is skipped. Pillow is always
    installed: the answer does not depend on what else is.

    Args:
        image: (H, W, 3) RGB.
        height: Height of the input, in pixels.
        width: Width of the input, in pixels.

    Returns:
        (height, width, 3) RGB, and where in it the picture lies.
    """
    scale = min(width / image.shape[1], height / image.shape[0])
    columns = max(1, round(image.shape[1] * scale))
    rows = max(1, round(image.shape[0] * scale))
    left, top = (width - columns) // 2, (height - rows) // 2
    canvas = np.full((height, width, 3), GREY, np.uint8)
    canvas[top : top + rows, left : left + columns] = _resized(image, rows, columns)
    region = (left / width, top / height, (left + columns) / width, (top + rows) / height)
    return canvas, region


def _resized(image: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    if image.shape[:2] == (rows, columns):
        return image
    small = Image.fromarray(image).resize(
        (columns, rows), Image.Resampling.BILINEAR, reducing_gap=_GAP
    )
    return np.asarray(small)
