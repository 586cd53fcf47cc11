"""One model, on one framework, measured on one data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from facemask_zoo.datasets import Dataset
from facemask_zoo.detector import Detector
from facemask_zoo.errors import UnknownNameError
from facemask_zoo.evaluation.average_measures import AverageMeasures, measure
from facemask_zoo.evaluation.dataroots import Dataroots, dataroots
from facemask_zoo.evaluation.samples import Sample, collect, face_counts

MIN_SCORE = 0.01
"""Threshold of the detections that average precision is made of."""

Measures = AverageMeasures | Dataroots


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A way to measure.

    Attributes:
        measure: From samples and a threshold to the outcome.
        all_scores: Whether detections below the threshold are needed as well.
    """

    measure: Callable[[Sequence[Sample], float], Measures]
    all_scores: bool


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "ap": Protocol(measure, all_scores=True),
        "dataroots": Protocol(dataroots, all_scores=False),
    }
)
"""What can be measured: average precision and company, or the protocol of dataroots."""


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A measurement.

    Attributes:
        model: Name of the model.
        framework: Name of the framework.
        data: Annotation file or folder.
        conf: Threshold at which labels and mistakes are counted.
        iou: Overlap threshold of non-maximum suppression.
        nms: Its kind.
        min_score: Threshold of the detections in `samples`.
        samples: Pictures and detections.
        measures: The outcome.
    """

    model: str
    framework: str
    data: str
    conf: float
    iou: float
    nms: str
    min_score: float
    samples: Sequence[Sample]
    measures: Measures

    @property
    def name(self) -> str:
        """Model and framework."""
        return f"{self.model} on {self.framework}"

    def row(self) -> dict[str, object]:
        """The line of the comparison."""
        head = {"model": self.model, "framework": self.framework, "conf": f"{self.conf:g}"}
        return {**head, **self.measures.row()}

    def to_dict(self) -> dict[str, Any]:
        """Settings and outcome as JSON values."""
        return {
            "model": self.model,
            "framework": self.framework,
            "data": self.data,
            "pictures": len(self.samples),
            "faces": face_counts(self.samples),
            "conf": self.conf,
            "iou": self.iou,
            "nms": self.nms,
            "min_score": self.min_score,
            **self.measures.to_dict(),
        }


def evaluate(
    detector: Detector, dataset: Dataset, *, protocol: str = "ap", conf: float | None = None
) -> Run:
    """Measure a detector on a data set.

    Args:
        detector: Its own threshold is not used: average precision needs detections of all scores,
            and collects them down to ``MIN_SCORE``.
        dataset: A data set that :func:`facemask_zoo.datasets.check` has been through.
        protocol: A name in ``PROTOCOLS``.
        conf: Threshold for everything that needs one; the model's recommended one if None.

    Raises:
        UnknownNameError: There is no such protocol.
        ImageError: A picture cannot be read.
        FrameworkNotInstalledError: A package that measures is not installed.
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError.among("protocol", protocol, PROTOCOLS)
    chosen = PROTOCOLS[protocol]
    threshold = detector.card.conf if conf is None else conf
    lowest = min(MIN_SCORE, threshold) if chosen.all_scores else threshold
    samples = list(collect(dataclasses.replace(detector, conf=lowest), dataset.pictures))
    return Run(
        detector.card.name,
        detector.framework,
        str(dataset.path),
        threshold,
        detector.iou,
        detector.nms,
        lowest,
        samples,
        chosen.measure(samples, threshold),
    )
