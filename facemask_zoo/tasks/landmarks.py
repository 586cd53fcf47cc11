"""Landmarks: a square around a face in, points and the pose of the head out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facemask_zoo.architectures.landmarks import ANGLES, POINTS_NAME, POSE_NAME
from facemask_zoo.errors import InvalidArgumentError, WeightsError
from facemask_zoo.graph.graph import Graph
from facemask_zoo.tasks.letterbox import GREY

__all__ = ["ANGLES", "MARGIN", "POINTS_NAME", "POSE_NAME", "Square", "check_boxes", "read"]

MARGIN = 1.3
"""Side of the square that a landmark network sees, in longer sides of the face's box."""

# Pictures over this many times their new size are first averaged over whole blocks of pixels.
_GAP = 2.0
_MAX_COORDINATE = 1e6


@dataclasses.dataclass(frozen=True)
class Square:
    """A square in a picture; parts of it may lie outside.

    Attributes:
        left: In pixels.
        top: In pixels.
        side: In pixels.
    """

    left: float
    top: float
    side: float

    @classmethod
    def around(cls, box: NDArray[np.floating[Any]], margin: float = MARGIN) -> Square:
        """The square around the middle of a box.

        Args:
            box: (4,) corners x1, y1, x2, y2 in pixels.
            margin: Its side, in longer sides of the box.
        """
        x1, y1, x2, y2 = (float(value) for value in box)
        side = max(x2 - x1, y2 - y1) * margin
        return cls((x1 + x2 - side) / 2, (y1 + y2 - side) / 2, side)

    def cut(self, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """What a picture shows in the square; grey beside the picture.

        It is resized by Pillow's bilinear filter, whose support grows where a picture shrinks.

        Args:
            image: (H, W, 3) RGB.
            size: Height and width of the result, in pixels.
        """
        canvas = np.full((size, size, 3), GREY, np.uint8)
        height, width = image.shape[:2]
        scale = self.side / size
        first_column, last_column = self._inside(self.left, width, size)
        first_row, last_row = self._inside(self.top, height, size)
        columns, rows = last_column - first_column, last_row - first_row
        if columns <= 0 or rows <= 0:
            return canvas
        x1, y1 = self.left + first_column * scale, self.top + first_row * scale
        place = (x1, y1, min(x1 + columns * scale, width), min(y1 + rows * scale, height))
        part = Image.fromarray(image).resize(
            (columns, rows), Image.Resampling.BILINEAR, place, reducing_gap=_GAP
        )
        canvas[first_row:last_row, first_column:last_column] = np.asarray(part)
        return canvas

    def to_picture(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Points in pixels of the picture.

        Args:
            points: (..., 2) x and y in sides of the square, from its left top corner.
        """
        return np.asarray(points * self.side + (self.left, self.top), np.float64)

    def from_picture(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """What :meth:`to_picture` undoes."""
        return np.asarray((points - (self.left, self.top)) / self.side, np.float64)

    def _inside(self, start: float, length: int, size: int) -> tuple[int, int]:
        """First and last pixel of the result that lie wholly in the picture, along one side."""
        scale = self.side / size
        first = max(0, math.ceil(-start / scale))
        return first, min(size, math.floor((length - start) / scale))


def check_graph(graph: Graph) -> None:
    """Make sure that a graph is a landmark network.

    Raises:
        WeightsError: It is something else.
    """
    channels, height, width = (*graph.input_shape, 0, 0, 0)[:3]
    shapes = graph.output_shapes
    points, pose = shapes.get(POINTS_NAME, ()), shapes.get(POSE_NAME, ())
    square = channels == 3 and height == width
    if not square or len(points) != 2 or points[1] != 2 or pose != (ANGLES,):
        raise WeightsError(
            f"Not a landmark network: expected a square picture, {POINTS_NAME} (points, 2) and "
            f"{POSE_NAME} ({ANGLES},), but got {graph.input_shape} and {shapes}."
        )


def check_boxes(boxes: Any, size: tuple[int, int]) -> NDArray[np.float64]:
    """Faces' boxes as an array.

    Args:
        boxes: (N, 4) corners x1, y1, x2, y2 in pixels; anything empty for none.
        size: Width and height of the picture.

    Raises:
        InvalidArgumentError: The shape is another; a box is not finite, has no area, or lies
            outside the picture.
    """
    try:
        array = np.asarray(boxes, np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"boxes: expected numbers, but got {error}.") from error
    if not array.size:
        return np.empty((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise InvalidArgumentError(f"boxes: expected shape (N, 4), but got {array.shape}.")
    for box in array:
        if not (np.abs(box) <= _MAX_COORDINATE).all() or (box[2:] <= box[:2]).any():
            raise InvalidArgumentError(
                f"boxes: expected corners x1 < x2, y1 < y2, but got {box.tolist()}."
            )
        if (box[:2] >= size).any() or (box[2:] <= 0).any():
            raise InvalidArgumentError(
                f"boxes: {box.tolist()} lies outside the picture of {size[0]} x {size[1]} pixels."
            )
    return array


def read(
    outputs: Mapping[str, NDArray[np.float32]], squares: Sequence[Square]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A landmark network's outputs in the picture's terms.

    Args:
        outputs: ``points`` (N, P, 2) and ``pose`` (N, 3).
        squares: Where in the picture each input lies.

    Returns:
        (N, P, 2) pixels and (N, 3) degrees.
    """
    places = np.asarray(outputs[POINTS_NAME], np.float64) + 0.5
    points = [square.to_picture(each) for square, each in zip(squares, places, strict=True)]
    return np.array(points, np.float32), np.degrees(outputs[POSE_NAME]).astype(np.float32)
