"""SVG from strangers: what is drawn from the file alone is accepted, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element, tostring

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring
from numpy.typing import NDArray

from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.extras import require
from facemask_zoo.images import load_rgba

NAMESPACE = "http://www.w3.org/2000/svg"
MAX_SIDE = 4096
"""Largest side of a rendered template, in pixels."""

_MAX_BYTES = 1 << 20
_MAX_ELEMENTS = 5000
_MAX_DEPTH = 32
_ELEMENTS = frozenset(
    {
        *("svg", "g", "defs", "title", "desc"),
        *("path", "rect", "circle", "ellipse", "line", "polyline", "polygon"),
        *("pattern", "clipPath", "mask", "linearGradient", "radialGradient", "stop"),
    }
)
_INSIDE = re.compile(r"url\(\s*['\"]?#[\w-]+['\"]?\s*\)")


def parse_svg(content: bytes) -> Element:
    """Parse a drawing and refuse whatever reaches beyond it.

    Args:
        content: The file.

    Returns:
        The root; every element is one that draws.

    Raises:
        InvalidArgumentError: It is too large, not SVG, declares entities, holds scripts, text,
            styles, pictures or copies, or names anything outside itself.
    """
    if len(content) > _MAX_BYTES:
        raise InvalidArgumentError(f"SVG: expected at most {_MAX_BYTES} bytes.")
    try:
        root: Element = fromstring(content, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError) as error:
        raise InvalidArgumentError(f"SVG: not accepted: {error}") from error
    if root.tag != f"{{{NAMESPACE}}}svg":
        raise InvalidArgumentError(f"SVG: expected <svg>, but got <{str(root.tag)[:60]}>.")
    _check_depth(root)
    elements = list(root.iter())
    if len(elements) > _MAX_ELEMENTS:
        raise InvalidArgumentError(f"SVG: expected at most {_MAX_ELEMENTS} elements.")
    for element in elements:
        _check_element(element)
    return root


def render_svg(root: Element, width: int, height: int) -> NDArray[np.uint8]:
    """Draw a parsed SVG.

    Args:
        root: What :func:`parse_svg` returned.
        width: Of the result, in pixels.
        height: Of the result, in pixels.

    Returns:
        (height, width, 4) uint8 RGBA, colours not multiplied by alpha.

    Raises:
        InvalidArgumentError: The size is out of bounds, or the drawing cannot be drawn.
        FrameworkNotInstalledError: resvg is not installed.
    """
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise InvalidArgumentError(f"Expected 1..{MAX_SIDE} pixels, but got {width} x {height}.")
    resvg = require("resvg_py", "masks")
    markup = tostring(root, encoding="unicode")
    try:
        png = resvg.svg_to_bytes(
            svg_string=markup, width=width, height=height, skip_system_fonts=True
        )
    except ValueError as error:
        raise InvalidArgumentError(f"SVG: cannot be drawn: {error}") from error
    return load_rgba(bytes(png))


def circles(root: Element, group: str) -> Mapping[str, tuple[float, float]]:
    """Centres of the circles in a group, by their ids.

    Args:
        root: The drawing.
        group: The group's id.

    Raises:
        InvalidArgumentError: A circle has no id or no numbers.
    """
    found = {}
    for parent in root.iter(f"{{{NAMESPACE}}}g"):
        if parent.get("id") != group:
            continue
        for circle in parent.iter(f"{{{NAMESPACE}}}circle"):
            try:
                found[circle.attrib["id"]] = (
                    float(circle.attrib["cx"]),
                    float(circle.attrib["cy"]),
                )
            except (KeyError, ValueError) as error:
                raise InvalidArgumentError(f"SVG: {group}: a circle lacks {error}.") from error
    return found


def _check_depth(element: Element, depth: int = 0) -> None:
    if depth > _MAX_DEPTH:
        raise InvalidArgumentError(f"SVG: expected at most {_MAX_DEPTH} levels of groups.")
    for child in element:
        _check_depth(child, depth + 1)


def _check_element(element: Element) -> None:
    namespace, _, name = str(element.tag).rpartition("}")
    if namespace != f"{{{NAMESPACE}" or name not in _ELEMENTS:
        raise InvalidArgumentError(f"SVG: <{name[:40]}> is not accepted in a template.")
    for key, value in element.attrib.items():
        attribute = key.rpartition("}")[2].lower()
        rest = _INSIDE.sub("", value)
        outside = any(mark in rest.lower() for mark in ("url", "@", "\\", "/*"))
        if attribute.startswith("on") or attribute in ("href", "base") or outside:
            raise InvalidArgumentError(f"SVG: {attribute}={value[:60]!r} is not accepted.")
