"""How time and memory grow with pictures, their size, faces, the batch and threads.

Each dimension is measured in a process of its own, from the smallest value to the largest, so that
the peak of memory belongs to the value. The exponent is the slope of the logarithms over the upper
half of the values: 1 is linear growth, less is better.

Usage: python -m facemask_zoo.benchmarks.growth [--model zoo-260] [--framework onnx] [--threads 2]
           [--dimension NAME ...] [--output growth.json] [--plot growth.png] [--overwrite]
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import logging
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facemask_zoo.benchmarks import environment, markdown
from facemask_zoo.benchmarks.bench_plots import new_figure, png
from facemask_zoo.benchmarks.cases import check_models, plan
from facemask_zoo.benchmarks.memory import peak_megabytes
from facemask_zoo.benchmarks.processes import run_python, write_answer
from facemask_zoo.benchmarks.timing import times_of
from facemask_zoo.benchmarks.worker import PICTURE_SIZE, encoded, network_alone
from facemask_zoo.cards import DEFAULT_MODEL
from facemask_zoo.detector import Detector
from facemask_zoo.errors import DeviceError, FaceMaskZooError, UnknownNameError
from facemask_zoo.evaluation.extras import require
from facemask_zoo.files import atomic_path, check_target, write_json
from facemask_zoo.images import load_image
from facemask_zoo.ssd import anchors, encode, postprocess
from facemask_zoo.ssd.postprocess import IOU
from facemask_zoo.terminal import guarded

log = logging.getLogger(__name__)

KIND = "facemask-zoo growth"
MODULE = "facemask_zoo.benchmarks.growth"

_WARM_UP = 2
_FACE_SIDE = 0.7  # of the distance between two faces

Calls = Iterator[tuple[int, Callable[[], object]]]
"""Values of a dimension, each with the call that is timed."""


@dataclasses.dataclass(frozen=True)
class Dimension:
    """What grows.

    Attributes:
        title: What it is, with its unit.
        calls: Makes the calls, from the smallest value on.
        values: The values.
        bound: Largest exponent that counts as no worse than linear, with room for noise.
    """

    title: str
    calls: Callable[[argparse.Namespace, Sequence[int]], Calls]
    values: tuple[int, ...]
    bound: float = 1.1


def _load(args: argparse.Namespace, threads: int | None = None) -> Detector:
    return Detector.load(args.model, framework=args.framework, threads=threads or args.threads)


def _pictures(args: argparse.Namespace, values: Sequence[int]) -> Calls:
    detector, data = _load(args), encoded("")
    for count in values:
        yield count, lambda n=count: [len(detector.detect(data)) for _ in range(n)]  # type: ignore[misc]


def _sizes(args: argparse.Namespace, values: Sequence[int]) -> Calls:
    """In thousands of pixels, 4 : 3."""
    detector = _load(args)
    picture = Image.fromarray(load_image(encoded("")))
    for thousands in values:
        height = round((thousands * 1000 * 3 / 4) ** 0.5)
        array = np.asarray(picture.resize((height * 4 // 3, height)))
        yield thousands, lambda a=array: detector.detect(a)  # type: ignore[misc]


def _faces(args: argparse.Namespace, values: Sequence[int]) -> Calls:
    """Outputs that hold so many faces, and what is made of them without the network."""
    card = _load(args).card
    for count in values:
        loc, scores = outputs_with(card.detector, count)
        call = functools.partial(postprocess, loc, scores, card.detector, PICTURE_SIZE)
        yield count, functools.partial(call, conf=card.conf, iou=IOU, kind=card.nms)


def _batches(args: argparse.Namespace, values: Sequence[int]) -> Calls:
    detector, array = _load(args), load_image(encoded(""))
    for count in values:
        yield count, network_alone(detector, array, count)


def _threads(args: argparse.Namespace, values: Sequence[int]) -> Calls:
    array = load_image(encoded(""))
    for count in values:
        yield count, network_alone(_load(args, count), array, 1)


DIMENSIONS = {
    "pictures": Dimension("pictures, one by one", _pictures, (1, 10, 30, 100)),
    "size": Dimension("thousand pixels of an array", _sizes, (77, 307, 1229, 4915, 12000)),
    "faces": Dimension("faces in the outputs", _faces, (1, 10, 100, 300, 1000, 2000)),
    "batch": Dimension("pictures in a batch", _batches, (1, 2, 4, 8, 16, 32)),
    "threads": Dimension("threads, network alone", _threads, (1, 2, 4, 8), bound=0.25),
}


def outputs_with(network: Any, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Raw outputs of a network that sees `count` faces side by side, two anchors on each.

    Returns:
        Offsets (A, 4) and scores (A, C).
    """
    places = anchors(network)
    loc = np.zeros(places.shape, np.float32)
    scores = np.zeros((len(places), len(network.classes)), np.float32)
    columns = int(np.ceil(count**0.5))
    row, column = np.divmod(np.arange(count), columns)
    corner = np.stack([column, row], axis=1) / columns
    boxes = np.concatenate([corner, corner + _FACE_SIDE / columns], axis=1)
    for share in range(2):
        chosen = np.arange(count) * 2 + share
        loc[chosen] = encode(boxes, places[chosen], network.variances)
        scores[chosen, 0] = 0.9 - 0.1 * share
    return loc, scores


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and, if asked, write results and picture."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    if args.worker:
        write_answer(_answer(args))
        return 0
    for name in args.dimension:
        if name not in DIMENSIONS:
            raise UnknownNameError.among("dimension", name, DIMENSIONS)
    plan([args.framework], [args.model], ["fp32"], [1], [args.threads])
    for path in filter(None, (args.output, args.plot)):
        check_target(path, overwrite=args.overwrite)
    if args.plot:
        require("matplotlib.figure")
    check_models([args.model], trust=False)
    results = measure(args)
    sys.stdout.write(table(results) + "\n")
    _write(args, results)
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure every dimension in a fresh process.

    Raises:
        DeviceError: One of them does not run.
    """
    rows = {}
    for name in args.dimension or DIMENSIONS:
        log.info("growth with %s", DIMENSIONS[name].title)
        words = ["--model", args.model, "--framework", args.framework, "--worker", name]
        words += ["--threads", str(args.threads), "--repeats", str(args.repeats)]
        words += ["--most", str(args.most)] if args.most else []
        answer = run_python("-m", MODULE, *words)
        if "problem" in answer:
            raise DeviceError(f"growth with {name}: {answer['problem']}")
        rows[name] = answer | {"exponent": exponent(answer["values"], answer["milliseconds"])}
    settings = {"threads": args.threads, "repeats": args.repeats, "framework": args.framework}
    return {
        "kind": KIND,
        "machine": environment.describe(),
        "model": args.model,
        "settings": settings,
        "rows": rows,
    }


def exponent(values: Sequence[float], times: Sequence[float]) -> float:
    """Slope of log time over log value, of the upper half of the values, at least two.

    Returns:
        The slope; 0 if there is one value alone.
    """
    if len(values) < 2:
        return 0.0
    start = min(len(values) // 2, len(values) - 2)
    slope = np.polyfit(np.log(values[start:]), np.log(times[start:]), 1)[0]
    return float(slope)


def table(results: Mapping[str, Any]) -> str:
    """The results in Markdown."""
    header = ("Grows", "From", "To", "Time", "Peak memory", "Exponent", "No worse than linear")
    lines = []
    for name, row in results["rows"].items():
        dimension, times, memory = DIMENSIONS[name], row["milliseconds"], row["peak_mb"]
        lines.append(
            (
                dimension.title,
                f"{row['values'][0]:,}",
                f"{row['values'][-1]:,}",
                f"{times[0]:.1f} to {times[-1]:.1f} ms",
                f"{memory[0]:.0f} to {memory[-1]:.0f} MB" if memory[0] else "-",
                f"{row['exponent']:.2f}",
                "yes" if row["exponent"] <= dimension.bound else "no",
            )
        )
    settings, machine = results["settings"], results["machine"]
    foot = (
        f"Model {results['model']} on {settings['framework']}, {settings['threads']} threads but "
        f"for the last row, median of {settings['repeats']}. {machine['processor']}, "
        f"{machine['cores']} cores."
    )
    return f"{markdown.table(header, lines)}\n\n{foot}"


def draw(results: Mapping[str, Any]) -> bytes:
    """Time and memory against each dimension, on logarithmic axes, as a PNG file."""
    rows = results["rows"]
    figure = new_figure(3.2 * len(rows), 5.2)
    for column, (name, row) in enumerate(rows.items()):
        for line, key in enumerate(("milliseconds", "peak_mb")):
            axes = figure.add_subplot(2, len(rows), 1 + column + line * len(rows))
            if row[key][0]:
                axes.plot(row["values"], row[key], "o-", markersize=3)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlabel(DIMENSIONS[name].title, fontsize="small")
            axes.set_ylabel(("milliseconds", "peak memory, MB")[line], fontsize="small")
            axes.tick_params(labelsize="x-small", which="both")
            axes.grid(visible=True, linewidth=0.4)
    return png(figure)


def _answer(args: argparse.Namespace) -> dict[str, Any]:
    """In a process of its own: the times and memory along one dimension."""
    dimension = DIMENSIONS[args.worker]
    most = args.most or max(dimension.values)
    if args.worker == "threads":
        most = min(most, os.cpu_count() or 1)
    values = [each for each in dimension.values if each <= most]
    times, memory = [], []
    try:
        for _, call in dimension.calls(args, values):
            times.append(statistics.median(times_of(call, _WARM_UP + args.repeats)[_WARM_UP:]))
            memory.append(peak_megabytes())
    except FaceMaskZooError as error:
        return {"problem": str(error)}
    return {"values": values, "milliseconds": times, "peak_mb": memory}


def _write(args: argparse.Namespace, results: Mapping[str, Any]) -> None:
    if args.output:
        write_json(args.output, results, overwrite=args.overwrite)
    if args.plot:
        with atomic_path(args.plot, overwrite=args.overwrite) as temporary:
            temporary.write_bytes(draw(results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure how time and memory grow.")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--framework", default="onnx")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--dimension", nargs="+", default=[], help=f"{', '.join(DIMENSIONS)} (all)")
    parser.add_argument("--most", type=int, help="leave out larger values")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the picture as PNG")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier files")
    parser.add_argument("--worker", choices=list(DIMENSIONS), help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(guarded(main, "growth"))
