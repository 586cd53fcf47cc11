"""Contact sheets: many pictures on one, with their boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from facemask_zoo.annotate import COLOURS
from facemask_zoo.datasets.collector import PICTURE_SKIPPED
from facemask_zoo.datasets.labels import LABELS
from facemask_zoo.datasets.types import Dataset, Face, Picture, Problem
from facemask_zoo.errors import ImageError, InvalidArgumentError, UnknownNameError
from facemask_zoo.images import load_image

_BACKGROUND, _IGNORED = (24, 24, 24), (150, 150, 150)
_MARGIN = 0.35
_MOST_PIXELS = 100_000_000


def draw_sheet(
    dataset: Dataset,
    *,
    count: int = 40,
    columns: int = 8,
    tile: int = 160,
    label: str = "",
    faces: bool = False,
    seed: int = 0,
) -> tuple[NDArray[np.uint8], list[Problem]]:
    """Draw some pictures of a data set, chosen at random, side by side.

    Args:
        dataset: What to draw from.
        count: Tiles at most.
        columns: Tiles in a row.
        tile: Their side, in pixels.
        label: Only pictures, or faces, of this label.
        faces: Cut faces out instead of showing whole pictures.
        seed: Of the choice.

    Returns:
        (H, W, 3) uint8 RGB, and the pictures that could not be read.

    Raises:
        InvalidArgumentError: A number is out of range, or there is nothing to show.
        UnknownNameError: There is no such label.
    """
    if label and label not in LABELS:
        raise UnknownNameError.among("label", label, LABELS)
    if min(count, columns, tile) < 1 or count * tile * tile > _MOST_PIXELS:
        raise InvalidArgumentError(
            f"expected at least one tile, column and pixel, and at most {_MOST_PIXELS:,} pixels, "
            f"but got {count} tiles of {tile} in {columns} columns."
        )
    choices = _choices(dataset, label, faces)
    if not choices:
        raise InvalidArgumentError(f"{dataset.path}: nothing to show.")
    order = np.random.default_rng(seed).permutation(len(choices))
    tiles: list[Image.Image] = []
    problems: list[Problem] = []
    for index in order:
        if len(tiles) == count:
            break
        try:
            picture, face = choices[index]
            tiles.append(_tile(picture, face, tile))
        except ImageError as error:
            place = str(choices[index][0].path)
            problems.append(Problem("corrupt picture", place, str(error), PICTURE_SKIPPED))
    return _joined(tiles, columns, tile), problems


def _choices(dataset: Dataset, label: str, faces: bool) -> list[tuple[Picture, Face | None]]:
    def fits(face: Face) -> bool:
        return not label or (face.label == label and not face.ignore)

    if faces:
        return [(p, face) for p in dataset.pictures for face in p.faces if fits(face)]
    chosen = (p for p in dataset.pictures if not label or any(map(fits, p.faces)))
    return [(picture, None) for picture in chosen]


def _tile(picture: Picture, face: Face | None, side: int) -> Image.Image:
    image = Image.fromarray(load_image(picture.path))
    left, top, right, bottom = (0.0, 0.0, *map(float, image.size))
    if face is not None:
        x1, y1, x2, y2 = face.box
        margin = _MARGIN * max(x2 - x1, y2 - y1, 1.0)
        left, top = max(x1 - margin, 0.0), max(y1 - margin, 0.0)
        right, bottom = min(x2 + margin, right), min(y2 + margin, bottom)
    width, height = max(right - left, 1.0), max(bottom - top, 1.0)
    scale = side / max(width, height)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    corners = (left, top, left + width, top + height)
    small = image.resize(size, Image.Resampling.BILINEAR, box=corners)
    canvas = Image.new("RGB", (side, side), _BACKGROUND)
    canvas.paste(small, ((side - size[0]) // 2, (side - size[1]) // 2))
    draw = ImageDraw.Draw(canvas)
    offset = ((side - size[0]) // 2 - left * scale, (side - size[1]) // 2 - top * scale)
    for each in picture.faces:
        _frame(draw, each, scale, offset)
    return canvas


def _frame(
    draw: ImageDraw.ImageDraw, face: Face, scale: float, offset: tuple[float, float]
) -> None:
    x1, y1, x2, y2 = (value * scale + offset[n % 2] for n, value in enumerate(face.box))
    if x2 >= x1 and y2 >= y1:
        colour = _IGNORED if face.ignore else COLOURS[face.label]
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=2)


def _joined(tiles: Sequence[Image.Image], columns: int, side: int) -> NDArray[np.uint8]:
    columns = min(columns, max(len(tiles), 1))
    rows = max(math.ceil(len(tiles) / columns), 1)
    sheet = Image.new("RGB", (columns * side, rows * side), _BACKGROUND)
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % columns * side, number // columns * side))
    return np.asarray(sheet)
