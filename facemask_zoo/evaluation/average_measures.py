"""The usual measures of a detector, together: averages, curves, thresholds, confusion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from facemask_zoo.datasets.labels import LABELS
from facemask_zoo.evaluation.average_precision import (
    ALL_SIZES,
    MEAN,
    SIZES,
    Averages,
    average_precision,
)
from facemask_zoo.evaluation.confusion import Confusion, confusion
from facemask_zoo.evaluation.curves import Curve, Operating, curves, threshold_table
from facemask_zoo.evaluation.samples import Sample

_SMALL = "<32"


@dataclasses.dataclass(frozen=True, eq=False)
class AverageMeasures:
    """Measures of one model on one set of pictures.

    Attributes:
        averages: Average precision per label and size of face.
        curves: Precision and recall per label.
        thresholds: Precision, recall and F1 per label and threshold.
        confusion: Confusion matrix at the threshold `conf`.
        conf: The threshold of the confusion matrix.
    """

    averages: Averages
    curves: Mapping[str, Curve]
    thresholds: Mapping[str, Sequence[Operating]]
    confusion: Confusion
    conf: float

    def row(self) -> dict[str, object]:
        """The line of the comparison."""
        labels = [label for label in LABELS if self.averages[label][ALL_SIZES].faces]
        row: dict[str, object] = {
            f"AP50 {label}": self.averages[label][ALL_SIZES].ap50 for label in (*labels, MEAN)
        }
        row["AP50-95"] = self.averages[MEAN][ALL_SIZES].ap
        for label in labels:
            row[f"AP50{_SMALL} {label}"] = self.averages[label][_SMALL].ap50
        return row

    def to_dict(self) -> dict[str, Any]:
        """Everything but the curves' points, as JSON values."""
        return {
            "average_precision": {
                label: {size: dataclasses.asdict(found[size]) for size in SIZES}
                for label, found in self.averages.items()
            },
            "thresholds": {
                label: [row.to_dict() for row in rows] for label, rows in self.thresholds.items()
            },
            "confusion": {"conf": self.conf, **dataclasses.asdict(self.confusion)},
        }


def measure(samples: Sequence[Sample], conf: float) -> AverageMeasures:
    """Measure a detector.

    Args:
        samples: Detections down to a low score.
        conf: Threshold of the confusion matrix.

    Raises:
        FrameworkNotInstalledError: faster-coco-eval is not installed.
    """
    found = curves(samples)
    return AverageMeasures(
        average_precision(samples), found, threshold_table(found), confusion(samples, conf), conf
    )
