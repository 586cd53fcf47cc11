"""The order in which ``framework="auto"`` tries frameworks, from the results of a benchmark.

Usage: python -m facemask_zoo.benchmarks.fastest results.json [--write fastest.json]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facemask_zoo.backends import FASTEST
from facemask_zoo.benchmarks import bench_results
from facemask_zoo.cards import DEFAULT_MODEL
from facemask_zoo.errors import DatasetError
from facemask_zoo.files import write_json
from facemask_zoo.processor import kind_of
from facemask_zoo.terminal import guarded


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the order and, if asked, put it into the table in place of an earlier one."""
    parser = argparse.ArgumentParser(description="Record which frameworks are fastest.")
    parser.add_argument("results", type=Path, help="results.json of facemask-zoo bench")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help=f"table to write into; the package reads {FASTEST.name} beside its backends",
    )
    args = parser.parse_args(arguments)
    kind, record = order(bench_results.read(args.results))
    sys.stdout.write(f"{kind}: {', '.join(record['frameworks'])}\n")
    if args.write:
        write_json(
            args.write, dict(sorted((_table(args.write) | {kind: record}).items())), overwrite=True
        )
    return 0


def order(results: bench_results.Results) -> tuple[str, dict[str, Any]]:
    """The frameworks of a benchmark, fastest first.

    What counts is one detection of the default model in an array, at full precision and with as
    many threads as were measured.

    Args:
        results: Of ``facemask-zoo bench``.

    Returns:
        Kind of the processor; and the names, their milliseconds, and where they were measured.

    Raises:
        DatasetError: The default model was not measured so; or the processor is of no known kind.
    """
    machine = results["machine"]
    kind = kind_of(str(machine.get("instruction_sets", "")).split())
    if kind is None:
        raise DatasetError("The results do not say which instruction sets the processor has.")
    rows = [
        row
        for row in results["rows"]
        if (row["model"], row["precision"], row["batch"]) == (DEFAULT_MODEL, "fp32", 1)
    ]
    if not rows:
        raise DatasetError(f"The results have no row of {DEFAULT_MODEL}, fp32, one picture.")
    most = max(row["threads"] for row in rows)
    times = {row["framework"]: row["array"]["median"] for row in rows if row["threads"] == most}
    names = sorted(times, key=times.__getitem__)
    return kind, {
        "frameworks": names,
        "milliseconds": {name: round(times[name], 2) for name in names},
        "threads": most,
        "machine": machine,
    }


def _table(path: Path) -> dict[str, Any]:
    """What was recorded for other kinds of processors.

    Raises:
        DatasetError: The file is missing, or holds something else.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} holds no table of frameworks: {error}") from error
    if not isinstance(found, dict) or not all(
        isinstance(record, dict) and "frameworks" in record for record in found.values()
    ):
        raise DatasetError(f"{path} is not a table of the fastest frameworks.")
    return found


if __name__ == "__main__":
    sys.exit(guarded(main, "fastest"))
