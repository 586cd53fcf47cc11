"""What ``facemask-zoo eval`` is given, read and checked before anything runs."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from facemask_zoo.datasets import CheckReport, Dataset, check, read, read_negatives
from facemask_zoo.datasets.options import read_labels, split_pair
from facemask_zoo.detections import Detections
from facemask_zoo.errors import DatasetError, InvalidArgumentError
from facemask_zoo.evaluation.figures import Settings
from facemask_zoo.evaluation.negatives import last_by_name
from facemask_zoo.evaluation.results_file import read_results, with_results
from facemask_zoo.evaluation.runs import Task
from facemask_zoo.evaluation.samples import Sample
from facemask_zoo.ssd.postprocess import CONF

log = logging.getLogger(__name__)

RESULTS, FACES, ON_NEGATIVES = "--results", "--face-results", "--negative-results"

RESULT_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        RESULTS: "boxes of any detector, as COCO results with the categories of the data",
        FACES: "the same of a face detector: one category, whatever its id",
        ON_NEGATIVES: "what a detector of that name found on --negatives",
    }
)
"""Options that take files of results, and what they are for."""


@dataclasses.dataclass(frozen=True)
class Results:
    """Boxes from files, under a name.

    Attributes:
        name: What the detector is called.
        conf: Its threshold.
        detections: By picture id, for the pictures of the data.
        on_negatives: The same for the pictures without faces; None if they are not known.
    """

    name: str
    conf: float
    detections: Mapping[str, Detections]
    on_negatives: Mapping[str, Detections] | None


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Everything that is measured on.

    Attributes:
        check: What was found wrong with the data.
        task: Pictures and how to measure.
        results: Detectors of which there are boxes alone.
        second_opinions: What face detectors found in the pictures, above their thresholds.
    """

    check: CheckReport
    task: Task
    results: Sequence[Results]
    second_opinions: Sequence[Sequence[Sample]]


def read_inputs(args: argparse.Namespace) -> Inputs:
    """Read what the options of the command name.

    Raises:
        FaceMaskZooError: Something in it cannot be used.
    """
    whole = _read(args)
    negatives = _read_negatives(args)
    results = list(_read_results(args, whole, negatives))
    opinions = [
        (conf, read_results(path, whole, faces=True))
        for _, conf, path in _named_files("--second-opinion", args.second_opinion, args.conf)
    ]
    report = _check(args, whole)
    settings = Settings(tuple(args.rate), args.resamples, _groups(args.group, report.dataset))
    task = Task(report.dataset, args.protocol, settings, negatives, tuple(args.false_at))
    seen = [
        [sample.above(conf) for sample in with_results(report.dataset, found)]
        for conf, found in opinions
    ]
    return Inputs(report, task, results, seen)


def _read(args: argparse.Namespace) -> Dataset:
    labels = read_labels(args.label)
    return read(args.data, args.images, kind=args.format, labels=labels)


def _check(args: argparse.Namespace, dataset: Dataset) -> CheckReport:
    if args.sources:
        names = args.sources.split(",")
        _require_sources(dataset, names)
        dataset = dataset.from_sources(names)
    if args.limit is not None:
        if args.limit < 1:
            raise InvalidArgumentError(f"--limit: expected at least 1, but got {args.limit}.")
        dataset = dataset.first(args.limit)
    report = check(dataset)
    report.require_faces()
    log.info("%s", report.to_text())
    return report


def _read_negatives(args: argparse.Namespace) -> Dataset | None:
    if any(not 0 <= conf <= 1 for conf in args.false_at):
        raise InvalidArgumentError(f"--false-at: expected 0..1, but got {args.false_at}.")
    if args.negatives is None:
        for option, value in (
            ("--negatives-last", args.negatives_last),
            (ON_NEGATIVES, args.negative_results),
            ("--false-at", args.false_at),
        ):
            if value:
                raise InvalidArgumentError(f"{option} needs --negatives DIR.")
        return None
    report = check(last_by_name(read_negatives(args.negatives), args.negatives_last))
    if report.problems:
        raise DatasetError(f"Some pictures cannot be used.\n{report.to_text()}")
    return report.dataset


def _groups(texts: Iterable[str], dataset: Dataset) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, members = split_pair("--group", "NAME=A,B", text)
        if name in found or name in dataset.sources:
            raise InvalidArgumentError(f"--group: the name {name!r} is taken.")
        found[name] = tuple(members.split(","))
        _require_sources(dataset, found[name])
    return found


def _require_sources(dataset: Dataset, names: Iterable[str]) -> None:
    unknown = sorted(set(names).difference(dataset.sources))
    if unknown:
        raise DatasetError(
            f"No picture comes from {', '.join(unknown)}; there are {', '.join(dataset.sources)}."
        )


def _read_results(
    args: argparse.Namespace, dataset: Dataset, negatives: Dataset | None
) -> Iterator[Results]:
    """Boxes of every detector that is named, checked against all pictures of the data."""
    plain = list(_named_files(RESULTS, args.results, args.conf))
    faces = list(_named_files(FACES, args.face_results, args.conf))
    others = {name: path for name, _, path in _named_files(ON_NEGATIVES, args.negative_results)}
    names = [name for name, _, _ in (*plain, *faces)]
    if len(set(names)) < len(names):
        raise InvalidArgumentError(f"Each detector needs a name of its own, but got {names}.")
    unknown = sorted(others.keys() - set(names))
    if unknown:
        raise InvalidArgumentError(f"{ON_NEGATIVES}: no {RESULTS} of the name {unknown[0]!r}.")
    for number, (name, conf, path) in enumerate((*plain, *faces)):
        only_faces = number >= len(plain)
        found = read_results(path, dataset, faces=only_faces)
        false = None
        if negatives is not None and name in others:
            false = read_results(others[name], negatives, faces=only_faces, empty=True)
        yield Results(name, conf, found, false)


def _named_files(
    option: str, texts: Iterable[str], default: float | None = None
) -> Iterator[tuple[str, float, Path]]:
    """Name, threshold and file of each NAME[@CONF]=FILE."""
    for text in texts:
        head, file = split_pair(option, "NAME[@CONF]=FILE", text)
        name, _, stated = head.partition("@")
        try:
            conf = float(stated) if stated else (CONF if default is None else default)
        except ValueError:
            conf = -1.0
        if not 0 <= conf <= 1:
            raise InvalidArgumentError(f"{option}: expected a threshold of 0..1 in {text!r}.")
        yield name, conf, Path(file)
