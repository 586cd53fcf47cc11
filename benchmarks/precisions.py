"""What half precision and 8-bit integers cost in average precision, and gain in size and time.

The model is written in every format and precision that the zoo offers, as ``facemask-zoo convert``
does it, and each file is measured on labelled pictures. Times are medians of the network alone on
one picture, taken in turns so that all files see the same machine.

Usage: python -m facemask_zoo.benchmarks.precisions --data val.json --images val
           --calibration train [--model NAME] [--write docs/converting.md]
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facemask_zoo.benchmarks import environment, markdown
from facemask_zoo.cards import DEFAULT_MODEL
from facemask_zoo.converters.conversion import Report, convert
from facemask_zoo.converters.formats.registry import FORMATS, Format
from facemask_zoo.datasets.labels import MASK, NO_MASK
from facemask_zoo.detector import Detector
from facemask_zoo.images import IMAGE_SUFFIXES

log = logging.getLogger(__name__)

SECTION = "precisions"
WARM_UP = 10
ROUNDS, REPEATS = 5, 20


@dataclasses.dataclass(frozen=True)
class Measured:
    """One file: the report of its conversion, its bytes on disk, and its times in milliseconds."""

    report: Report
    size: int
    times: list[float]


def main() -> int:
    """Measure every file, print the table and, if asked, write it into a file."""
    args = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    pictures = choose(args.calibration, args.count)
    rows = [row for row in FORMATS.values() if "int8" in row.precisions]
    with tempfile.TemporaryDirectory() as folder:
        measured = [
            each for row in rows for each in measure(row, args, pictures, Path(folder) / row.name)
        ]
    text = report(measured, args.model, len(pictures), args.threads)
    sys.stdout.write(text + "\n")
    if args.write:
        markdown.replace_section(args.write, SECTION, text)
    return 0


def choose(folder: Path, count: int) -> list[Path]:
    """Pictures of a folder, evenly spread over their names."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return found[:: max(1, len(found) // count)][:count]


def measure(
    row: Format, args: argparse.Namespace, pictures: Sequence[Path], folder: Path
) -> list[Measured]:
    """Convert to one format in all its precisions, and run what was written."""
    reports, detectors, sizes = [], [], []
    for precision in row.precisions:
        log.info("%s in %s", row.title, precision)
        target = folder / precision / f"model{row.suffix}"
        reports.append(
            convert(
                args.model,
                target,
                row.name,
                precision,
                pictures=pictures,
                data=args.data,
                images=args.images,
                allow_drift=True,
            )
        )
        sizes.append(sum(part.stat().st_size for part in target.parent.iterdir()))
        detectors.append(
            Detector.load(target, framework=row.name, trust=True, threads=args.threads)
        )
    return [Measured(*each) for each in zip(reports, sizes, _times(detectors), strict=True)]


def report(measured: Sequence[Measured], model: str, pictures: int, threads: int) -> str:
    """The table in Markdown, with the conditions below it."""
    header = (
        "Format",
        "Precision",
        "Bytes",
        "AP50 mask",
        "AP50 no_mask",
        "Accepted",
        "Median time",
    )
    rows = []
    for each in measured:
        (accuracy,) = each.report.accuracy
        labels = [
            f"{accuracy.after[label]:.3f} ({accuracy.after[label] - accuracy.before[label]:+.3f})"
            for label in (MASK, NO_MASK)
        ]
        time_ = f"{statistics.median(each.times):.1f} ms"
        accepted = "yes" if accuracy.acceptable else "no"
        title = FORMATS[each.report.format].title
        rows.append((title, each.report.precision, f"{each.size:,}", *labels, accepted, time_))
    foot = (
        f"Model {model}; in brackets, the difference from full precision. Accepted: the mean AP50 "
        f"of all labels falls by at most {accuracy.bound:g}. Ranges from {pictures} training "
        f"pictures, AP50 on {accuracy.pictures} others. {threads} threads, batch 1, network alone, "
        f"median of {ROUNDS} x {REPEATS}. {environment.sentence()}. Made by `make precisions`."
    )
    return f"{markdown.table(header, rows)}\n\n{foot}"


def _times(detectors: Sequence[Detector]) -> list[list[float]]:
    shape = detectors[0].backend.signature.input.shape
    batch = np.random.default_rng(1).random((1, *shape), dtype=np.float32)
    times: list[list[float]] = [[] for _ in detectors]
    # In stretches: threads of a framework that ran just before go on waiting for work.
    for _ in range(ROUNDS):
        for detector, found in zip(detectors, times, strict=True):
            for number in range(WARM_UP + REPEATS):
                start = time.perf_counter()
                detector.forward(batch)
                if number >= WARM_UP:
                    found.append((time.perf_counter() - start) * 1000)
    return times


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare the precisions of one model.")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--data", required=True, help="labelled pictures to measure on")
    parser.add_argument("--images", help="folder of the pictures of --data")
    parser.add_argument("--calibration", type=Path, required=True, help="folder of other pictures")
    parser.add_argument("--count", type=int, default=48, help="how many of them (%(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", type=Path, help="file with a section to replace")
    return parser


if __name__ == "__main__":
    sys.exit(main())
