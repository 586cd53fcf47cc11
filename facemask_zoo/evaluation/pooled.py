"""Detections of many pictures in one order, matched once, so that figures are counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.evaluation.matching import IGNORED, IOU, NOTHING, match
from facemask_zoo.evaluation.samples import Sample

MAX_DETECTIONS = 100
"""Best detections per picture and label that count, as in COCO."""

_NOT_FOUND = -1.0
_LEVELS = np.linspace(0, 1, 101)

Weights = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """What became of every detection and of every face of some pictures, at one overlap.

    What is ignored is left out.

    Attributes:
        scores: (N,) scores of the detections, best first, in the detector's precision.
        hits: (N,) whether each found a face.
        pictures: (N,) index of each one's picture.
        counting: (P,) whether each picture counts.
        found_at: (F,) score of the detection that found each face; below zero if none did.
        faces: (F, 2) index of each face's picture, and of the face in it.
    """

    scores: NDArray[np.float32]
    hits: NDArray[np.bool_]
    pictures: NDArray[np.int64]
    counting: NDArray[np.bool_]
    found_at: NDArray[np.float64]
    faces: NDArray[np.int64]

    def average_precision(self, weights: Weights | None = None) -> float | None:
        """Mean of the best precision at 101 levels of recall, as in COCO.

        Args:
            weights: (P,) how often each picture counts; once if None.

        Returns:
            0..1, or None without faces.
        """
        true, false, faces = self._counts(weights)
        if not faces:
            return None
        precision = true / np.maximum(true + false, 1)
        best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)
        return float(best[np.searchsorted(true / faces, _LEVELS, side="left")].mean())

    def recall_at(self, rate: float, weights: Weights | None = None) -> float | None:
        """Highest recall of all thresholds that let at most `rate` false boxes a picture through.

        Args:
            rate: False detections per picture.
            weights: (P,) how often each picture counts; once if None.

        Returns:
            0..1, or None without faces.
        """
        true, false, faces = self._counts(weights)
        if not faces:
            return None
        count = self._within(rate, false, weights)
        return float(true[count - 1] / faces) if count else 0.0

    def threshold_at(self, rate: float) -> float:
        """Score of the last detection that :meth:`recall_at` lets through; infinite if none is."""
        count = self._within(rate, self._counts(None)[1], None)
        return float(self.scores[count - 1]) if count else float("inf")

    def _within(self, rate: float, false: Weights, weights: Weights | None) -> int:
        """How many of the detections a threshold may let through; equal scores go together."""
        allowed = rate * int(np.sum(self._per_picture(weights)))
        ends = np.flatnonzero(np.append(np.diff(self.scores) != 0, np.True_)[: len(self.scores)])
        index = int(np.searchsorted(false[ends], allowed + 1e-9, side="right"))
        return int(ends[index - 1]) + 1 if index else 0

    def _counts(self, weights: Weights | None) -> tuple[Weights, Weights, int]:
        """(N,) true and (N,) false detections down to each, and the number of faces."""
        per_picture = self._per_picture(weights)
        each = per_picture[self.pictures]
        true = np.cumsum(np.where(self.hits, each, 0))
        return true, np.cumsum(each) - true, int(per_picture[self.faces[:, 0]].sum())

    def _per_picture(self, weights: Weights | None) -> Weights:
        ones = self.counting.astype(np.int64)
        return ones if weights is None else ones * weights


def pool(samples: Sequence[Sample | None], overlap: float = IOU) -> Pool:
    """Match every picture and pool what was found.

    Args:
        samples: Pictures; None for one that does not count, so that indices stay.
        overlap: Smallest overlap at which a face is found.
    """
    scores = [np.empty(0, np.float32)]
    hits = [np.empty(0, np.bool_)]
    pictures = [np.empty(0, np.int64)]
    found_at = [np.empty(0)]
    faces = [np.empty((0, 2), np.int64)]
    for number, sample in enumerate(samples):
        if sample is None:
            continue
        best = Sample(sample.picture, sample.detections[:MAX_DETECTIONS])
        targets = match(best, overlap)
        kept = targets != IGNORED
        scores.append(best.detections.scores[kept])
        hits.append(targets[kept] != NOTHING)
        pictures.append(np.full(np.count_nonzero(kept), number))
        counting = np.flatnonzero(~sample.picture.ignored)
        found_at.append(_found_at(best, targets)[counting])
        faces.append(np.stack([np.full(len(counting), number), counting], axis=1))
    confidence = np.concatenate(scores)
    order = np.argsort(-confidence, kind="stable")
    return Pool(
        confidence[order],
        np.concatenate(hits)[order],
        np.concatenate(pictures)[order],
        np.array([sample is not None for sample in samples], np.bool_),
        np.concatenate(found_at),
        np.concatenate(faces),
    )


def _found_at(sample: Sample, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """(F,) score at which each face of a picture was found."""
    result = np.full(len(sample.picture.faces), _NOT_FOUND)
    found = targets >= 0
    result[targets[found]] = sample.detections.scores[found]
    return result
