"""``facemask-zoo bench``: how fast every framework is on this machine."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.benchmarks import bench_plots, bench_results, bench_tables, environment, markdown
from facemask_zoo.benchmarks.accuracy_tables import read_runs
from facemask_zoo.benchmarks.bench_results import Results
from facemask_zoo.benchmarks.cases import (
    Case,
    Settings,
    check_models,
    import_seconds,
    in_process,
    limits,
    plan,
    prepared,
)
from facemask_zoo.cards import DEFAULT_MODEL
from facemask_zoo.converters.formats.registry import PRECISIONS
from facemask_zoo.errors import DeviceError
from facemask_zoo.evaluation.extras import require
from facemask_zoo.files import atomic_path, check_target
from facemask_zoo.images import read_size

log = logging.getLogger(__name__)

SECTION = "bench"
JSON_NAME, CSV_NAME = "results.json", "results.csv"
LATENCY_NAME, ACCURACY_NAME = "latency.png", "accuracy.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--model", nargs="+", default=[DEFAULT_MODEL], help="names or files")
    parser.add_argument(
        "--framework",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"of {', '.join(FRAMEWORKS)} (those installed)",
    )
    parser.add_argument(
        "--precision", nargs="+", default=["fp32"], metavar="NAME", help=", ".join(PRECISIONS)
    )
    parser.add_argument("--batch", nargs="+", type=int, default=[1], help="pictures at once (1)")
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--threads", nargs="+", type=int, default=[cores], help=f"CPU threads ({cores})"
    )
    parser.add_argument("--picture", default="", help="what to detect in (a drawing, 640 x 480)")
    _add_settings(parser)
    _add_outputs(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    standard = Settings()
    parser.add_argument(
        "--rounds", type=int, default=standard.rounds, help="processes of each case (%(default)s)"
    )
    parser.add_argument(
        "--warm-up", type=int, default=standard.warm_up, help="calls that do not count"
    )
    parser.add_argument("--repeats", type=int, default=standard.repeats, help="calls that count")
    parser.add_argument(
        "--trust", action="store_true", help="run files as they are, such as 8-bit integers"
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help=f"for {JSON_NAME}, {CSV_NAME}, {LATENCY_NAME}"
    )
    parser.add_argument(
        "--accuracy",
        type=Path,
        metavar="FILE",
        help=f"results.json of facemask-zoo eval, for {ACCURACY_NAME}",
    )
    parser.add_argument(
        "--compare", type=Path, metavar="OLD.json", help="also show ratios to an earlier run"
    )
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help=f"put a short table into its section {SECTION!r}"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results")


def run(args: argparse.Namespace) -> int:
    """Measure, write and print.

    Returns:
        1 if a case failed that the framework can do, else 0.

    Raises:
        FaceMaskZooError: An option, a model or an earlier file is not usable; nothing was measured.
    """
    settings = Settings(args.rounds, args.warm_up, args.repeats, args.picture, args.trust)
    cases = plan(args.framework, args.model, args.precision, args.batch, args.threads)
    old = bench_results.read(args.compare) if args.compare else None
    if old is not None:
        bench_results.check_comparable(old, cases, args.compare)
    runs = read_runs(args.accuracy) if args.accuracy else None
    _check_outputs(args)
    check_models(args.model, trust=args.trust)
    if args.picture:
        read_size(args.picture)
    results = measure(cases, settings)
    text = bench_tables.table(results)
    if old is not None:
        text += f"\n\n{bench_tables.comparison(bench_results.ratios(old, results))}"
    sys.stdout.write(text + "\n")
    if args.output:
        write(args.output, results, runs, overwrite=args.overwrite)
    if args.write:
        markdown.replace_section(args.write, SECTION, bench_tables.summary(results))
    return int(any(each["failed"] for each in results["skipped"]))


def measure(cases: Sequence[Case], settings: Settings) -> Results:
    """Measure every case, each in fresh processes, all in turns.

    Returns:
        JSON values, see ``bench_results``.

    Raises:
        DeviceError: No case runs here.
    """
    problems = prepared(cases, settings)
    if len(problems) == len(cases):
        raise DeviceError(f"No case runs here: {'; '.join(dict.fromkeys(problems.values()))}")
    found: dict[Case, list[dict[str, Any]]] = {case: [] for case in cases if case not in problems}
    rates: dict[int, list[dict[str, float]]] = {case.threads: [] for case in found}
    imports: list[float] = []
    for number in range(settings.rounds):
        imports += filter(None, [import_seconds().get("seconds")])
        for threads, measured in rates.items():
            measured.append(limits(threads, settings))
        for case, done in found.items():
            log.info("round %d of %d: %s", number + 1, settings.rounds, case)
            answer = in_process(case, settings)
            if "problem" in answer:
                problems[case] = str(answer["problem"])
            else:
                done.append(answer)
    best = {threads: _best(each) for threads, each in rates.items()}
    whole = {case: done for case, done in found.items() if case not in problems}
    if not whole or not imports:
        raise DeviceError(f"No case runs here: {'; '.join(dict.fromkeys(problems.values()))}")
    width, height = next(iter(whole.values()))[0]["picture"]
    return {
        "kind": bench_results.KIND,
        "schema": bench_results.SCHEMA,
        "machine": environment.describe(),
        "settings": dataclasses.asdict(settings),
        "picture": f"{settings.picture or 'a drawing'} of {width} x {height} pixels",
        "import_s": statistics.median(imports),
        "limits": {str(threads): each for threads, each in best.items()},
        "rows": [
            bench_results.row_of(case, done, best[case.threads]) for case, done in whole.items()
        ],
        "skipped": [
            {"case": str(case), "why": why, "failed": case in found}
            for case, why in problems.items()
        ],
    }


def write(
    folder: Path,
    results: Results,
    runs: Sequence[Mapping[str, Any]] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write results, table and pictures into a folder.

    Args:
        folder: Where; made if need be.
        results: Of :func:`measure`.
        runs: Of ``facemask-zoo eval``, for the picture of accuracy.
        overwrite: Replace files of an earlier run.
    """
    files = {
        JSON_NAME: (json.dumps(results, indent=1) + "\n").encode(),
        CSV_NAME: bench_results.to_csv(results["rows"]).encode(),
        LATENCY_NAME: bench_plots.latency(results["rows"]),
    }
    if runs is not None:
        files[ACCURACY_NAME] = bench_plots.accuracy(results["rows"], runs)
    for name, content in files.items():
        with atomic_path(folder / name, overwrite=overwrite) as temporary:
            temporary.write_bytes(content)


def _check_outputs(args: argparse.Namespace) -> None:
    """Before anything is measured: what is in the way, and what is missing."""
    if args.output:
        for name in (JSON_NAME, CSV_NAME, LATENCY_NAME, ACCURACY_NAME):
            check_target(args.output / name, overwrite=args.overwrite)
        require("matplotlib.figure")
    if args.write:
        markdown.check_section(args.write, SECTION)


def _best(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The highest rate of all rounds, by type."""
    good = [each for each in measured if "problem" not in each]
    return {name: max(each[name] for each in good) for name in (good[0] if good else {})}
