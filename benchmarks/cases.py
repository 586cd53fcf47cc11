"""What is benchmarked, and how a case is measured in a process of its own."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import time
from collections.abc import Sequence
from typing import Any

from facemask_zoo.backends import FRAMEWORKS, find_framework
from facemask_zoo.benchmarks.processes import run_python
from facemask_zoo.cards import DETECTION
from facemask_zoo.converters.formats.registry import PRECISIONS
from facemask_zoo.errors import (
    FrameworkNotInstalledError,
    InvalidArgumentError,
    UnknownNameError,
    WeightsError,
)
from facemask_zoo.store import open_weights

log = logging.getLogger(__name__)

_IMPORT = """
import time
start = time.perf_counter()
import facemask_zoo
print('{"seconds": %f}' % (time.perf_counter() - start))
"""


@dataclasses.dataclass(frozen=True)
class Case:
    """One combination that is measured; what `compare` looks for in an older file."""

    framework: str
    model: str
    precision: str
    batch: int
    threads: int

    def __str__(self) -> str:
        return (
            f"{self.framework} {self.model} {self.precision}, "
            f"batch {self.batch}, {self.threads} threads"
        )


@dataclasses.dataclass(frozen=True)
class Settings:
    """How cases are measured.

    Attributes:
        rounds: Processes of each case, all cases in turns.
        warm_up: Calls of each process that do not count.
        repeats: Calls of each process that count.
        picture: Path of the picture, or empty for a drawing of 640 x 480 pixels.
        trust: Run files as they are.
    """

    rounds: int = 3
    warm_up: int = 10
    repeats: int = 30
    picture: str = ""
    trust: bool = False

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("warm_up", 0), ("repeats", 1)):
            if getattr(self, name) < least:
                raise InvalidArgumentError(
                    f"{name}: expected at least {least}, but got {getattr(self, name)}."
                )


def plan(
    frameworks: Sequence[str],
    models: Sequence[str],
    precisions: Sequence[str],
    batches: Sequence[int],
    threads: Sequence[int],
) -> list[Case]:
    """Every combination; all that can be wrong with them is refused before anything is measured.

    Args:
        frameworks: Names; those installed if empty.
        models: Names or files.
        precisions: Of ``converters.formats.registry.PRECISIONS``.
        batches: Pictures at once.
        threads: CPU threads.

    Raises:
        UnknownNameError: There is no such framework, model or precision.
        FrameworkNotInstalledError: A framework that is named is not installed; or none is.
        InvalidArgumentError: There is nothing to measure, or a number is not positive.
        FaceMaskZooError: The weights cannot be had.
    """
    chosen = list(frameworks) or [name for name, row in FRAMEWORKS.items() if row.installed]
    if not chosen:
        raise FrameworkNotInstalledError("No framework is installed.")
    for name in chosen:
        row = find_framework(name)
        if not row.installed:
            raise FrameworkNotInstalledError(
                f"{row.title} is not installed. Run: {row.install_command}"
            )
    for precision in precisions:
        if precision not in PRECISIONS:
            raise UnknownNameError.among("precision", precision, PRECISIONS)
    for what, numbers in (("batch", batches), ("threads", threads)):
        if any(number < 1 for number in numbers):
            raise InvalidArgumentError(f"{what}: expected positive numbers, but got {numbers}.")
    combinations = itertools.product(models, chosen, precisions, batches, threads)
    cases = [Case(f, m, p, b, t) for m, f, p, b, t in combinations]
    if not cases:
        raise InvalidArgumentError("There is nothing to measure: no model, or no precision.")
    return list(dict.fromkeys(cases))


def check_models(models: Sequence[str], *, trust: bool) -> None:
    """Fetch every model and make sure that it is a detector.

    Raises:
        UnknownNameError: There is no such model.
        WeightsError: It is none, or damaged.
        DownloadError: It cannot be fetched.
    """
    for model in models:
        weights = open_weights(model, trust=trust)
        if weights.card.task != DETECTION:
            raise WeightsError(f"{weights.card.name!r} is no detector.")
        if not trust:
            weights.fetch()


def in_process(case: Case, settings: Settings) -> dict[str, Any]:
    """Measure one case in a fresh process.

    Returns:
        What ``worker.measure`` returns; ``{"problem": ...}`` if it failed.
    """
    task = {
        "case": dataclasses.asdict(case),
        "settings": dataclasses.asdict(settings),
        "started": time.time(),
    }
    return run_python("-m", "facemask_zoo.benchmarks.worker", json.dumps(task))


def limits(threads: int, settings: Settings) -> dict[str, Any]:
    """What ``limit.rates`` returns, from a fresh process."""
    words = ["--threads", str(threads), "--repeats", str(settings.repeats)]
    return run_python("-m", "facemask_zoo.benchmarks.limit", *words)


def import_seconds() -> dict[str, Any]:
    """Seconds that ``import facemask_zoo`` takes in a fresh process."""
    return run_python("-c", _IMPORT)


def prepared(cases: Sequence[Case], settings: Settings) -> dict[Case, str]:
    """Run each case once, so that every native file is written before the clock counts.

    Returns:
        What is wrong with those that do not run.
    """
    once = dataclasses.replace(settings, rounds=1, warm_up=0, repeats=1)
    seen: dict[tuple[str, str, str], str] = {}
    problems = {}
    for case in cases:
        key = (case.framework, case.model, case.precision)
        if key not in seen:
            log.info("preparing %s", case)
            seen[key] = str(in_process(case, once).get("problem", ""))
        if seen[key]:
            problems[case] = seen[key]
    return problems
