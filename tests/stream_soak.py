"""Thousands of frames through streams, and the memory and threads that they leave behind.

Usage: python tests/stream_soak.py [--frames 10000] [--write docs/detect-videos.md]
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from facemask_zoo import Detector
from facemask_zoo.benchmarks import environment, markdown
from facemask_zoo.converters.samples import drawing
from facemask_zoo.video_writer import VideoWriter

SECTION = "soak"
FRAMES = 100
GROWTH_MB = 30
"""More than this after the first tenth is a leak: the allocator's own ups and downs are less."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--model", default="zoo-260")
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    detector = Detector.load(args.model, framework="onnx", threads=1)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "gate.mkv"
        write(video)
        threads = threading.active_count()
        memory = soak(detector, video, args.frames)
    until = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < until:
        time.sleep(0.05)
    rows = [(f"{frames:,}", f"{size:.0f}") for frames, size in memory]
    left = threading.active_count() - threads
    text = (
        f"{markdown.table(('Frames', 'MB'), rows)}\n\n"
        f"`{args.model}` on ONNX, two sources at a time, every fourth pair left in the middle; "
        f"threads left: {left}. {environment.sentence()}. "
        "Made by `make test-scale`, there with 10,000 frames."
    )
    sys.stdout.write(text + "\n")
    if args.write:
        markdown.replace_section(args.write, SECTION, text)
    return int(left > 0 or memory[-1][1] - memory[0][1] > GROWTH_MB)


def write(video: Path) -> None:
    image = drawing()[::2, ::2]
    with VideoWriter(video, Fraction(25)) as writer:
        for number in range(FRAMES):
            writer.write(np.roll(image, 3 * number, axis=1))


def soak(detector: Detector, video: Path, frames: int) -> list[tuple[int, float]]:
    """Memory in use, in MB, after each tenth of the frames."""
    memory: list[tuple[int, float]] = []
    done = 0
    for number in itertools.count():
        stream = detector.stream([video, video])
        for result in itertools.islice(stream, FRAMES if number % 4 == 3 else None):
            assert result.frame is not None
            done += 1
            if done >= (len(memory) + 1) * frames / 10:
                memory.append((done, resident()))
            if done == frames:
                stream.close()
                return memory
    raise AssertionError


def resident() -> float:
    """MB that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    sys.exit(main())
