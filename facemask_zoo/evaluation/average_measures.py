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
from facemask_zoo.evaluation.figures import (
    Figure,
    Settings,
    Share,
    Slice,
    average_name,
    figures,
    recall_slices,
    slices,
)
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
        figures: The figures that detectors are compared by, with intervals if asked for.
        recalls: Recall of any class by label and by size, at the first rate of the settings.
        slices: The figures of each group and collection.
    """

    averages: Averages
    curves: Mapping[str, Curve]
    thresholds: Mapping[str, Sequence[Operating]]
    confusion: Confusion
    conf: float
    figures: Mapping[str, Figure]
    recalls: Mapping[str, Share]
    slices: Mapping[str, Slice]

    def row(self) -> dict[str, object]:
        """The line of the comparison."""
        labels = [label for label in LABELS if self.averages[label][ALL_SIZES].faces]
        kept = {average_name(label) for label in labels}
        row: dict[str, object] = {
            name: figure.value
            for name, figure in self.figures.items()
            if name in kept or figure.value is not None
        }
        row["AP50-95"] = self.averages[MEAN][ALL_SIZES].ap
        for label in labels:
            row[f"AP50{_SMALL} {label}"] = self.averages[label][_SMALL].ap50
        return row

    def to_dict(self) -> dict[str, Any]:
        """Everything but the curves' points, as JSON values."""
        return {
            "figures": _to_dicts(self.figures),
            "slices": _to_dicts(self.slices),
            "recall_any": _to_dicts(self.recalls),
            "average_precision": {
                label: {size: dataclasses.asdict(found[size]) for size in SIZES}
                for label, found in self.averages.items()
            },
            "thresholds": {
                label: [row.to_dict() for row in rows] for label, rows in self.thresholds.items()
            },
            "confusion": {"conf": self.conf, **dataclasses.asdict(self.confusion)},
        }


def measure(
    samples: Sequence[Sample], conf: float, settings: Settings | None = None
) -> AverageMeasures:
    """Measure a detector.

    Args:
        samples: Detections down to a low score.
        conf: Threshold of the confusion matrix.
        settings: How figures are made; without intervals if None.

    Raises:
        FrameworkNotInstalledError: faster-coco-eval is not installed.
    """
    chosen = settings or Settings()
    found = curves(samples)
    return AverageMeasures(
        average_precision(samples),
        found,
        threshold_table(found),
        confusion(samples, conf),
        conf,
        figures(samples, chosen),
        recall_slices(samples, chosen.rates[0]),
        slices(samples, chosen),
    )


def _to_dicts(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dataclasses.asdict(value) for name, value in values.items()}
