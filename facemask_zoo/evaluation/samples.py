"""A labelled picture together with what a detector found in it."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from facemask_zoo.datasets import LABELS, Picture
from facemask_zoo.datasets.labels import INCORRECT
from facemask_zoo.detections import Detections

if TYPE_CHECKING:
    from facemask_zoo.detector import Detector

log = logging.getLogger(__name__)

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


def for_label(samples: Sequence[Sample], label: str) -> list[Sample]:
    """What counts for one label, reduced to it; nothing if the model does not know the label.

    Where `incorrect` was not told apart, neither finding it nor missing it says anything: such
    pictures are left out for that label.
    """
    return [
        sample.of_label(label)
        for sample in samples
        if label in sample.detections.classes and (sample.picture.three_class or label != INCORRECT)
    ]


def face_counts(samples: Iterable[Sample]) -> dict[str, int]:
    """Number of faces of each label; those to be ignored are not counted."""
    faces = [face.label for s in samples for face in s.picture.faces if not face.ignore]
    return {label: faces.count(label) for label in LABELS}
