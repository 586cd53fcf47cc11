"""A benchmark's results as a table, for people, for README and for docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.benchmarks import markdown
from facemask_zoo.benchmarks.bench_results import Results, Row, case_of
from facemask_zoo.benchmarks.worker import STAGES

HEADER = (
    "Framework",
    "Model",
    "Precision",
    "Batch",
    "Threads",
    "Network: median (p10-p90, p99)",
    "Limit",
    "From array",
    "From file",
    "read + prepare + network + decode",
    "Pictures/s",
    "First result",
    "Peak memory",
)


def table(results: Results) -> str:
    """All rows in Markdown, times in milliseconds for the whole batch, and how they were taken."""
    lines = [_line(row) for row in results["rows"]]
    return f"{markdown.table(HEADER, lines)}\n\n{conditions(results)}"


def summary(results: Results) -> str:
    """The rows of one picture at a time, in few columns, for README."""
    header = (
        "Framework",
        "Model",
        "Precision",
        "Network",
        "From file",
        "Pictures/s",
        "Peak memory",
    )
    lines = [
        (
            title(row["framework"]),
            f"`{row['model']}`",
            str(row["precision"]),
            f"{row['network']['median']:.1f} ms",
            f"{row['file']['median']:.1f} ms",
            f"{row['pictures_per_s']['median']:.0f}",
            f"{row['peak_mb']:.0f} MB" if row["peak_mb"] else "-",
        )
        for row in results["rows"]
        if row["batch"] == 1
    ]
    machine = results["machine"]
    threads = sorted({row["threads"] for row in results["rows"]})
    foot = (
        f"Median times of one picture, {' or '.join(map(str, threads))} threads, "
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}. Made by "
        f"`make bench` ([more, and how](docs/performance.md))."
    )
    return f"{markdown.table(header, lines)}\n\n{foot}"


def conditions(results: Results) -> str:
    """One paragraph: machine, settings, and what was left out."""
    settings, machine = results["settings"], results["machine"]
    rates = ", ".join(
        f"{rate / 1e9:.0f} G {name} with {threads} threads"
        for threads, found in results["limits"].items()
        for name, rate in found.items()
    )
    skipped = "".join(
        f" Not measured: {each['case']} ({each['why']})." for each in results["skipped"]
    )
    return (
        f"Milliseconds for the whole batch, median of {settings['rounds']} processes x "
        f"{settings['repeats']} calls after {settings['warm_up']} that do not count, on "
        f"{results['picture']}. Limit: the network's multiply-adds as a matrix product; measured "
        f"multiply-adds a second: {rates}. Import of the package "
        f"{results['import_s']:.2f} s. {machine['processor']} ({machine['instruction_sets']}), "
        f"{machine['cores']} cores, {machine['system']}, Python {machine['python']}, "
        f"facemask_zoo {machine['facemask_zoo']}.{skipped}"
    )


def comparison(ratios: Sequence[Row]) -> str:
    """New time over old time in Markdown: below 1 is faster."""
    header = ("Case", "Network", "From array", "From file")
    lines = [
        (str(case_of(row)), *(f"{row[name]:.2f}" for name in ("network", "array", "file")))
        for row in ratios
    ]
    return markdown.table(header, lines)


def _line(row: Row) -> tuple[str, ...]:
    limit = row["limit_ms"]
    return (
        title(row["framework"]),
        str(row["model"]),
        str(row["precision"]),
        str(row["batch"]),
        str(row["threads"]),
        _spread(row["network"]),
        f"{limit:.1f} ({limit / row['network']['median']:.0%})" if limit else "-",
        f"{row['array']['median']:.1f}",
        f"{row['file']['median']:.1f}",
        " + ".join(f"{row['stages'][stage]:.1f}" for stage in STAGES),
        f"{row['pictures_per_s']['median']:.1f}",
        f"{row['first_result_s']:.2f} s",
        f"{row['peak_mb']:.0f} MB" if row["peak_mb"] else "-",
    )


def title(framework: str) -> str:
    """What people call a framework; one that is not known by its name."""
    return FRAMEWORKS[framework].title if framework in FRAMEWORKS else framework


def _spread(summary: Mapping[str, Any]) -> str:
    return (
        f"{summary['median']:.1f} ({summary['p10']:.1f}-{summary['p90']:.1f}, {summary['p99']:.1f})"
    )
