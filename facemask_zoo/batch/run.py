"""From sources to one table, whichever engine does the work."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from facemask_zoo.batch.job import Job
from facemask_zoo.batch.parts import Part
from facemask_zoo.batch.staging import Staging, count, opened
from facemask_zoo.batch.units import IMAGE_COLUMN, Unit, plan
from facemask_zoo.errors import FaceMaskZooError, InvalidArgumentError, OutputError
from facemask_zoo.extras import require
from facemask_zoo.files import Sources, check_target
from facemask_zoo.session import place
from facemask_zoo.version import __version__


class Engine(Protocol):
    """Whatever turns units into parts."""

    def facts(self, job: Job) -> dict[str, Any]:
        """:meth:`Job.facts`, as a worker sees them."""

    def run(self, job: Job, units: Iterator[Unit]) -> Iterator[Part]:
        """Work on units, and yield their parts in any order."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        done: Pictures of this call so far.
        errors: How many of them could not be read.
        share: Of the whole run, 0..1; about, since a tar does not say how many it holds.
        share_before: What of that was done by calls that were cut off.
    """

    done: int
    errors: int
    share: float
    share_before: float


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a run wrote.

    Attributes:
        rows: Pictures.
        errors: How many of them could not be read.
    """

    rows: int
    errors: int


def run(
    sources: Sequence[str | os.PathLike[str]],
    target: str | os.PathLike[str],
    engine: Engine,
    *,
    loading: Mapping[str, Any] | None = None,
    column: str = IMAGE_COLUMN,
    key: str | None = None,
    overwrite: bool = False,
    report: Callable[[Progress], object] = lambda _: None,
) -> Summary:
    """Find the faces in any number of pictures and write them as one Parquet file.

    The same call goes on with a run that was cut off. Sources are listed once, when a run begins.

    Args:
        sources: Pictures, tar shards, Parquet files, folders with all below them, and globs.
        target: Parquet file; its parts lie in ``<target>.parts`` until it is whole.
        engine: Does the work.
        loading: Arguments of :meth:`Detector.load`.
        column: Of Parquet files, where the pictures are.
        key: Of Parquet files, the column that names them.
        overwrite: Replace `target` once the new one is whole.
        report: Is told how far the run has come, after each part.

    Raises:
        OutputError: Something is in the way, belongs to another run, or cannot be written.
        ImageError: A source is missing or holds no pictures.
        InvalidArgumentError: A Parquet file lacks a column, or there is no source.
        EngineError: Workers cannot be had, or die.
        FaceMaskZooError: The model cannot be loaded.
    """
    require("pyarrow", "batch")
    names, goal = [os.fspath(source) for source in sources], Path(os.path.abspath(target))
    if not names:
        raise InvalidArgumentError("sources: expected at least one.")
    if goal.is_dir():
        raise OutputError(f"{goal} is a folder: expected a file to write.")
    Sources(names).check(goal)
    loading = dict(loading or {})
    if "model" in loading:
        loading["model"] = place(loading["model"])
    with opened(goal, overwrite=overwrite) as staging:
        if not staging.has_begun:
            check_target(goal, overwrite=overwrite)  # before the model is loaded
        job, settings = _resolved(engine, Job(loading))
        settings |= {
            "sources": [os.path.abspath(name) for name in names],
            "column": column,
            "key": key,
        }
        if staging.is_finished(settings):
            staging.remove()
        else:
            aside = (str(goal), str(staging.folder))
            staging.start(settings, plan(names, column=column, key=key, without=aside))
            _work(engine, job, staging, report)
            staging.finish()
    return Summary(*count(goal))


def _resolved(engine: Engine, job: Job) -> tuple[Job, dict[str, Any]]:
    """The job on the framework that a worker has chosen, and what the rows depend on."""
    facts = engine.facts(job)
    if "problem" in facts:
        raise FaceMaskZooError(facts["problem"])
    return job.on(facts["framework"]), {"version": __version__, **facts}


def _work(engine: Engine, job: Job, staging: Staging, report: Callable[[Progress], object]) -> None:
    before = staging.done
    rows = errors = 0
    for part in engine.run(job, staging.waiting()):
        if staging.add(part):
            rows += part.rows
            errors += part.errors
            units = max(1, staging.units)
            report(Progress(rows, errors, staging.done / units, before / units))
