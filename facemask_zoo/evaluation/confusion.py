"""Which labels are taken for which, with what is missed and what is not there."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from facemask_zoo.datasets import LABELS
from facemask_zoo.evaluation.matching import outcomes
from facemask_zoo.evaluation.samples import ANY, Sample

BACKGROUND = "background"
"""Column of the faces that were missed, and row of the detections where no face is."""


@dataclasses.dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        labels: Names of rows and columns; the last is ``BACKGROUND``.
        counts: Rows are what is there, columns what was found.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def of(self, truth: str, found: str) -> int:
        """One cell."""
        return self.counts[self.labels.index(truth)][self.labels.index(found)]


def confusion(samples: Sequence[Sample], conf: float) -> Confusion:
    """Count what became of every face and every detection.

    Detections of faces of no class have a column of their own, ``ANY``.

    Args:
        samples: Faces and detections.
        conf: Detections that score more than this count.
    """
    plain = all(sample.detections.classes == (ANY,) for sample in samples)
    labels = (*LABELS, *([ANY] if plain and samples else []), BACKGROUND)
    counts = Counter(
        (outcome.face.label if outcome.face else BACKGROUND, outcome.label or BACKGROUND)
        for sample in samples
        for outcome in outcomes(sample.above(conf))
    )
    return Confusion(labels, tuple(tuple(counts[row, c] for c in labels) for row in labels))
