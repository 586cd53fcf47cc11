"""Which detection found which face: the greedy, one-to-one rule of COCO."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.datasets import Face
from facemask_zoo.evaluation.samples import Sample
from facemask_zoo.ssd.boxes import iou

IOU = 0.5
"""Overlap from which on a detection counts as having found a face."""

NOTHING = -1
IGNORED = -2


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A face, a detection, or both where they belong together.

    Attributes:
        face: The face; None for a detection where there is none.
        label: Label of the detection; None for a face that was missed.
        score: Score of the detection; 0 for a face that was missed.
        box: Corners of the face, or else of the detection, in pixels.
    """

    face: Face | None
    label: str | None
    score: float
    box: tuple[float, float, float, float]


def match(sample: Sample, threshold: float = IOU) -> NDArray[np.int64]:
    """Give every detection the face that it found, whatever their labels.

    Each detection, best score first, takes the free face that it overlaps most. Failing that, a
    detection of which a share of `threshold` lies in an ignored face is ignored.

    Args:
        sample: Faces and detections.
        threshold: Smallest overlap.

    Returns:
        (N,) index into the picture's faces, ``NOTHING`` or ``IGNORED`` per detection.
    """
    faces, ignored = sample.picture.boxes, sample.picture.ignored
    found = np.asarray(sample.detections.boxes, np.float64)
    result = np.where(_inside(found, faces[ignored]) >= threshold, IGNORED, NOTHING)
    counting = np.flatnonzero(~ignored)
    overlap = iou(found, faces[counting])
    for index in np.flatnonzero((overlap >= threshold).any(axis=1)):
        best = overlap[index].argmax()
        if overlap[index, best] >= threshold:
            result[index] = counting[best]
            overlap[:, best] = 0
    return result.astype(np.int64)


def outcomes(sample: Sample, threshold: float = IOU) -> list[Outcome]:
    """Everything that was found, then everything that was missed, without what is ignored."""
    faces, detections = sample.picture.faces, sample.detections
    matches = match(sample, threshold)
    result = []
    for index, target in enumerate(matches.tolist()):
        if target != IGNORED:
            face = faces[target] if target != NOTHING else None
            x1, y1, x2, y2 = detections.boxes[index].tolist()
            box = face.box if face else (x1, y1, x2, y2)
            score = float(detections.scores[index])
            result.append(Outcome(face, detections.labels[index], score, box))
    missed = set(range(len(faces))).difference(matches.tolist())
    result += [
        Outcome(faces[index], None, 0.0, faces[index].box)
        for index in sorted(missed)
        if not faces[index].ignore
    ]
    return result


def _inside(found: NDArray[np.float64], regions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) largest share of each box that lies in one of the regions."""
    if not len(regions):
        return np.zeros(len(found))
    low = np.maximum(found[:, None, :2], regions[None, :, :2])
    high = np.minimum(found[:, None, 2:], regions[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=-1).max(axis=1)
    area = np.prod(found[:, 2:] - found[:, :2], axis=-1)
    return np.asarray(common / np.maximum(area, np.finfo(np.float64).tiny))
