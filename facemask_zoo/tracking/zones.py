"""Parts of the picture that matter, such as a door or a counter."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from facemask_zoo.arguments import check_number
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.extras import require
from facemask_zoo.tracking.checks import EXTRA

_MIN_POINTS, _MAX_POINTS = 3, 1000
_LARGEST = 1e6  # pixels
_COLOUR, _EDGE = (0, 158, 115), (0, 0, 0)


@dataclasses.dataclass(frozen=True)
class Zone:
    """A polygon in the picture.

    Attributes:
        name: What events and reports call it.
        points: Corners in order, (x, y) in pixels.

    Raises:
        InvalidArgumentError: There are fewer than three corners, a number is no number, or the
            outline crosses or touches itself.
        FrameworkNotInstalledError: The extra ``tracking`` is not installed.
    """

    name: str
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable():
            raise InvalidArgumentError(f"zone: expected a name, but got {self.name!r}.")
        count = len(self.points)
        if not _MIN_POINTS <= count <= _MAX_POINTS:
            raise InvalidArgumentError(
                f"{self._title}: expected {_MIN_POINTS} to {_MAX_POINTS} corners, but got {count}."
            )
        points = tuple((self._number(x), self._number(y)) for x, y in self.points)
        object.__setattr__(self, "points", points)
        reason = require("shapely", EXTRA).is_valid_reason(self._polygon)
        if reason != "Valid Geometry":
            raise InvalidArgumentError(
                f"{self._title}: expected an outline that does not cross itself: {reason}."
            )

    @classmethod
    def parse(cls, text: str) -> Zone:
        """Read ``NAME=X,Y,X,Y,X,Y...``.

        Raises:
            InvalidArgumentError: It is not of that form; or the zone makes no sense.
        """
        name, _, values = text.partition("=")
        try:
            numbers = [float(value) for value in values.split(",")]
        except ValueError:
            numbers = []
        if not numbers or len(numbers) % 2:
            raise InvalidArgumentError(f"zone: expected NAME=X,Y,X,Y,X,Y..., but got {text!r}.")
        return cls(name.strip(), tuple(zip(numbers[::2], numbers[1::2], strict=True)))

    @property
    def _title(self) -> str:
        return f"zone {self.name!r}"

    def _number(self, value: float) -> float:
        return check_number(self._title, value, -_LARGEST, _LARGEST)

    @functools.cached_property
    def _polygon(self) -> Any:
        return require("shapely", EXTRA).Polygon(self.points)

    def check_inside(self, size: tuple[int, int]) -> None:
        """Make sure that the zone lies in the picture.

        Args:
            size: Width and height of the picture, in pixels.

        Raises:
            InvalidArgumentError: A corner does not.
        """
        for x, y in self.points:
            if not (0 <= x <= size[0] and 0 <= y <= size[1]):
                raise InvalidArgumentError(
                    f"{self._title}: the corner ({x:g}, {y:g}) lies outside the picture, which has "
                    f"{size[0]} x {size[1]} pixels."
                )

    def contains(self, boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which faces are in the zone: those whose middle is.

        Args:
            boxes: (N, 4) xyxy pixels.

        Returns:
            (N,) bool.
        """
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside: NDArray[np.bool_] = require("shapely", EXTRA).contains_xy(self._polygon, middles)
        return inside


def check_names(zones: Sequence[Zone]) -> None:
    """Refuse two zones of one name.

    Raises:
        InvalidArgumentError: There are two.
    """
    names = [zone.name for zone in zones]
    for name in names:
        if names.count(name) > 1:
            raise InvalidArgumentError(f"zone: the name {name!r} is given twice.")


def draw_zones(image: NDArray[np.uint8], zones: Sequence[Zone]) -> NDArray[np.uint8]:
    """Outline zones on a copy of the picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        zones: What to draw.
    """
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    width = max(2, min(picture.size) // 250)
    font = ImageFont.load_default(size=max(10, min(picture.size) // 32))
    for zone in zones:
        outline = [*zone.points, zone.points[0], zone.points[1]]
        draw.line(outline, fill=_EDGE, width=width + 2, joint="curve")
        draw.line(outline, fill=_COLOUR, width=width, joint="curve")
        x, y = min(zone.points, key=sum)
        at = (x + 2 * width, y + 2 * width)
        draw.text(at, zone.name, fill="white", font=font, stroke_width=2, stroke_fill=_EDGE)
    return np.array(picture)
