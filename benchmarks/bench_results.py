"""The results of a benchmark: gathered from processes, as JSON and CSV, and compared."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facemask_zoo.benchmarks.cases import Case
from facemask_zoo.benchmarks.timing import Summary
from facemask_zoo.benchmarks.worker import STAGES
from facemask_zoo.errors import DatasetError

KIND = "facemask-zoo bench"
SCHEMA = 1

WHOLES = ("network", "array", "file")
"""The network alone, and detection from arrays and from files in memory."""

Results = dict[str, Any]
Row = dict[str, Any]

_CASE_FIELDS = tuple(field.name for field in dataclasses.fields(Case))
_ONCE = ("import_s", "load_s", "first_result_s")


def row_of(case: Case, runs: Sequence[Mapping[str, Any]], rates: Mapping[str, float]) -> Row:
    """One row: what the processes of a case have measured together.

    Args:
        case: The case.
        runs: What ``worker.measure`` returned in each round.
        rates: Multiply-adds per second of matrix products with the case's threads, by precision.

    Returns:
        JSON values. Of the times, median and percentiles in milliseconds for the whole batch; of
        the stages, medians; `limit_ms` is what the multiply-adds would take as a matrix product,
        or None where the precision's rate was not measured.
    """
    times = {
        name: [value for run in runs for value in run["times"][name]] for name in (*WHOLES, *STAGES)
    }
    row: Row = {**dataclasses.asdict(case), "version": runs[0]["version"]}
    row |= {name: statistics.median(run[name] for run in runs) for name in _ONCE}
    row["peak_mb"] = max((run["peak_mb"] for run in runs if run["peak_mb"]), default=None)
    row |= {name: dataclasses.asdict(Summary.of(times[name])) for name in WHOLES}
    row["stages"] = {name: statistics.median(times[name]) for name in STAGES}
    row["pictures_per_s"] = {
        name: case.batch * 1000 / row["file"][end]
        for name, end in (("median", "median"), ("p10", "p90"), ("p90", "p10"))
    }
    row["multiply_adds"] = runs[0]["multiply_adds"]
    # Half precision is computed in single precision on the processors' backends.
    rate = rates.get("fp32" if case.precision == "fp16" else case.precision)
    row["limit_ms"] = case.batch * row["multiply_adds"] / rate * 1000 if rate else None
    return row


def read(path: Path) -> Results:
    """The results of an earlier run.

    Raises:
        DatasetError: The file is missing, or is not the results of a benchmark.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} holds no results: {error}") from error
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise DatasetError(f"{path} is not the results of facemask-zoo bench.")
    if found.get("schema") != SCHEMA:
        raise DatasetError(
            f"{path}: expected results of version {SCHEMA}, but got {found.get('schema')!r}."
        )
    rows = found.get("rows")
    if not isinstance(rows, list) or not rows or not all(map(_is_row, rows)):
        raise DatasetError(f"{path}: expected rows with a case and its times.")
    if not isinstance(found.get("machine"), dict):
        raise DatasetError(f"{path} does not say on what machine it was measured.")
    return found


def _is_row(row: object) -> bool:
    if not isinstance(row, dict) or not all(name in row for name in _CASE_FIELDS):
        return False
    return all(isinstance(row.get(name), dict) and _is_time(row[name]) for name in WHOLES)


def _is_time(summary: Mapping[str, Any]) -> bool:
    value = summary.get("median")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0  # type: ignore[arg-type, operator]


def case_of(row: Row) -> Case:
    """The case of a row."""
    return Case(**{name: row[name] for name in _CASE_FIELDS})


def check_comparable(old: Results, cases: Sequence[Case], path: Path) -> None:
    """Make sure that older results have at least one of the cases.

    Raises:
        DatasetError: They are of other frameworks, models or settings altogether.
    """
    known = {case_of(row) for row in old["rows"]}
    if not known & set(cases):
        raise DatasetError(
            f"{path} has none of these cases: it is of {', '.join(sorted(map(str, known))[:3])}, "
            f"but these are {', '.join(map(str, cases[:3]))}."
        )


def ratios(old: Results, new: Results) -> list[Row]:
    """For each case that both have, new time over old time of each whole."""
    before = {case_of(row): row for row in old["rows"]}
    return [
        {
            **dataclasses.asdict(case_of(row)),
            **{name: row[name]["median"] / before[case_of(row)][name]["median"] for name in WHOLES},
        }
        for row in new["rows"]
        if case_of(row) in before
    ]


def to_csv(rows: Sequence[Row]) -> str:
    """One line per row; what is nested becomes columns such as ``network_p90``."""
    flat = [_flat(row) for row in rows]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(dict.fromkeys(name for row in flat for name in row)))
    writer.writeheader()
    writer.writerows(flat)
    return buffer.getvalue()


def _flat(row: Row) -> Row:
    found: Row = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found |= {f"{name}_{part}": each for part, each in value.items()}
        else:
            found[name] = value
    return found
