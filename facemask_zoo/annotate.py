"""Boxes, tags and counts drawn on pictures."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from facemask_zoo.errors import FaceMaskZooError, UnknownNameError
from facemask_zoo.exports import LANDMARKS, TRACK_ID
from facemask_zoo.extras import require

if TYPE_CHECKING:
    from facemask_zoo.detections import Detections

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Rectangle = tuple[float, float, float, float]

# Okabe and Ito's, which people with any kind of colour blindness tell apart.
COLOURS: dict[str, Colour] = {
    "mask": (0, 114, 178),
    "no_mask": (213, 94, 0),
    "incorrect": (240, 228, 66),
}
_OTHER_COLOUR: Colour = (204, 121, 167)
_DARK: Colour = (0, 0, 0)
_LIGHT: Colour = (255, 255, 255)
_LUMA = np.array([0.299, 0.587, 0.114])

# The second cue: a whole frame, its corners alone, or dashes.
_STYLES = {"mask": "whole", "no_mask": "corners", "incorrect": "dashes"}
_WIDER = {"corners": 1.6}

_WORDS = {
    "en": {"mask": "mask", "no_mask": "no mask", "incorrect": "incorrect"},
    "fr": {"mask": "masque", "no_mask": "sans masque", "incorrect": "mal mis"},
    "zh": {"mask": "戴口罩", "no_mask": "未戴口罩", "incorrect": "佩戴不规范"},
}
LANGUAGES = tuple(_WORDS)
"""Languages that the labels can be drawn in."""

_FONT_PACKAGE, _FONT_FILE, _FONT_EXTRA = "manimgx_fonts_cjk", "NotoSansCJK-VF.otf.ttc", "chinese"
_FONT_WEIGHT = "Medium"
_SIMPLIFIED = 2  # number of the face in the collection
_NEEDS_FONT = ("zh",)

_SMALLEST_TEXT = 10
_PREVIEW_SIDE = 640
_MOST_OF_PICTURE = 0.2  # that the panel may take
_MOST_OF_FACE = 0.15  # that a tag may take where there is no room beside the face


class _Look(NamedTuple):
    """How the faces of one label are drawn."""

    colour: Colour
    style: str
    word: str

    @property
    def text_colour(self) -> Colour:
        return _DARK if _LUMA @ self.colour > 128 else _LIGHT


@dataclasses.dataclass
class _Canvas:
    """A picture in the making, and what is taken of it.

    Attributes:
        draw: Draws on the picture.
        size: Its width and height.
        language: Of the words.
        faces: (N, 4) boxes, which tags leave free.
        tags: Rectangles of the panel and of the tags drawn so far.
    """

    draw: ImageDraw.ImageDraw
    size: tuple[int, int]
    language: str
    faces: NDArray[np.float32]
    tags: list[Rectangle]

    @property
    def text_size(self) -> float:
        """Height of the largest text, in pixels."""
        return max(_SMALLEST_TEXT, min(self.size) / 32)

    @property
    def least_text_size(self) -> float:
        """Height of the smallest text: less cannot be read once the picture fills a screen."""
        return max(_SMALLEST_TEXT, self.text_size * 0.4)

    def look(self, label: str) -> _Look:
        word = _WORDS[self.language].get(label, label.replace("_", " "))
        return _Look(COLOURS.get(label, _OTHER_COLOUR), _STYLES.get(label, "whole"), word)

    def font(self, size: float) -> Font:
        return _font(self.language in _NEEDS_FONT, round(size))

    def holds(self, rectangle: Rectangle) -> bool:
        """Whether a rectangle lies inside the picture."""
        left, top, right, bottom = rectangle
        return left >= 0 and top >= 0 and right < self.size[0] and bottom < self.size[1]


def annotate(
    pixels: NDArray[np.uint8], detections: Detections, *, language: str = "en", panel: bool = True
) -> NDArray[np.uint8]:
    """Draw every face on a copy of the picture; see :meth:`Detections.annotate`.

    Args:
        pixels: (H, W, 3) RGB, the picture that was searched.
        detections: What was found in it.
        language: One of :data:`LANGUAGES`.
        panel: Count the faces of each label, where that hides none.

    Raises:
        UnknownNameError: No such language.
        FrameworkNotInstalledError: The language needs a font that is not installed.
    """
    if language not in LANGUAGES:
        raise UnknownNameError.among("language", language, LANGUAGES)
    image = Image.fromarray(pixels)
    _draw(image, detections, language, panel)
    return np.array(image)


def _draw(image: Image.Image, detections: Detections, language: str, panel: bool) -> _Canvas:
    canvas = _Canvas(ImageDraw.Draw(image), image.size, language, detections.boxes, [])
    looks = [canvas.look(label) for label in detections.labels]
    for index in reversed(range(len(looks))):
        _draw_frame(canvas, detections.boxes[index].tolist(), looks[index])
    for index, look in enumerate(looks if LANDMARKS in detections.attributes else ()):
        _draw_points(canvas, detections.attributes[LANDMARKS][index], look)
    if panel and len(detections):
        _draw_panel(canvas, detections.counts())
    for index in _largest_first(detections.boxes):
        _draw_tag(canvas, index, looks[index], _texts(detections, index, looks[index]))
    return canvas


def preview(detections: Detections) -> NDArray[np.uint8] | None:
    """The annotated picture at a size for notebooks, if it can still be read."""
    try:
        image = Image.fromarray(detections.annotate())
    except FaceMaskZooError:
        return None
    image.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    return np.asarray(image)


def show(pixels: NDArray[np.uint8]) -> None:
    """Open a picture in the system's viewer.

    Args:
        pixels: (H, W, 3) RGB.
    """
    Image.fromarray(pixels).show()


@functools.lru_cache(maxsize=64)
def _font(chinese: bool, size: int) -> Font:
    if not chinese:
        return ImageFont.load_default(size=size)
    require(_FONT_PACKAGE, _FONT_EXTRA)
    with resources.as_file(resources.files(_FONT_PACKAGE) / _FONT_FILE) as path:
        font = ImageFont.truetype(str(path), size, index=_SIMPLIFIED)
    font.set_variation_by_name(_FONT_WEIGHT)
    return font


def _largest_first(boxes: NDArray[np.float32]) -> list[int]:
    sides = boxes[:, 2:] - boxes[:, :2]
    order: list[int] = np.argsort(-sides.prod(axis=1), kind="stable").tolist()
    return order


def _draw_frame(canvas: _Canvas, box: list[float], look: _Look) -> None:
    """A line in the label's style, with a thin dark edge that sets it off from any picture."""
    left, top, right, bottom = box
    side = min(right - left, bottom - top)
    thick = min(max(1.5, min(canvas.size) / 350), max(1.0, side / 14))
    width = max(1, round(thick * _WIDER.get(look.style, 1)))
    edge = 1 if side >= 40 else 0
    for line in _lines(box, look.style):
        if edge:
            _thick_line(canvas.draw, line, width + 2 * edge, _DARK)
    for line in _lines(box, look.style):
        _thick_line(canvas.draw, line, width, look.colour)


def _draw_points(canvas: _Canvas, points: NDArray[np.float32], look: _Look) -> None:
    """A dot on every landmark, small beside the face."""
    radius = float(np.ptp(points, axis=0).max()) / 110
    for x, y in points.tolist():
        corners = (x - radius, y - radius, x + radius, y + radius)
        canvas.draw.ellipse(corners, fill=look.colour, outline=_LIGHT if radius > 2 else None)


def _lines(box: list[float], style: str) -> Iterator[Rectangle]:
    """The pieces of a frame, each from one point to another."""
    left, top, right, bottom = box
    across = [(left, right, y) for y in (top, bottom)]
    down = [(top, bottom, x) for x in (left, right)]
    for first, last, y in across:
        yield from ((a, y, b, y) for a, b in _pieces(first, last, style))
    for first, last, x in down:
        yield from ((x, a, x, b) for a, b in _pieces(first, last, style))


def _pieces(first: float, last: float, style: str) -> list[tuple[float, float]]:
    length = last - first
    if style == "corners":
        return [(first, first + length * 0.3), (last - length * 0.3, last)]
    if style == "dashes":
        count = 3 if length < 60 else 5
        step = length / (2 * count - 1)
        return [(first + 2 * i * step, first + (2 * i + 1) * step) for i in range(count)]
    return [(first, last)]


def _thick_line(draw: ImageDraw.ImageDraw, line: Rectangle, width: int, colour: Colour) -> None:
    before, after = (width - 1) // 2, width // 2
    x1, y1, x2, y2 = (round(value) for value in line)
    draw.rectangle((x1 - before, y1 - before, x2 + after, y2 + after), fill=colour)


def _texts(detections: Detections, index: int, look: _Look) -> tuple[str, str]:
    """What a tag says, in full and in short: who it is matters more than the score."""
    score = f"{float(detections.scores[index]):.2f}"
    if TRACK_ID not in detections.attributes:
        return f"{look.word} {score}", score
    number = f"#{detections.attributes[TRACK_ID][index]}"
    return f"{number} {look.word}", number


def _draw_tag(canvas: _Canvas, index: int, look: _Look, texts: tuple[str, str]) -> None:
    """A text beside a face; the shorter, or nothing, where there is no room."""
    box: list[float] = canvas.faces[index].tolist()
    wide = box[2] - box[0]
    for text, share in zip(texts, (1.6, 1.1), strict=True):
        size = canvas.text_size
        while size >= canvas.least_text_size:
            width, height = _text_box(canvas.font(size), text)
            free = _free_place(canvas, index, width, height) if width <= wide * share else None
            if free:
                canvas.tags.append(free)
                _fill(canvas, free, text, size, look)
                return
            size *= 0.8


def _text_box(font: Font, text: str) -> tuple[float, float]:
    """Width and height of a tag, with its padding; the same height for every text."""
    _, top, _, bottom = font.getbbox("Ag国")
    padding = _padding(bottom)
    return font.getlength(text) + 2 * padding, bottom - top + padding


def _padding(height: float) -> float:
    return max(2.0, height / 4)


def _free_place(canvas: _Canvas, index: int, width: float, height: float) -> Rectangle | None:
    others = np.delete(canvas.faces, index, axis=0)
    taken = np.array(canvas.tags, np.float32).reshape(-1, 4)
    box: list[float] = canvas.faces[index].tolist()
    outside, inside = _places(box, width, height)
    area = (box[2] - box[0]) * (box[3] - box[1])
    if width * height > area * _MOST_OF_FACE:
        inside = []
    for place in outside + inside:
        if canvas.holds(place) and not _hit(place, others) and not _hit(place, taken):
            return place
    return None


def _places(
    box: list[float], width: float, height: float
) -> tuple[list[Rectangle], list[Rectangle]]:
    """Where a tag may lie: above and below the face, and as a last resort at its edges."""
    left, top, right, bottom = box
    gap = 2
    starts = (left, right - width, (left + right - width) / 2)
    outside = [(x, y) for y in (top - height - gap, bottom + gap) for x in starts]
    inside = [(x, y) for y in (top + gap, bottom - height - gap) for x in (left + gap, starts[1])]
    return (
        [(x, y, x + width, y + height) for x, y in outside],
        [(x, y, x + width, y + height) for x, y in inside],
    )


def _hit(place: Rectangle, others: NDArray[np.float32]) -> bool:
    left, top, right, bottom = place
    apart = (
        (others[:, 0] >= right)
        | (others[:, 2] <= left)
        | (others[:, 1] >= bottom)
        | (others[:, 3] <= top)
    )
    return not bool(apart.all())


def _fill(canvas: _Canvas, place: Rectangle, text: str, size: float, look: _Look) -> None:
    font = canvas.font(size)
    _, top, _, bottom = font.getbbox("Ag国")
    canvas.draw.rectangle(place, fill=look.colour)
    start = (place[0] + _padding(bottom), place[1] + _padding(bottom) / 2 - top)
    canvas.draw.text(start, text, fill=look.text_colour, font=font)


def _draw_panel(canvas: _Canvas, counts: dict[str, int]) -> None:
    """The number of faces of each label, at an edge where it hides no face, if there is one."""
    font = canvas.font(canvas.text_size)
    rows = [(canvas.look(label), number) for label, number in counts.items()]
    sizes = [_text_box(font, f"{look.word}  {number}") for look, number in rows]
    line = max(height for _, height in sizes)
    width, height = max(width for width, _ in sizes) + 2 * line, line * (len(rows) + 0.5)
    place = _panel_place(canvas, width, height)
    if place is None:
        return
    canvas.tags.append(place)
    canvas.draw.rectangle(place, fill=(32, 32, 32))
    left, top = place[0] + line / 2, place[1] + line / 4
    for look, number in rows:
        swatch = [left, top + line * 0.2, left + line * 0.7, top + line * 0.8]
        for piece in _lines(swatch, look.style):
            _thick_line(canvas.draw, piece, max(1, round(line / 20)), look.colour)
        _, ascent, _, bottom = font.getbbox("Ag国")
        at = (left + line, top + _padding(bottom) / 2 - ascent)
        canvas.draw.text(at, f"{look.word}  {number}", fill=_LIGHT, font=font)
        top += line


def _panel_place(canvas: _Canvas, width: float, height: float) -> Rectangle | None:
    """A place along the edges, corners first."""
    if width * height > canvas.size[0] * canvas.size[1] * _MOST_OF_PICTURE:
        return None
    gap = canvas.text_size / 2
    right, bottom = canvas.size[0] - width - gap - 1, canvas.size[1] - height - gap - 1
    for share in (0.0, 1.0, 0.5, 0.25, 0.75):
        x, y = gap + share * (right - gap), gap + share * (bottom - gap)
        for left, top in ((x, gap), (x, bottom), (gap, y), (right, y)):
            place = (left, top, left + width, top + height)
            if canvas.holds(place) and not _hit(place, canvas.faces):
                return place
    return None
