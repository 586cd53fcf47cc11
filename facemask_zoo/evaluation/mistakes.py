"""The worst mistakes of a detector, as small pictures."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from facemask_zoo.annotate import COLOURS
from facemask_zoo.datasets import Face
from facemask_zoo.datasets.types import Box
from facemask_zoo.evaluation.matching import IOU, Outcome, outcomes
from facemask_zoo.evaluation.samples import ANY, Sample
from facemask_zoo.images import load_image
from facemask_zoo.ssd.boxes import iou

PER_KIND = 12
"""Mistakes of each kind that are shown."""

_LOOSE = 0.2
"""A detection that overlaps a face by this much, but not enough, means the face."""

_NO_BOXES = np.empty((0, 4))
_VIEW = 200
_MARGIN = 1.0
_SMALLEST_VIEW = 48
_TRUTH_COLOUR = (255, 255, 255)
_IGNORED_COLOUR = (130, 130, 130)
_OTHER_COLOUR = (60, 90, 200)
_QUALITY = 80


@dataclasses.dataclass(frozen=True)
class Mistake:
    """Something that went wrong, and where.

    Attributes:
        sample: The picture with everything that is and was found in it.
        outcome: The face or detection in question.
        kind: One of ``KINDS``.
    """

    sample: Sample
    outcome: Outcome
    kind: str

    @property
    def text(self) -> str:
        """What is there, what was found, and where."""
        face, label = self.outcome.face, self.outcome.label
        found = f"{label} {self.outcome.score:.2f}" if label else "not found"
        truth = face.label if face else _TRUTHS[self.kind]
        return f"{self.sample.picture.path.name}: {truth}, {found}"


WRONG_LABEL = "Wrong label"
UNLABELLED = "Unlabelled faces, probably"
NOTHING_THERE = "Nothing there"
LOOSE = "Loose boxes"
TWICE = "Found twice"
MISSED = "Missed"

KINDS = (UNLABELLED, WRONG_LABEL, NOTHING_THERE, MISSED, LOOSE, TWICE)
"""Kinds of mistakes, in the order in which they are shown."""

_TRUTHS = {
    UNLABELLED: "others see a face here",
    NOTHING_THERE: "nothing there",
    LOOSE: "overlaps a face too little",
    TWICE: "a face that has its box",
}


def worst(
    samples: Iterable[Sample],
    conf: float,
    count: int = PER_KIND,
    opinions: Sequence[Sequence[Sample]] = (),
) -> dict[str, list[Mistake]]:
    """The surest wrong detections and the largest missed faces.

    Args:
        samples: Faces and detections.
        conf: Detections that score more than this count.
        count: Number of mistakes of each kind.
        opinions: What other detectors found in the same pictures, above their own thresholds. A
            detection where no face is labelled, and one of them sees a face, is probably right.
    """
    found: dict[str, list[Mistake]] = {kind: [] for kind in KINDS}
    for number, sample in enumerate(samples):
        others = [opinion[number].detections.boxes for opinion in opinions]
        for mistake in _mistakes(sample.above(conf), np.concatenate([_NO_BOXES, *others])):
            found[mistake.kind].append(mistake)
    return {
        kind: sorted(mistakes, key=_badness, reverse=True)[:count]
        for kind, mistakes in found.items()
    }


def _mistakes(sample: Sample, others: NDArray[np.floating[Any]]) -> Iterator[Mistake]:
    results = outcomes(sample)
    missed = [outcome.box for outcome in results if outcome.label is None]
    spurious = [outcome.box for outcome in results if outcome.face is None]
    for outcome in results:
        face, label = outcome.face, outcome.label
        if face is None:
            kind = _spurious(outcome.box, missed, sample.picture.boxes, others)
            yield Mistake(sample, outcome, kind)
        elif label is None:
            if _overlap(outcome.box, spurious) < _LOOSE:  # shown as a loose box otherwise
                yield Mistake(sample, outcome, MISSED)
        elif label not in (face.label, ANY):
            yield Mistake(sample, outcome, WRONG_LABEL)


def _spurious(
    box: Box, missed: Sequence[Box], faces: NDArray[np.float64], others: NDArray[Any]
) -> str:
    """What a detection is that found no face."""
    if _overlap(box, missed) >= _LOOSE:
        return LOOSE
    if _overlap(box, faces) >= _LOOSE:
        return TWICE
    return UNLABELLED if _overlap(box, others) >= IOU else NOTHING_THERE


def _overlap(box: Box, others: Sequence[Box] | NDArray[Any]) -> float:
    """The largest overlap of a box with one of the others."""
    return float(iou(np.array([box]), np.reshape(others, (-1, 4))).max(initial=0.0))


def draw(mistake: Mistake) -> bytes:
    """The surroundings of a mistake as a JPEG file of ``_VIEW`` pixels.

    White boxes are labelled faces, grey ones are to be ignored, coloured ones are detections.

    Raises:
        ImageError: The picture cannot be read.
    """
    view = _surroundings(mistake.outcome.box)
    scale = _VIEW / (view[2] - view[0])
    whole = Image.fromarray(load_image(mistake.sample.picture.path))
    canvas = whole.crop(view).resize((_VIEW, _VIEW))
    drawing = ImageDraw.Draw(canvas)
    for face in mistake.sample.picture.faces:
        colour = _IGNORED_COLOUR if face.ignore else _TRUTH_COLOUR
        drawing.rectangle(_place(face.box, view, scale), outline=colour, width=1)
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
