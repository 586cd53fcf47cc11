"""Mask placement as dataroots did it: two halves of a drawing between nose, chin and cheeks."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facemask_zoo.datasets.landmarks import CHIN, check_points
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.images import load_image

_NOSE, _LEFT, _RIGHT = 28, 2, 14
_WIDENING = 1.2


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the drawing goes.

    Attributes:
        height: Of the drawing, in pixels.
        left: Width of its left half.
        right: Width of its right half.
        turn: Degrees, counter-clockwise, by which it is turned.
        size: Width and height of what is laid down.
        corner: x and y of its upper left corner, in pixels of the picture.
    """

    height: int
    left: int
    right: int
    turn: float
    size: tuple[int, int]
    corner: tuple[int, int]


def placement(landmarks: Any, *, compatible: bool = True) -> Placement:
    """Work out where a mask goes.

    Args:
        landmarks: (68, 2) pixels.
        compatible: As the original: it took radians for degrees, so that the mask is moved by a
            turn of about 1.5 degrees but never turned. Otherwise the mask turns with the head.

    Raises:
        InvalidArgumentError: The landmarks are no good, or the mask would be empty.
    """
    points = check_points(landmarks)
    nose, chin = points[_NOSE], points[CHIN]
    height = int(math.dist(nose, chin))
    left, right = (
        int(_WIDENING * int(_distance(points[index], nose, chin))) for index in (_LEFT, _RIGHT)
    )
    if min(height, left, right) < 1:
        raise InvalidArgumentError("The mask would be empty: the face is too small or in profile.")
    angle = math.atan2(chin[1] - nose[1], chin[0] - nose[0])
    if compatible:
        return _compatible(nose, chin, (height, left, right), angle)
    return _corrected(nose, chin, (height, left, right), angle)


def put_on_like_dataroots(
    image: NDArray[np.uint8],
    landmarks: Any,
    template: NDArray[np.uint8],
    *,
    compatible: bool = True,
) -> NDArray[np.uint8]:
    """Lay a drawing over a face.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) pixels.
        template: (h, w, 4) RGBA; its middle column lies on the line from nose to chin.
        compatible: See :func:`placement`.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InvalidArgumentError: The landmarks or the template are no good.
    """
    if template.dtype != np.uint8 or template.ndim != 3 or template.shape[2] != 4:
        raise InvalidArgumentError(
            f"template: expected (H, W, 4) uint8, but got {template.dtype} {template.shape}."
        )
    if template.shape[1] < 2:
        raise InvalidArgumentError("template: expected at least 2 columns.")
    place = placement(landmarks, compatible=compatible)
    drawing = Image.fromarray(template)
    middle, (width, height) = drawing.width // 2, drawing.size
    mask = Image.new("RGBA", (place.left + place.right, place.height))
    for box, x, across in (
        ((0, 0, middle, height), 0, place.left),
        ((middle, 0, width, height), place.left, place.right),
    ):
        mask.paste(drawing.crop(box).resize((across, place.height)), (x, 0))
    if not compatible:
        mask = mask.rotate(place.turn, Image.Resampling.BICUBIC, expand=True)
    canvas = Image.fromarray(load_image(image)).convert("RGB")
    canvas.paste(mask, place.corner, mask)
    return np.asarray(canvas)


def _distance(point: NDArray[np.float64], start: Any, end: Any) -> float:
    """From a point to the line through two others."""
    (dx, dy), (px, py) = end - start, point - start
    return float(abs(dx * py - dy * px) / max(math.hypot(dx, dy), 1e-9))


def _compatible(
    nose: NDArray[np.float64], chin: NDArray[np.float64], sizes: tuple[int, int, int], angle: float
) -> Placement:
    height, left, right = sizes
    width = left + right
    radians_again = math.radians(angle)
    size = _turned((width, height), angle)
    x, y = (int((a + b) // 2) for a, b in zip(nose, chin, strict=True))
    offset = width // 2 - left
    x += int(offset * math.cos(radians_again))
    y += int(offset * math.sin(radians_again))
    return Placement(height, left, right, 0.0, size, (x - size[0] // 2, y - size[1] // 2))


def _corrected(
    nose: NDArray[np.float64], chin: NDArray[np.float64], sizes: tuple[int, int, int], angle: float
) -> Placement:
    height, left, right = sizes
    turn = 90 - math.degrees(angle)
    size = _turned((left + right, height), turn)
    offset = (right - left) / 2
    x = (nose[0] + chin[0]) / 2 + offset * math.cos(math.radians(turn))
    y = (nose[1] + chin[1]) / 2 - offset * math.sin(math.radians(turn))
    corner = (round(x - size[0] / 2), round(y - size[1] / 2))
    return Placement(height, left, right, turn, size, corner)


def _turned(size: tuple[int, int], degrees: float) -> tuple[int, int]:
    """Size of the box around a turned picture, as Pillow makes it."""
    return Image.new("1", size).rotate(degrees, expand=True).size
