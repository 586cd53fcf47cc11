"""Many threads on one detector, many processes on an empty cache, for every framework; minutes.

Usage: python tests/sharing_soak.py [--pictures 2000] [--workers 8] [--write docs/frameworks.md]
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemask_zoo import Detections, Detector, list_frameworks
from facemask_zoo.benchmarks import environment, markdown
from facemask_zoo.converters.samples import drawing

SECTION = "sharing"
SECONDS = 3600
CONF = 0.05
TOLERANCE_PIXELS = 0.01

log = logging.getLogger(__name__)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=8, help="threads, and processes")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--threads-of", help=argparse.SUPPRESS)
    parser.add_argument("--first-use-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    if args.threads_of:
        return share(args.threads_of, args.pictures, args.workers)
    if args.first_use_of:
        Detector.load("zoo-260", framework=args.first_use_of).detect(drawing())
        return 0
    rows = [row_of(each.name, args) for each in list_frameworks() if each.installed]
    header = ("Framework", f"{args.pictures:,} pictures, {args.workers} threads, one detector")
    header += (f"{args.workers} processes, empty cache",)
    foot = f"{environment.sentence()}. Made by `make sharing`."
    text = f"{markdown.table(header, rows)}\n\n{foot}"
    sys.stdout.write(text + "\n")
    if args.write:
        markdown.replace_section(args.write, SECTION, text)
    return int(any("failed" in cell for row in rows for cell in row))


def row_of(framework: str, args: argparse.Namespace) -> tuple[str, str, str]:
    words = ["--threads-of", framework, "--pictures", args.pictures, "--workers", args.workers]
    threads = start(words).wait(SECONDS)
    with tempfile.TemporaryDirectory() as cache:
        variables = {**os.environ, "FACEMASK_ZOO_CACHE": cache}
        children = [start(["--first-use-of", framework], variables) for _ in range(args.workers)]
        failures = sum(child.wait(SECONDS) != 0 for child in children)
    log.info("%s: threads %d, failed processes %d", framework, threads, failures)
    return (
        f"`{framework}`",
        "the answers of one thread" if not threads else "failed",
        "no error" if not failures else f"{failures} failed",
    )


def start(words: list[object], variables: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, *map(str, words)]
    return subprocess.Popen(command, env=variables)


def share(framework: str, pictures: int, workers: int) -> int:
    """1 if threads that share a detector differ from one thread."""
    detector = Detector.load("zoo-260", framework=framework, threads=1, conf=CONF)
    alone = [detector.detect(picture(number)) for number in range(pictures)]
    with ThreadPoolExecutor(workers) as pool:
        together = pool.map(lambda number: detector.detect(picture(number)), range(pictures))
        return int(not all(map(alike, alone, together)))


def picture(number: int) -> NDArray[np.uint8]:
    """The drawing, shifted and in a light of its own."""
    moved = np.roll(drawing(), (number % 40, number % 23), axis=(0, 1))
    return np.clip(moved * (0.6 + 0.001 * (number % 700)), 0, 255).astype(np.uint8)


def alike(one: Detections, other: Detections) -> bool:
    same = one.class_ids.tolist() == other.class_ids.tolist()
    return same and np.allclose(one.boxes, other.boxes, rtol=0, atol=TOLERANCE_PIXELS)


if __name__ == "__main__":
    sys.exit(main())
