"""The protocol by which dataroots measured its two-stage pipeline.

It asks one question of every face, "is it masked?", and looks at all labelled faces, those in
pictures without any detection included. Its rules:

- Overlaps count pixels inclusively (one is added to every side).
- All detections that overlap a face by more than .5 belong to it, also if they belong to another
  face as well. Of several, the one with the lowest masked score speaks for the face.
- The masked score of a detection is its score if its label is `mask`, else one minus it.
- A masked score above .5 says "masked".
- A face without detection is undetected. In the ROC it has the masked score 1.
- A detection that overlaps no face by more than .5 is spurious. The ROC leaves it out.

dataroots knows no `incorrect`. Its data call a mask below the chin "not masked", and so does this
module, in the labels and in the detections.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.datasets import Face
from facemask_zoo.datasets.labels import MASK
from facemask_zoo.evaluation.samples import Sample
from facemask_zoo.ssd.boxes import iou

IOU = 0.5
MASKED_SCORE = 0.5
UNDETECTED_SCORE = 1.0
LARGE = 0.1
"""Faces at least this wide, relative to the picture, are also counted on their own."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of one labelled face.

    Attributes:
        masked: Whether it is masked.
        score: Masked score of the detection that speaks for it; None if it is undetected.
        large: Whether it is at least ``LARGE`` wide.
    """

    masked: bool
    score: float | None
    large: bool = False

    @property
    def detected(self) -> bool:
        """Whether a detection belongs to it."""
        return self.score is not None

    @property
    def correct(self) -> bool:
        """Whether it is detected and its mask, or lack of one, is seen."""
        return self.score is not None and (self.score > MASKED_SCORE) == self.masked


@dataclasses.dataclass(frozen=True)
class Tally:
    """Faces of one kind, by what became of them."""

    correct: int
    wrong: int
    undetected: int

    @property
    def total(self) -> int:
        """All faces, the undetected included."""
        return self.correct + self.wrong + self.undetected


@dataclasses.dataclass(frozen=True)
class Dataroots:
    """The outcome for a set of pictures.

    Attributes:
        verdicts: One per labelled face.
        spurious_masked: Detections without a face that say "masked".
        spurious_unmasked: Detections without a face that say "not masked".
        duplicates: Detections of a face that a better one had already found.
    """

    verdicts: tuple[Verdict, ...]
    spurious_masked: int
    spurious_unmasked: int
    duplicates: int

    @property
    def masked(self) -> Tally:
        """The masked faces."""
        return self._tally(masked=True)

    @property
    def unmasked(self) -> Tally:
        """The faces without a mask, or with one that is worn incorrectly."""
        return self._tally(masked=False)

    @property
    def detected(self) -> int:
        """Number of faces that are detected."""
        return sum(verdict.detected for verdict in self.verdicts)

    @property
    def recall(self) -> float | None:
        """Share of the faces that are detected."""
        return _share(self.detected, len(self.verdicts))

    @property
    def recall_large(self) -> float | None:
        """Share of the large faces that are detected."""
        large = [verdict.detected for verdict in self.verdicts if verdict.large]
        return _share(sum(large), len(large))

    @property
    def precision(self) -> float | None:
        """Detected faces, as a share of these and the spurious detections."""
        spurious = self.spurious_masked + self.spurious_unmasked
        return _share(self.detected, self.detected + spurious)

    @property
    def detector_precision(self) -> float | None:
        """The same, with duplicates counted as false."""
        false = self.spurious_masked + self.spurious_unmasked + self.duplicates
        return _share(self.detected, self.detected + false)

    @property
    def true_negative_rate(self) -> float | None:
        """Unmasked faces that are called so, of all unmasked faces, the undetected included."""
        return _share(self.unmasked.correct, self.unmasked.total)

    @property
    def false_negative_rate(self) -> float | None:
        """Masked faces that are called unmasked, of all masked faces, the undetected included."""
        return _share(self.masked.wrong, self.masked.total)

    @property
    def accuracy_on_detected(self) -> float | None:
        """Share of the detected faces that are called what they are."""
        return _share(self.masked.correct + self.unmasked.correct, self.detected)

    @property
    def roc(self) -> NDArray[np.float64]:
        """(T, 3) false positive rate, true positive rate and threshold, from (0, 0) to (1, 1).

        Positive means masked. Without faces of both kinds there is no curve, and T is 0.
        """
        truth = np.array([verdict.masked for verdict in self.verdicts], np.bool_)
        if truth.all() or not truth.any():
            return np.empty((0, 3))
        scores = np.array([_roc_score(verdict) for verdict in self.verdicts])
        order = np.argsort(-scores, kind="stable")
        ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
        rates = [np.cumsum(kind[order])[ends] / kind.sum() for kind in (~truth, truth)]
        start = [[0.0, 0.0, np.inf]]
        return np.concatenate([start, np.stack([*rates, scores[order][ends]], axis=1)])

    @property
    def auc(self) -> float | None:
        """Area under the ROC; None without faces of both kinds."""
        roc = self.roc
        if not len(roc):
            return None
        x, y = roc[:, 0], roc[:, 1]
        return float(((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum())

    def row(self) -> dict[str, object]:
        """The line of the comparison."""
        unmasked, masked = self.unmasked, self.masked
        return {
            "unmasked ok/wrong/undetected": "/".join(map(str, dataclasses.astuple(unmasked))),
            "masked ok/wrong/undetected": "/".join(map(str, dataclasses.astuple(masked))),
            "spurious mask/no mask": f"{self.spurious_masked}/{self.spurious_unmasked}",
            "recall": self.recall,
            "precision": self.precision,
            "TNR": self.true_negative_rate,
            "FNR": self.false_negative_rate,
            "accuracy": self.accuracy_on_detected,
            "AUC": self.auc,
        }

    def to_dict(self) -> dict[str, Any]:
        """Counts, rates and the ROC as JSON values."""
        return {
            "masked": dataclasses.asdict(self.masked),
            "unmasked": dataclasses.asdict(self.unmasked),
            "spurious_masked": self.spurious_masked,
            "spurious_unmasked": self.spurious_unmasked,
            "duplicates": self.duplicates,
            "recall": self.recall,
            "recall_large": self.recall_large,
            "precision": self.precision,
            "detector_precision": self.detector_precision,
            "true_negative_rate": self.true_negative_rate,
            "false_negative_rate": self.false_negative_rate,
            "accuracy_on_detected": self.accuracy_on_detected,
            "auc": self.auc,
            "roc": [[x, y] for x, y, _ in self.roc.tolist()],
        }

    def _tally(self, *, masked: bool) -> Tally:
        kind = [verdict for verdict in self.verdicts if verdict.masked == masked]
        correct = sum(verdict.correct for verdict in kind)
        detected = sum(verdict.detected for verdict in kind)
        return Tally(correct, detected - correct, len(kind) - detected)


def dataroots(samples: Sequence[Sample], conf: float) -> Dataroots:
    """Measure by the protocol.

    Args:
        samples: Every labelled picture, also those without detections. Ignored faces are left out,
            and so are detections of them.
        conf: Detections that score more than this count.
    """
    verdicts: list[Verdict] = []
    spurious_masked = spurious = duplicates = 0
    for sample in (sample.above(conf) for sample in samples):
        faces = [face for face in sample.picture.faces if not face.ignore]
        overlap = inclusive_iou(sample.detections.boxes, _corners(faces))
        scores = masked_scores(sample)
        width = sample.picture.size[0]
        verdicts += [
            _judge(face, scores[overlap[:, i] > IOU], width) for i, face in enumerate(faces)
        ]
        everything = inclusive_iou(sample.detections.boxes, sample.picture.boxes)
        alone = ~(everything > IOU).any(axis=1)
        spurious += int(alone.sum())
        spurious_masked += int((scores[alone] > MASKED_SCORE).sum())
        duplicates += _count_duplicates(overlap)
    return Dataroots(tuple(verdicts), spurious_masked, spurious - spurious_masked, duplicates)


def masked_scores(sample: Sample) -> NDArray[np.float64]:
    """(N,) how sure each detection is that there is a mask, 0..1."""
    scores = np.asarray(sample.detections.scores, np.float64)
    says_mask = np.array([label == MASK for label in sample.detections.labels], np.bool_)
    return np.where(says_mask, scores, 1 - scores)


def inclusive_iou(
    first: NDArray[np.floating[Any]], second: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Intersection over union where a box from pixel 0 to pixel 9 is ten pixels wide.

    Args:
        first: (N, 4) corners in pixels.
        second: (M, 4) corners in pixels.

    Returns:
        (N, M) overlaps.
    """
    ends = np.array([0.0, 0.0, 1.0, 1.0])
    return iou(np.asarray(first, np.float64) + ends, np.asarray(second, np.float64) + ends)


def _judge(face: Face, scores: NDArray[np.float64], width: int) -> Verdict:
    lowest = float(scores.min()) if len(scores) else None
    large = face.box[2] - face.box[0] >= LARGE * width
    return Verdict(face.label == MASK, lowest, large)


def _roc_score(verdict: Verdict) -> float:
    return UNDETECTED_SCORE if verdict.score is None else verdict.score


def _count_duplicates(overlap: NDArray[np.float64]) -> int:
    """Detections of faces beyond one for each face, taken best score first."""
    free = np.ones(overlap.shape[1], np.bool_)
    duplicates = 0
    for row in overlap:
        hits = row > IOU
        if not hits.any():
            continue
        best = int(np.where(hits & free, row, -1).argmax())
        if hits[best] and free[best]:
            free[best] = False
        else:
            duplicates += 1
    return duplicates


def _corners(faces: Sequence[Face]) -> NDArray[np.float64]:
    return np.array([face.box for face in faces], np.float64).reshape(-1, 4)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
