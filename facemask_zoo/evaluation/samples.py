"""A labelled picture together with what a detector found in it."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from facemask_zoo.datasets import LABELS, Picture
from facemask_zoo.datasets.labels import INCORRECT
from facemask_zoo.detections import Detections

if TYPE_CHECKING:
    from facemask_zoo.detector import Detector

log = logging.getLogger(__name__)

ANY = "any"
"""Stands for the label where classes do not count: a face is a face."""

_LOG_EVERY_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One labelled picture and the detections in it.

    Attributes:
        picture: What is there.
        detections: What was found, best score first.
    """

    picture: Picture
    detections: Detections

    def above(self, conf: float) -> Sample:
        """The same with the detections that score more than `conf` alone."""
        return Sample(self.picture, self.detections[self.detections.scores > conf])

    def of_label(self, label: str) -> Sample:
        """The same with the faces and the detections of one label alone; ignored faces stay."""
        faces = tuple(face for face in self.picture.faces if face.ignore or face.label == label)
        chosen = [index for index, found in enumerate(self.detections.labels) if found == label]
        return Sample(dataclasses.replace(self.picture, faces=faces), self.detections[chosen])

    def of_any_label(self) -> Sample:
        """The same with all labels taken for one; nothing else is suppressed."""
        faces = tuple(dataclasses.replace(face, label=ANY) for face in self.picture.faces)
        ids = np.zeros_like(self.detections.class_ids)
        found = dataclasses.replace(self.detections, class_ids=ids, classes=(ANY,))
        return Sample(dataclasses.replace(self.picture, faces=faces), found)


def collect(detector: Detector, pictures: Sequence[Picture]) -> Iterator[Sample]:
    """Run a detector over pictures, one after the other, and log now and then how far it is.

    Raises:
        ImageError: A picture cannot be read.
    """
    due = time.monotonic() + _LOG_EVERY_SECONDS
    for done, picture in enumerate(pictures):
        if time.monotonic() > due:
            log.info("%s: %d of %d pictures", detector.card.name, done, len(pictures))
            due = time.monotonic() + _LOG_EVERY_SECONDS
        yield Sample(picture, detector.detect(picture.path))


def view(sample: Sample, label: str) -> Sample | None:
    """What counts for one label, or for ``ANY``; None if the picture does not count.

    It does not where the model does not know the label. Where `incorrect` was not told apart,
    neither finding it nor missing it says anything.
    """
    if label == ANY:
        return sample.of_any_label()
    known = label in sample.detections.classes
    told_apart = sample.picture.three_class or label != INCORRECT
    return sample.of_label(label) if known and told_apart else None


def for_label(samples: Iterable[Sample], label: str) -> list[Sample]:
    """The :func:`view` of every picture that counts for a label."""
    return [seen for seen in (view(sample, label) for sample in samples) if seen is not None]


def face_count(samples: Iterable[Sample]) -> int:
    """Number of faces, whatever their labels; those to be ignored are not counted."""
    return sum(not face.ignore for sample in samples for face in sample.picture.faces)


def face_counts(samples: Iterable[Sample]) -> dict[str, int]:
    """Number of faces of each label; those to be ignored are not counted."""
    faces = [face.label for s in samples for face in s.picture.faces if not face.ignore]
    return {label: faces.count(label) for label in LABELS}
