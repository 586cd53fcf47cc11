"""Templates: drawings of masks, with points that say where on a face they belong."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import InvalidArgumentError, UnknownNameError
from facemask_zoo.extras import require
from facemask_zoo.images import load_rgba
from facemask_zoo.masks.svg import NAMESPACE, circles, parse_svg, render_svg

_FOLDER = Path(__file__).with_name("templates")
_CHART = "chart"
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_POINTS_GROUP = "control-points"
_PRINT_ID = "chosen-print"
_MIN_POINTS = 4
_EXTENT_SIDE = 256

LANDMARKS: Mapping[str, int] = MappingProxyType(
    {f"jaw-{number}": number for number in range(17)}
    | {f"bridge-{number}": 27 + number for number in range(4)}
    | {"eye-left-outer": 36, "eye-left-inner": 39, "eye-right-inner": 42, "eye-right-outer": 45}
)
"""What a template's control points are called, and which of the 68 landmarks each one follows."""

PATTERNS: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "stripes": (40, "M0 0 H20 V40 H0 Z"),
        "checks": (60, "M0 0 H30 V30 H0 Z M30 30 H60 V60 H30 Z"),
        "dots": (56, "M14 5 a9 9 0 1 0 .1 0 Z M42 33 a9 9 0 1 0 .1 0 Z"),
        "zigzag": (60, "M0 20 L30 0 L60 20 V36 L30 16 L0 36 Z"),
    }
)
"""Prints: side of the repeated square in chart units, and its figure as an SVG path."""


@dataclasses.dataclass(frozen=True, eq=False)
class Template:
    """A drawing of a mask.

    Attributes:
        name: What it is called in records.
        drawing: Parsed SVG, or (H, W, 4) RGBA.
        points: Name (see :data:`LANDMARKS`) -> x, y in units of the drawing.
        size: Width and height of the drawing, in the same units.
    """

    name: str
    drawing: Element | NDArray[np.uint8] = dataclasses.field(repr=False)
    points: Mapping[str, tuple[float, float]] = dataclasses.field(repr=False)
    size: tuple[float, float]

    def __post_init__(self) -> None:
        for name in self.points:
            if name not in LANDMARKS:
                raise UnknownNameError.among("control point", name, LANDMARKS)
        if len(self.points) < _MIN_POINTS:
            raise InvalidArgumentError(
                f"{self.name}: expected at least {_MIN_POINTS} control points, "
                f"but got {len(self.points)}."
            )

    def render(self, width: int, *, hidden: str = "") -> NDArray[np.uint8]:
        """Draw the template.

        Args:
            width: Of the result, in pixels; the height follows.
            hidden: ``"left"`` or ``"right"``: leave out the straps of that side.

        Returns:
            (height, width, 4) uint8 RGBA, colours not multiplied by alpha; read-only, since it is
            kept for the next face.

        Raises:
            InvalidArgumentError: The size is out of bounds.
        """
        return _rendered(self, width, hidden)

    def _draw(self, width: int, hidden: str) -> NDArray[np.uint8]:
        height = round(width * self.size[1] / self.size[0])
        if isinstance(self.drawing, np.ndarray):
            cv2 = require("cv2", "masks")
            shrinks = width < self.drawing.shape[1]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            return np.asarray(
                cv2.resize(self.drawing, (width, height), interpolation=how), np.uint8
            )
        root = copy.deepcopy(self.drawing)
        left_out = (_POINTS_GROUP, f"strap-{hidden}")
        for child in [each for each in root if each.get("id") in left_out]:
            root.remove(child)
        return render_svg(root, width, height).copy()

    @functools.cached_property
    def extent(self) -> tuple[float, float]:
        """Upper and lower edge of the mask in its middle, in units of the drawing."""
        alpha = self.render(_EXTENT_SIDE)[..., 3]
        rows = np.flatnonzero(alpha[:, alpha.shape[1] // 2] > 127)
        if not len(rows):
            raise InvalidArgumentError(f"{self.name}: expected a mask, but its middle is empty.")
        unit = self.size[1] / len(alpha)
        return float(rows[0] * unit), float((rows[-1] + 1) * unit)

    def coloured(self, colour: str, trim: str = "", pattern: str = "") -> Template:
        """The same mask in other colours.

        Args:
            colour: Of the cloth, ``"#rrggbb"``.
            trim: Of straps, valve and print; the template's own straps, and white for the print,
                if empty.
            pattern: A name in :data:`PATTERNS`, or empty for plain cloth.

        Raises:
            InvalidArgumentError: A colour is not ``#rrggbb``, or the template is not an SVG.
            UnknownNameError: There is no such pattern.
        """
        if isinstance(self.drawing, np.ndarray):
            raise InvalidArgumentError(f"{self.name}: only SVG templates can be coloured.")
        for value in filter(None, (colour, trim)):
            if not _COLOUR.fullmatch(value):
                raise InvalidArgumentError(f"Expected a colour as #rrggbb, but got {value!r}.")
        if pattern and pattern not in PATTERNS:
            raise UnknownNameError.among("pattern", pattern, PATTERNS)
        root = copy.deepcopy(self.drawing)
        _paint(root, colour, trim)
        if pattern:
            _add_print(root, pattern, colour, trim)
        name = "+".join(filter(None, (self.name, colour, trim, pattern)))
        return dataclasses.replace(self, drawing=root, name=name)


@functools.lru_cache(maxsize=64)
def _rendered(template: Template, width: int, hidden: str) -> NDArray[np.uint8]:
    image = template._draw(width, hidden)
    image.flags.writeable = False
    return image


def list_templates() -> list[str]:
    """Names of the templates that ship."""
    return sorted(path.stem for path in _FOLDER.glob("*.svg") if path.stem != _CHART)


def load_template(name: str | os.PathLike[str]) -> Template:
    """Load a template.

    Args:
        name: One of :func:`list_templates`; or the path of an SVG, or of a PNG with transparency
            that has its control points in a JSON file of the same name beside it. An SVG without
            control points is taken to be drawn over ``chart.svg``.

    Raises:
        UnknownNameError: There is no such template, or a control point has an unknown name.
        InvalidArgumentError: The drawing or its points are not accepted.
        ImageError: The PNG cannot be read or has no transparency.
    """
    if isinstance(name, str) and name in list_templates():
        return _shipped(name)
    path = Path(name)
    if not path.is_file():
        raise UnknownNameError.among("template", os.fspath(name), list_templates())
    return _load_svg(path) if path.suffix.lower() == ".svg" else _load_raster(path)


@functools.cache
def chart_points() -> Mapping[str, tuple[float, float]]:
    """Where the landmarks of a frontal face lie on the chart; y of the chin is 800 of 1000."""
    return circles(parse_svg((_FOLDER / f"{_CHART}.svg").read_bytes()), _POINTS_GROUP)


@functools.cache
def _shipped(name: str) -> Template:
    return _load_svg(_FOLDER / f"{name}.svg")


def _load_svg(path: Path) -> Template:
    root = parse_svg(path.read_bytes())
    try:
        left, top, width, height = map(float, root.get("viewBox", "").replace(",", " ").split())
    except ValueError as error:
        raise InvalidArgumentError(f"{path}: expected a viewBox of four numbers.") from error
    if (left, top) != (0, 0) or not (0 < width <= 1e5 and 0 < height <= 1e5):
        raise InvalidArgumentError(f"{path}: expected a viewBox that begins at 0 0.")
    return Template(
        path.stem, root, circles(root, _POINTS_GROUP) or chart_points(), (width, height)
    )


def _load_raster(path: Path) -> Template:
    image = load_rgba(path)
    file = path.with_suffix(".json")
    try:
        content = json.loads(file.read_bytes())
        points = {str(name): (float(x), float(y)) for name, (x, y) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidArgumentError(f"{file}: expected control points by name: {error}") from error
    return Template(path.stem, image, points, (image.shape[1], image.shape[0]))


def _paint(root: Element, colour: str, trim: str) -> None:
    """Colour the cloth, of which a print that the template has is taken off."""
    for parent in list(root.iter()):
        for element in list(parent):
            kind = element.get("class")
            if kind == "print":
                parent.remove(element)
            elif kind == "cloth":
                element.set("fill", colour)
            elif trim and kind == "trim":
                element.set("stroke", trim)
            elif trim and kind == "trim-fill":
                element.set("fill", trim)


def _add_print(root: Element, pattern: str, colour: str, trim: str) -> None:
    """Lay a print over the cloth; the cloth below keeps the seams of the print opaque."""
    side, figure = PATTERNS[pattern]
    box = {"width": str(side), "height": str(side)}
    for parent in list(root.iter()):
        for index, element in reversed(list(enumerate(parent))):
            if element.get("class") == "cloth":
                printed = copy.copy(element)
                printed.set("fill", f"url(#{_PRINT_ID})")
                parent.insert(index + 1, printed)
    units = {"id": _PRINT_ID, "patternUnits": "userSpaceOnUse"}
    element = SubElement(root, f"{{{NAMESPACE}}}pattern", {**units, **box})
    SubElement(element, f"{{{NAMESPACE}}}rect", {"fill": colour, **box})
    SubElement(element, f"{{{NAMESPACE}}}path", {"fill": trim or "#ffffff", "d": figure})
