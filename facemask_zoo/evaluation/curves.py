"""Precision and recall over all thresholds, at an overlap of .5."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.datasets import LABELS
from facemask_zoo.evaluation.pooled import pool
from facemask_zoo.evaluation.samples import ANY, Sample, face_count, for_label

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Thresholds of the threshold table: .05, .10, ... .95."""


@dataclasses.dataclass(frozen=True)
class Operating:
    """What a threshold gives for one label.

    Attributes:
        threshold: Detections that score more are reported.
        true_positives: Faces found, with the right label.
        false_positives: Detections that are not such a face.
        false_negatives: Faces not found, or with another label.
    """

    threshold: float
    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float | None:
        """Share of the detections that are right; None if there are none."""
        found = self.true_positives + self.false_positives
        return self.true_positives / found if found else None

    @property
    def recall(self) -> float | None:
        """Share of the faces that are found; None if there are none."""
        faces = self.true_positives + self.false_negatives
        return self.true_positives / faces if faces else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None if there is nothing to count."""
        total = 2 * self.true_positives + self.false_positives + self.false_negatives
        return 2 * self.true_positives / total if total else None

    def to_dict(self) -> dict[str, float | int | None]:
        """The counts and what follows from them, as JSON values."""
        return {
            **dataclasses.asdict(self),
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall of one label.

    Attributes:
        scores: (N,) scores of all detections that count, best first, in the detector's precision.
        hits: (N,) whether each found a face.
        faces: Number of faces.
    """

    scores: NDArray[np.float32]
    hits: NDArray[np.bool_]
    faces: int

    @property
    def precision(self) -> NDArray[np.float64]:
        """(N,) precision down to each detection."""
        return np.asarray(np.cumsum(self.hits) / np.arange(1, len(self.hits) + 1))

    @property
    def recall(self) -> NDArray[np.float64]:
        """(N,) recall down to each detection."""
        return np.asarray(np.cumsum(self.hits) / max(self.faces, 1), np.float64)

    def at(self, threshold: float) -> Operating:
        """What a threshold gives."""
        count = int(np.count_nonzero(self.scores > threshold))
        hits = int(self.hits[:count].sum())
        return Operating(threshold, hits, count - hits, self.faces - hits)


def curves(samples: Sequence[Sample]) -> dict[str, Curve]:
    """The curve of every label that has faces, and of ``ANY``."""
    views = {label: for_label(samples, label) for label in (*LABELS, ANY)}
    return {label: _curve(seen) for label, seen in views.items() if face_count(seen)}


def threshold_table(found: Mapping[str, Curve]) -> dict[str, list[Operating]]:
    """Every threshold of ``THRESHOLDS`` for every label."""
    return {label: [curve.at(t) for t in THRESHOLDS] for label, curve in found.items()}


def best_threshold(table: Sequence[Operating]) -> Operating:
    """The threshold of the highest F1; the lowest of several."""
    return max(table, key=lambda row: row.f1 or 0.0)


def _curve(samples: Sequence[Sample]) -> Curve:
    found = pool(samples)
    return Curve(found.scores, found.hits, len(found.faces))
