"""Average precision against measured time, as one picture.

Accuracy comes from the results of ``facemask-zoo eval``, time is measured here: the network alone,
one picture at a time, all detectors in turns so that they see the same machine. With ``--times`` an
earlier measurement is read instead.

Usage: python -m facemask_zoo.benchmarks.accuracy_plot --results out/results.json
           [--peer 'YuNet-n=yunet.onnx@448x352'] [--save-times times.json | --times times.json]
           --output docs/pictures/accuracy-against-time.png [--overwrite]
"""

from __future__ import annotations

import argparse
import io
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facemask_zoo.benchmarks import environment
from facemask_zoo.benchmarks.accuracy_tables import read_runs
from facemask_zoo.benchmarks.face_peers import OnnxYuNet, Options
from facemask_zoo.benchmarks.timing import times_in_turns
from facemask_zoo.detector import Detector
from facemask_zoo.errors import DatasetError, InvalidArgumentError
from facemask_zoo.evaluation.average_precision import MEAN
from facemask_zoo.evaluation.extras import require
from facemask_zoo.evaluation.figures import average_name
from facemask_zoo.evaluation.samples import ANY
from facemask_zoo.files import atomic_path, check_target, write_json

WARM_UP = 10
ROUNDS, REPEATS = 5, 20
THREADS = 2
_MULTIPLE = 32
_MILLISECONDS = "milliseconds"
_DOT = 5
# Of the text: points to the right and up, and its side that is there; the last if none is free.
_OFFSETS = (
    (6, 0, "left"),
    (-6, 0, "right"),
    (4, 9, "left"),
    (4, -9, "left"),
    (-4, 9, "right"),
    (-4, -9, "right"),
    (0, 12, "center"),
)
_CURVES = {average_name(MEAN): "mask and no_mask, mean", average_name(ANY): "faces of any class"}


class Point(NamedTuple):
    """One detector: milliseconds, and its AP50 by name of the figure."""

    name: str
    time: float
    figures: Mapping[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure or read the times, and draw."""
    args = _parser().parse_args(arguments)
    runs = read_runs(*args.results)
    for path in filter(None, (args.output, args.save_times)):
        check_target(path, overwrite=args.overwrite)
    times = read_times(args.times) if args.times else measure(runs, args.peer, args.threads)
    if args.save_times:
        _save_times(args.save_times, times, args)
    with atomic_path(args.output, overwrite=args.overwrite) as path:
        path.write_bytes(draw(points(runs, times)))
    return 0


def measure(
    runs: Iterable[Mapping[str, Any]], peers: Iterable[str], threads: int
) -> dict[str, float]:
    """Median time of every detector, in milliseconds.

    Args:
        runs: Those with a framework are run on it.
        peers: ``NAME=FILE@WxH`` of each network of the YuNet family.
        threads: CPU threads.
    """
    calls = dict(_peer(text, threads) for text in peers)
    for run in runs:
        if run["framework"]:
            loaded = Detector.load(run["model"], framework=run["framework"], threads=threads)
            shape = loaded.card.detector.graph.input_shape
            calls[run["model"]] = _call(loaded.forward, (1, *shape))
    return median_times(calls)


def median_times(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median milliseconds of each call, all in turns."""
    found = times_in_turns(calls, ROUNDS, WARM_UP, REPEATS)
    return {name: statistics.median(values) for name, values in found.items()}


def read_times(path: Path) -> dict[str, float]:
    """The times of an earlier measurement.

    Raises:
        DatasetError: The file is missing or holds no times.
    """
    try:
        times = {str(k): float(v) for k, v in json.loads(path.read_bytes())[_MILLISECONDS].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} holds no times: {error!r}") from error
    if not all(math.isfinite(value) and value > 0 for value in times.values()):
        raise DatasetError(f"{path}: expected times above 0, but got {times}.")
    return times


def points(runs: Iterable[Mapping[str, Any]], times: Mapping[str, float]) -> list[Point]:
    """Every detector that has figures and a time.

    Raises:
        DatasetError: None has both.
    """
    found = [
        Point(run["model"], times[run["model"]], _known(run.get("figures", {})))
        for run in runs
        if run["model"] in times
    ]
    if not any(point.figures for point in found):
        raise DatasetError(f"No detector has figures and a time; times: {', '.join(times)}.")
    return found


def draw(found: Sequence[Point]) -> bytes:
    """One diagram per figure as a PNG file.

    Raises:
        FrameworkNotInstalledError: matplotlib is not installed.
    """
    figure = require("matplotlib.figure").Figure(figsize=(9.6, 4.6), dpi=90, layout="constrained")
    labels = []
    for axes, (name, title) in zip(
        figure.subplots(1, 2, sharex=True), _CURVES.items(), strict=True
    ):
        shown = [point for point in found if name in point.figures]
        for point in shown:
            axes.plot(point.time, point.figures[name], "o", markersize=_DOT)
        axes.set(title=title, xlabel="milliseconds a picture, network alone", ylabel="AP50")
        axes.margins(x=0.1, y=0.12)
        axes.set_xlim(left=0)
        axes.grid(visible=True, linewidth=0.4)
        labels.append((axes, {point.name: (point.time, point.figures[name]) for point in shown}))
    figure.draw_without_rendering()  # settles where the axes are
    for axes, places in labels:
        _label(axes, places)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _label(axes: Any, places: Mapping[str, tuple[float, float]]) -> None:
    """Name each point where the text covers no other text or point, if there is such a place."""
    dots = axes.transData.transform(list(places.values()))
    bbox = require("matplotlib.transforms").Bbox
    taken = [bbox.from_bounds(x - _DOT / 2, y - _DOT / 2, _DOT, _DOT) for x, y in dots]
    inside = axes.get_window_extent()
    for name, place in places.items():
        for across, up, side in _OFFSETS:
            text = axes.annotate(
                name,
                place,
                xytext=(across, up),
                textcoords="offset points",
                fontsize="small",
                ha=side,
                va="center",
            )
            box = text.get_window_extent()
            free = inside.x0 <= box.x0 and box.x1 <= inside.x1 and box.count_overlaps(taken) == 0
            if free or (across, up, side) == _OFFSETS[-1]:
                taken.append(box)
                break
            text.remove()


def _known(figures: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    values = {name: figures[name]["value"] for name in _CURVES if name in figures}
    return {name: value for name, value in values.items() if value is not None}


def _peer(text: str, threads: int) -> tuple[str, Callable[[], object]]:
    name, _, rest = text.partition("=")
    file, _, size = rest.rpartition("@")
    sides = [int(side) if side.isdecimal() else 0 for side in size.split("x")]
    if not (name and file) or len(sides) != 2 or any(s < 1 or s % _MULTIPLE for s in sides):
        raise InvalidArgumentError(
            f"--peer: expected NAME=FILE@WxH with multiples of {_MULTIPLE}, but got {text!r}."
        )
    network = OnnxYuNet(Path(file), Options(threads=threads))
    return name, _call(network.forward, (1, 3, sides[1], sides[0]))


def _call(forward: Callable[[Any], object], shape: tuple[int, ...]) -> Callable[[], object]:
    batch = np.random.default_rng(1).random(shape, dtype=np.float32)
    return lambda: forward(batch)


def _save_times(path: Path, times: Mapping[str, float], args: argparse.Namespace) -> None:
    content = {_MILLISECONDS: times, "threads": args.threads, "machine": environment.describe()}
    write_json(path, content, overwrite=args.overwrite)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Draw accuracy against time.")
    parser.add_argument(
        "--results", type=Path, nargs="+", required=True, help="results.json of eval"
    )
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=FILE@WxH")
    parser.add_argument("--threads", type=int, default=THREADS)
    times = parser.add_mutually_exclusive_group()
    times.add_argument("--times", type=Path, help="use these instead of measuring")
    times.add_argument("--save-times", type=Path, help="write what was measured")
    parser.add_argument("--output", type=Path, required=True, help="the PNG file")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier files")
    return parser


if __name__ == "__main__":
    sys.exit(main())
