"""Pictures of a benchmark: latency by framework, and average precision against latency."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from facemask_zoo.benchmarks.bench_results import Row
from facemask_zoo.benchmarks.bench_tables import title
from facemask_zoo.errors import DatasetError
from facemask_zoo.evaluation.average_precision import MEAN
from facemask_zoo.evaluation.extras import require
from facemask_zoo.evaluation.figures import average_name

_SCORE = average_name(MEAN)


def latency(rows: Sequence[Row]) -> bytes:
    """A bar for each row, by stage: the network, and what is around it; a mark at its limit.

    Returns:
        A PNG file.

    Raises:
        FrameworkNotInstalledError: matplotlib is not installed.
    """
    figure = new_figure(8.4, 1.2 + 0.32 * len(rows))
    axes = figure.subplots()
    names = [_name(row) for row in rows]
    network = [row["network"]["median"] / row["batch"] for row in rows]
    around = [
        max(0.0, row["file"]["median"] / row["batch"] - own)
        for row, own in zip(rows, network, strict=True)
    ]
    places = range(len(rows))
    axes.barh(places, network, label="network alone")
    axes.barh(places, around, left=network, label="around it, from a file")
    limits = [(at, row) for at, row in zip(places, rows, strict=True) if row["limit_ms"]]
    axes.plot(
        [row["limit_ms"] / row["batch"] for _, row in limits],
        [at for at, _ in limits],
        "k|",
        markersize=10,
        label="as a matrix product",
    )
    axes.set_yticks(list(places), names, fontsize="small")
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds a picture")
    axes.legend(fontsize="small")
    return png(figure)


def accuracy(rows: Sequence[Row], runs: Iterable[Mapping[str, Any]]) -> bytes:
    """AP50 against milliseconds, for every row whose model has been evaluated.

    Args:
        rows: Of a benchmark.
        runs: Of ``results.json`` of ``facemask-zoo eval``.

    Returns:
        A PNG file.

    Raises:
        DatasetError: No row's model has a figure.
        FrameworkNotInstalledError: matplotlib is not installed.
    """
    scores = {run["model"]: run.get("figures", {}).get(_SCORE, {}).get("value") for run in runs}
    points = [
        (row["file"]["median"] / row["batch"], scores[row["model"]], _name(row))
        for row in rows
        if scores.get(row["model"]) is not None
    ]
    if not points:
        raise DatasetError(f"No model of the benchmark was evaluated; there are {list(scores)}.")
    figure = new_figure(8.4, 5)
    axes = figure.subplots()
    for time, score, name in points:
        axes.plot(time, score, "o", markersize=4)
        axes.annotate(name, (time, score), xytext=(3, 3), textcoords="offset points", fontsize=6)
    axes.set(xlabel="milliseconds a picture, from a file", ylabel="AP50, mask and no_mask")
    axes.set_xlim(left=0)
    axes.margins(x=0.2, y=0.1)
    axes.grid(visible=True, linewidth=0.4)
    return png(figure)


def _name(row: Row) -> str:
    return (
        f"{title(row['framework'])}, {row['model']}, {row['precision']}, "
        f"{row['batch']} x {row['threads']}"
    )


def new_figure(width: float, height: float) -> Any:
    """An empty figure of so many inches.

    Raises:
        FrameworkNotInstalledError: matplotlib is not installed.
    """
    figure = require("matplotlib.figure")
    return figure.Figure(figsize=(width, height), dpi=90, layout="constrained")


def png(figure: Any) -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
