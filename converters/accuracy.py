"""What a conversion costs in average precision, on labelled pictures."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean

from facemask_zoo.backends import Options, find_framework
from facemask_zoo.converters.formats.registry import Format
from facemask_zoo.datasets import Dataset, check, read
from facemask_zoo.detector import Detector
from facemask_zoo.evaluation.average_measures import AverageMeasures
from facemask_zoo.evaluation.average_precision import ALL_SIZES
from facemask_zoo.evaluation.runs import evaluate
from facemask_zoo.graph.signature import Signature
from facemask_zoo.model import Model
from facemask_zoo.model_files import write

MAX_AP_LOSS = 0.01
"""Largest loss of the mean AP50 that a conversion may cost, unless another is given."""


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Average precision of a written file, and of its source in full precision.

    Attributes:
        framework: Name of the framework that both ran on.
        data: Annotation file or folder.
        pictures: Number of pictures.
        before: AP50 of the source, by label.
        after: AP50 of the written file, by label.
        bound: Largest loss of their mean that is accepted.
    """

    framework: str
    data: str
    pictures: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    bound: float

    @property
    def loss(self) -> float:
        """By how much the mean over the labels is lower; below zero if it is higher."""
        return fmean(self.before.values()) - fmean(self.after.values())

    @property
    def acceptable(self) -> bool:
        """Whether the loss is within the bound."""
        return self.loss <= self.bound

    def to_text(self) -> str:
        """One line for people."""
        labels = ", ".join(
            f"{label} {self.after[label]:.3f} ({self.after[label] - before:+.3f})"
            for label, before in self.before.items()
        )
        return f"AP50 on {self.framework}, {self.pictures} pictures: {labels}"


def load_judges(data: str | os.PathLike[str], images: str | os.PathLike[str] | None) -> Dataset:
    """The labelled pictures to judge by; what is wrong with some is left out.

    Args:
        data: Annotations in any form that :func:`facemask_zoo.datasets.read` takes.
        images: Folder of the pictures; None for the usual one.

    Raises:
        DatasetError: They cannot be read, or no face is left.
    """
    return check(read(data, images)).require_faces()


def judge(
    path: Path,
    row: Format,
    written: Model,
    source: Model,
    frameworks: Iterable[str],
    dataset: Dataset,
    bound: float = MAX_AP_LOSS,
) -> tuple[Accuracy, ...]:
    """Measure a file that was just written, and its source, in the same way.

    Args:
        path: The written file.
        row: Its format.
        written: What was written.
        source: What it was made from; it is written in the same format, in full precision.
        frameworks: Names of the frameworks to run both on.
        dataset: The labelled pictures.
        bound: Largest loss that is accepted.

    Raises:
        FaceMaskZooError: A picture cannot be read, or a package that measures is missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        original = Path(folder) / f"source{row.suffix}"
        write(source, original, row.name)
        return tuple(
            Accuracy(
                framework=name,
                data=str(dataset.path),
                pictures=len(dataset.pictures),
                before=_average_precisions(source, original, name, dataset),
                after=_average_precisions(written, path, name, dataset),
                bound=bound,
            )
            for name in frameworks
        )


def _average_precisions(
    model: Model, path: Path, framework: str, dataset: Dataset
) -> dict[str, float]:
    """AP50 of every label that the model knows and the pictures show."""
    backend = find_framework(framework).backend()(path, Signature.of(model.graph), Options())
    detector = Detector(model.card, framework, backend, nms=model.card.nms)
    measures = evaluate(detector, dataset).measures
    assert isinstance(measures, AverageMeasures)
    found = {label: slices[ALL_SIZES].ap50 for label, slices in measures.averages.items()}
    return {
        label: ap50
        for label, ap50 in found.items()
        if ap50 is not None and label in model.card.classes
    }
