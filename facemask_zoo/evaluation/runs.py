"""One model, on one framework, measured on one data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from facemask_zoo.datasets import Dataset
from facemask_zoo.detections import Detections
from facemask_zoo.detector import Detector
from facemask_zoo.errors import InvalidArgumentError, UnknownNameError
from facemask_zoo.evaluation.average_measures import AverageMeasures, measure
from facemask_zoo.evaluation.dataroots import Dataroots, dataroots
from facemask_zoo.evaluation.figures import Settings
from facemask_zoo.evaluation.negatives import Negatives, count_false
from facemask_zoo.evaluation.results_file import with_results
from facemask_zoo.evaluation.samples import ANY, Sample, collect, face_counts

MIN_SCORE = 0.01
"""Threshold of the detections that average precision is made of."""

Measures = AverageMeasures | Dataroots


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A way to measure.

    Attributes:
        measure: From samples, a threshold and settings to the outcome.
        all_scores: Whether detections below the threshold are needed as well.
        classes: Whether detections need a class.
    """

    measure: Callable[[Sequence[Sample], float, Settings], Measures]
    all_scores: bool
    classes: bool


def _dataroots(samples: Sequence[Sample], conf: float, _: Settings) -> Measures:
    return dataroots(samples, conf)


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "ap": Protocol(measure, all_scores=True, classes=False),
        "dataroots": Protocol(_dataroots, all_scores=False, classes=True),
    }
)
"""What can be measured: average precision and company, or the protocol of dataroots."""


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A measurement.

    Attributes:
        model: Name of the model.
        framework: Name of the framework; empty for boxes from a file.
        data: Annotation file or folder.
        conf: Threshold at which labels and mistakes are counted.
        iou: Overlap threshold of non-maximum suppression; None for boxes from a file.
        nms: Its kind; None for boxes from a file.
        min_score: Threshold of the detections in `samples`; None for boxes from a file.
        samples: Pictures and detections.
        measures: The outcome.
        negatives: False boxes on pictures without faces; None if there were none.
        negative_samples: These pictures and their detections.
        tiles: Side of the smallest windows that pictures were searched in; None for none, and for
            boxes from a file.
    """

    model: str
    framework: str
    data: str
    conf: float
    iou: float | None
    nms: str | None
    min_score: float | None
    samples: Sequence[Sample]
    measures: Measures
    negatives: Negatives | None = None
    negative_samples: Sequence[Sample] = ()
    tiles: int | None = None

    @property
    def name(self) -> str:
        """Model and framework."""
        return f"{self.model} on {self.framework}" if self.framework else self.model

    def row(self) -> dict[str, object]:
        """The line of the comparison."""
        head = {"model": self.model, "framework": self.framework or None, "conf": f"{self.conf:g}"}
        row = {**head, **self.measures.row()}
        if self.negatives:
            row["false boxes"] = self.negatives.at[0].boxes
            row["pictures with one"] = self.negatives.at[0].pictures
        return row

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
            "tiles": self.tiles,
            "min_score": self.min_score,
            **self.measures.to_dict(),
            **({"negatives": self.negatives.to_dict()} if self.negatives else {}),
        }


@dataclasses.dataclass(frozen=True)
class Task:
    """What detectors are measured on, and how.

    Attributes:
        dataset: A data set that :func:`facemask_zoo.datasets.check` has been through.
        protocol: A name in ``PROTOCOLS``.
        settings: How figures are made; without intervals by default.
        negatives: Pictures without faces.
        thresholds: Thresholds at which false boxes on them are counted, beside the detector's own.

    Raises:
        UnknownNameError: There is no such protocol.
    """

    dataset: Dataset
    protocol: str = "ap"
    settings: Settings = dataclasses.field(default_factory=Settings)
    negatives: Dataset | None = None
    thresholds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise UnknownNameError.among("protocol", self.protocol, PROTOCOLS)

    def measure(self, samples: Sequence[Sample], conf: float) -> Measures:
        """The outcome of the protocol."""
        return PROTOCOLS[self.protocol].measure(samples, conf, self.settings)

    def count(self, samples: Sequence[Sample], conf: float) -> Negatives | None:
        """False boxes on pictures without faces, if there are such pictures."""
        return count_false(samples, (conf, *self.thresholds)) if samples else None


def evaluate(
    detector: Detector,
    dataset: Dataset | Task,
    *,
    protocol: str = "ap",
    conf: float | None = None,
) -> Run:
    """Measure a detector on a data set.

    Args:
        detector: Its own threshold is not used: average precision needs detections of all scores,
            and collects them down to ``MIN_SCORE``.
        dataset: A data set that :func:`facemask_zoo.datasets.check` has been through, or a task.
        protocol: A name in ``PROTOCOLS``; not used with a task.
        conf: Threshold for everything that needs one; the model's recommended one if None.

    Raises:
        UnknownNameError: There is no such protocol.
        ImageError: A picture cannot be read.
        FrameworkNotInstalledError: A package that measures is not installed.
    """
    task = dataset if isinstance(dataset, Task) else Task(dataset, protocol)
    threshold = detector.card.conf if conf is None else conf
    all_scores = PROTOCOLS[task.protocol].all_scores
    lowest = min(MIN_SCORE, threshold) if all_scores else threshold
    samples = list(collect(dataclasses.replace(detector, conf=lowest), task.dataset.pictures))
    low = dataclasses.replace(detector, conf=min((threshold, lowest, *task.thresholds)))
    negatives = list(collect(low, task.negatives.pictures)) if task.negatives else []
    return Run(
        detector.card.name,
        detector.framework,
        str(task.dataset.path),
        threshold,
        detector.iou,
        detector.nms,
        lowest,
        samples,
        task.measure(samples, threshold),
        task.count(negatives, threshold),
        negatives,
        detector.tiles,
    )


def evaluate_results(
    name: str,
    task: Task,
    results: Mapping[str, Detections],
    *,
    conf: float,
    on_negatives: Mapping[str, Detections] | None = None,
) -> Run:
    """Measure boxes that were read from a file.

    Args:
        name: What the detector is called.
        task: Pictures and protocol.
        results: See :func:`facemask_zoo.evaluation.results_file.read_results`.
        conf: Threshold for everything that needs one.
        on_negatives: The same for the task's pictures without faces; None if they are not known.

    Raises:
        InvalidArgumentError: The protocol needs classes, and there are none.
        FrameworkNotInstalledError: A package that measures is not installed.
    """
    samples = with_results(task.dataset, results)
    if PROTOCOLS[task.protocol].classes and any(s.detections.classes == (ANY,) for s in samples):
        raise InvalidArgumentError(
            f"{name}: the protocol {task.protocol!r} needs classes, but these are faces of none."
        )
    known = task.negatives is not None and on_negatives is not None
    negatives = with_results(task.negatives, on_negatives or {}) if known and task.negatives else []
    return Run(
        name,
        "",
        str(task.dataset.path),
        conf,
        None,
        None,
        None,
        samples,
        task.measure(samples, conf),
        task.count(negatives, conf),
        negatives,
    )
