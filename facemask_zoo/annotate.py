"""Boxes and labels drawn on pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from facemask_zoo.detections import Detections
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.images import ImageSource, load_image

COLOURS = {"mask": (0, 160, 70), "no_mask": (215, 30, 45), "incorrect": (240, 140, 0)}
_OTHER_COLOUR = (60, 90, 200)
_TEXT_COLOUR = (255, 255, 255)


def annotate(image: ImageSource, detections: Detections) -> NDArray[np.uint8]:
    """Draw every detection on a copy of the picture; see :meth:`Detections.annotate`."""
    pixels = load_image(image)
    size = (pixels.shape[1], pixels.shape[0])
    if size != detections.image_size:
        raise InvalidArgumentError(
            f"image: expected the picture of {detections.image_size} pixels, but got {size}."
        )
    canvas = Image.fromarray(pixels.copy())
    draw = ImageDraw.Draw(canvas)
    line = max(2, round(min(size) / 200))
    font = ImageFont.load_default(size=max(11, min(size) / 28))
    rows = zip(detections.boxes, detections.labels, detections.scores, strict=True)
    for box, label, score in reversed(list(rows)):
        colour = COLOURS.get(label, _OTHER_COLOUR)
        draw.rectangle([float(value) for value in box], outline=colour, width=line)
        _draw_label(draw, box, f"{label} {score:.2f}", colour, font)
    return np.asarray(canvas)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    box: NDArray[np.float32],
    text: str,
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """A filled tag above the box, or inside it where there is no room above."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 6, bottom - top + 6
    y = box[1] - height if box[1] >= height else box[1]
    draw.rectangle([float(box[0]), float(y), float(box[0] + width), float(y + height)], fill=colour)
    draw.text((float(box[0]) + 3 - left, float(y) + 3 - top), text, fill=_TEXT_COLOUR, font=font)
