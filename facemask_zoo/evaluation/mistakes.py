"""The worst mistakes of a detector, as small pictures."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from PIL import Image, ImageDraw

from facemask_zoo.annotate import COLOURS
from facemask_zoo.datasets import Face
from facemask_zoo.datasets.types import Box
from facemask_zoo.evaluation.matching import Outcome, outcomes
from facemask_zoo.evaluation.samples import Sample
from facemask_zoo.images import load_image

PER_KIND = 12
"""Mistakes of each kind that are shown."""

_VIEW = 200
_MARGIN = 1.0
_SMALLEST_VIEW = 48
_TRUTH_COLOUR = (255, 255, 255)
_OTHER_COLOUR = (60, 90, 200)
_QUALITY = 80


@dataclasses.dataclass(frozen=True)
class Mistake:
    """Something that went wrong, and where.

    Attributes:
        sample: The picture with everything that is and was found in it.
        outcome: The face or detection in question.
    """

    sample: Sample
    outcome: Outcome

    @property
    def text(self) -> str:
        """What is there, what was found, and where."""
        face, label = self.outcome.face, self.outcome.label
        found = f"{label} {self.outcome.score:.2f}" if label else "not found"
        truth = face.label if face else "nothing there"
        return f"{self.sample.picture.path.name}: {truth}, {found}"


def _is_wrong(outcome: Outcome) -> bool:
    face = outcome.face
    return face is not None and outcome.label is not None and face.label != outcome.label


def _is_spurious(outcome: Outcome) -> bool:
    return outcome.face is None


def _is_missed(outcome: Outcome) -> bool:
    return outcome.label is None


KINDS: Mapping[str, Callable[[Outcome], bool]] = MappingProxyType(
    {
        "Wrong label": _is_wrong,
        "Nothing there": _is_spurious,
        "Missed": _is_missed,
    }
)


def worst(
    samples: Iterable[Sample], conf: float, count: int = PER_KIND
) -> dict[str, list[Mistake]]:
    """The surest wrong detections and the largest missed faces.

    Args:
        samples: Faces and detections.
        conf: Detections that score more than this count.
        count: Number of mistakes of each kind.
    """
    found = [
        Mistake(sample, outcome)
        for sample in (sample.above(conf) for sample in samples)
        for outcome in outcomes(sample)
    ]
    return {
        kind: sorted((m for m in found if belongs(m.outcome)), key=_badness, reverse=True)[:count]
        for kind, belongs in KINDS.items()
    }


def draw(mistake: Mistake) -> bytes:
    """The surroundings of a mistake as a JPEG file of ``_VIEW`` pixels.

    White boxes are labelled faces, coloured ones are detections.

    Raises:
        ImageError: The picture cannot be read.
    """
    view = _surroundings(mistake.outcome.box)
    scale = _VIEW / (view[2] - view[0])
    whole = Image.fromarray(load_image(mistake.sample.picture.path))
    canvas = whole.crop(view).resize((_VIEW, _VIEW))
    drawing = ImageDraw.Draw(canvas)
    for face in mistake.sample.picture.faces:
        drawing.rectangle(_place(face.box, view, scale), outline=_TRUTH_COLOUR, width=1)
    detections = mistake.sample.detections
    for box, label in zip(detections.boxes.tolist(), detections.labels, strict=True):
        colour = COLOURS.get(label, _OTHER_COLOUR)
        drawing.rectangle(_place(box, view, scale), outline=colour, width=2)
    buffer = io.BytesIO()
    canvas.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _badness(mistake: Mistake) -> float:
    outcome = mistake.outcome
    return outcome.score if outcome.label else Face(outcome.box, "").side


def _surroundings(box: Box) -> Box:
    """A square around the box."""
    x1, y1, x2, y2 = box
    side = max((x2 - x1), (y2 - y1)) * (1 + 2 * _MARGIN)
    half = max(side, _SMALLEST_VIEW) / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return (x - half, y - half, x + half, y + half)


def _place(box: Sequence[float], view: Box, scale: float) -> list[float]:
    corners = (box[0] - view[0], box[1] - view[1], box[2] - view[0], box[3] - view[1])
    return [value * scale for value in corners]
