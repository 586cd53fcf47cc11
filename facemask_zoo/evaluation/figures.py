"""The figures by which detectors are compared, with bootstrap intervals."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from facemask_zoo.datasets.labels import LABELS, MASK, NO_MASK
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.evaluation.average_precision import MEAN, SIZES, half
from facemask_zoo.evaluation.pooled import Pool, Weights, pool
from facemask_zoo.evaluation.samples import ANY, Sample, face_counts, view

RATE = 0.1
"""False boxes a picture at which recall is stated, unless others are asked for."""

LOOSE_IOU = 0.3
"""Overlap at which recall is stated: habits of drawing boxes differ by more than detectors do."""

RESAMPLES = 1000
COVERAGE = 0.95
_SEED = 0

_Measure = Callable[[Weights | None], float | None]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How figures are made.

    Attributes:
        rates: False boxes a picture at which recall is stated.
        resamples: Bootstrap resamples; 0 for no intervals.
        groups: Collections that are also measured together, by name of the group.

    Raises:
        InvalidArgumentError: A rate is not a positive number, or there are too few resamples.
    """

    rates: tuple[float, ...] = (RATE,)
    resamples: int = 0
    groups: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for rate in self.rates:
            if not 0 < rate < float("inf"):
                raise InvalidArgumentError(f"rate: expected a number above 0, but got {rate}.")
        if self.resamples < 0:
            raise InvalidArgumentError(f"resamples: expected 0 or more, but got {self.resamples}.")


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        value: On all pictures; None where there is no face.
        low: Lower end of the interval; None if it was not asked for.
        high: Its upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Share:
    """How many of some faces were found."""

    found: int
    faces: int

    @property
    def value(self) -> float | None:
        """The share; None without faces."""
        return self.found / self.faces if self.faces else None


@dataclasses.dataclass(frozen=True)
class Slice:
    """Figures on a part of the pictures.

    Attributes:
        sources: The collections in it.
        pictures: Number of pictures.
        faces: Number of faces of each label; those to be ignored are not counted.
        figures: As on all pictures.
    """

    sources: tuple[str, ...]
    pictures: int
    faces: Mapping[str, int]
    figures: Mapping[str, Figure]


def recall_name(rate: float) -> str:
    """Name of the figure "recall at so many false boxes a picture"."""
    return f"recall at {rate:g}"


def average_name(label: str) -> str:
    """Name of the figure "average precision of a label at an overlap of .5"."""
    return f"AP50 {label}"


def figures(samples: Sequence[Sample], settings: Settings) -> dict[str, Figure]:
    """Average precision per label and of any class, and recall of any class at some rates.

    Args:
        samples: Detections down to a low score.
        settings: Rates and resamples.
    """
    measures = _measures(samples, settings.rates)
    draws = resample([sample.picture.group for sample in samples], settings.resamples)
    return {name: _figure(measure, draws) for name, measure in measures.items()}


def recall_slices(samples: Sequence[Sample], rate: float) -> dict[str, Share]:
    """Recall of any class by label and by size, at one threshold for all.

    Args:
        samples: Detections down to a low score.
        rate: The threshold lets this many false boxes a picture through.

    Returns:
        By label, and by name in ``SIZES``.
    """
    loose = _loose(samples)
    found = loose.found_at >= loose.threshold_at(rate)
    faces = [samples[picture].picture.faces[index] for picture, index in loose.faces]
    slices = {label: [face.label == label for face in faces] for label in LABELS} | {
        name: [low <= face.side < high for face in faces] for name, (low, high) in SIZES.items()
    }
    return {
        name: Share(int(np.count_nonzero(found[np.array(chosen, np.bool_)])), sum(chosen))
        for name, chosen in slices.items()
    }


def slices(samples: Sequence[Sample], settings: Settings) -> dict[str, Slice]:
    """Figures of every group, with intervals, and of every collection, without.

    Args:
        samples: Detections down to a low score.
        settings: Rates, resamples and groups.
    """
    collections = {sample.picture.source for sample in samples}
    groups = {name: tuple(members) for name, members in settings.groups.items()}
    plain = dataclasses.replace(settings, resamples=0)
    found = {name: _slice(samples, members, settings) for name, members in groups.items()}
    if len(collections) > 1:
        found |= {name: _slice(samples, (name,), plain) for name in sorted(collections)}
    return found


def resample(groups: Sequence[str], count: int, seed: int = _SEED) -> Weights:
    """Draw pictures with replacement, those of one group together.

    Args:
        groups: Group of each of the P pictures; one without a group is its own.
        count: Number of draws.
        seed: Same seed, same draws.

    Returns:
        (count, P) how often each picture was drawn.
    """
    names = [group or number for number, group in enumerate(groups)]
    units = {name: index for index, name in enumerate(dict.fromkeys(names))}
    if not units:
        return np.zeros((count, 0), np.int64)
    chances = np.full(len(units), 1 / len(units))
    drawn = np.random.default_rng(seed).multinomial(len(units), chances, size=count)
    return np.asarray(drawn[:, [units[name] for name in names]], np.int64)


def _slice(samples: Sequence[Sample], members: tuple[str, ...], settings: Settings) -> Slice:
    chosen = [sample for sample in samples if sample.picture.source in members]
    return Slice(members, len(chosen), face_counts(chosen), figures(chosen, settings))


def _measures(samples: Sequence[Sample], rates: Sequence[float]) -> dict[str, _Measure]:
    pools = {label: pool([view(s, label) for s in samples]) for label in (*LABELS, ANY)}
    averages = {label: found.average_precision for label, found in pools.items()}
    loose = _loose(samples)

    def mean(weights: Weights | None) -> float | None:
        return half(averages[MASK](weights), averages[NO_MASK](weights))

    return {
        **{average_name(label): averages[label] for label in LABELS},
        average_name(MEAN): mean,
        average_name(ANY): averages[ANY],
        **{recall_name(rate): functools.partial(loose.recall_at, rate) for rate in rates},
    }


def _loose(samples: Sequence[Sample]) -> Pool:
    return pool([sample.of_any_label() for sample in samples], LOOSE_IOU)


def _figure(measure: _Measure, draws: Weights) -> Figure:
    value = measure(None)
    drawn = [each for each in map(measure, draws) if each is not None]
    if value is None or not drawn:
        return Figure(value)
    low, high = np.quantile(drawn, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Figure(value, float(low), float(high))
