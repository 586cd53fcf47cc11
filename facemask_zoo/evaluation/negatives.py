"""False boxes on pictures that show no face."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from facemask_zoo.datasets import Dataset
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.evaluation.samples import Sample


@dataclasses.dataclass(frozen=True)
class FalseBoxes:
    """What a threshold lets through where there is nothing to find.

    Attributes:
        threshold: Detections that score more count.
        boxes: Number of detections.
        pictures: Number of pictures with at least one.
    """

    threshold: float
    boxes: int
    pictures: int


@dataclasses.dataclass(frozen=True)
class Negatives:
    """False boxes at some thresholds.

    Attributes:
        pictures: Number of pictures, all without faces.
        at: One entry per threshold; the first is the detector's own.
    """

    pictures: int
    at: tuple[FalseBoxes, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


def last_by_name(dataset: Dataset, count: int | None) -> Dataset:
    """The last pictures of a data set by the names of their files; all of them if None.

    Raises:
        InvalidArgumentError: There are not so many.
    """
    if count is None:
        return dataset
    if not 1 <= count <= len(dataset):
        raise InvalidArgumentError(
            f"expected 1 to {len(dataset)} pictures of {dataset.path}, but got {count}."
        )
    ordered = sorted(dataset.pictures, key=lambda picture: (picture.path.name, picture.path))
    return dataclasses.replace(dataset, pictures=tuple(ordered[-count:]))


def count_false(samples: Sequence[Sample], thresholds: Sequence[float]) -> Negatives:
    """Count the detections in pictures without faces.

    Args:
        samples: Detections down to the lowest threshold.
        thresholds: The detector's own first.
    """
    return Negatives(len(samples), tuple(_count(samples, each) for each in thresholds))


def _count(samples: Sequence[Sample], threshold: float) -> FalseBoxes:
    counts = [int(np.count_nonzero(s.detections.scores > threshold)) for s in samples]
    return FalseBoxes(threshold, sum(counts), int(np.count_nonzero(counts)))
