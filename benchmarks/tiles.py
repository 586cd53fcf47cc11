"""What `Detector.detect(..., tiles=)` costs and gains, on canvases of 12 megapixels.

Photographs with labels are laid side by side at their own size, so that a canvas is a crowd in
which all faces are small for its size and known.

Usage: python -m facemask_zoo.benchmarks.tiles --data val.json [--write docs/detect-pictures.md]
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.benchmarks import environment, markdown
from facemask_zoo.cards import DEFAULT_MODEL
from facemask_zoo.datasets import Picture
from facemask_zoo.datasets.coco import read_coco
from facemask_zoo.detections import Detections
from facemask_zoo.detector import Detector
from facemask_zoo.evaluation import Sample, average_precision
from facemask_zoo.evaluation.samples import ANY
from facemask_zoo.images import load_image
from facemask_zoo.tiling import windows

SECTION = "tiles"
WIDTH, HEIGHT = 4032, 3024
CELL = 448
GREY = 114
CONF = 0.02
SIDES = (1024, 640, 448, 320)
SLICES = ("<16", "16-32", "32-96")


@dataclasses.dataclass(frozen=True)
class Canvas:
    """Several photographs in one.

    Attributes:
        image: (HEIGHT, WIDTH, 3) uint8 RGB.
        picture: Its faces.
    """

    image: NDArray[np.uint8]
    picture: Picture


def canvases(pictures: Sequence[Picture], count: int) -> Iterator[Canvas]:
    """Lay pictures side by side, in their order; those that are larger than a cell are left out."""
    fitting = (picture for picture in pictures if max(picture.size) <= CELL)
    places = list(itertools.product(range(0, HEIGHT - CELL + 1, CELL), range(0, WIDTH, CELL)))
    for _ in range(count):
        image = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
        faces = []
        for (top, left), picture in zip(places, fitting, strict=False):
            pixels = load_image(picture.path)
            image[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
            for face in picture.faces:
                x1, y1, x2, y2 = face.box
                box = (x1 + left, y1 + top, x2 + left, y2 + top)
                faces.append(dataclasses.replace(face, box=box))
        yield Canvas(image, Picture(Path("canvas"), (WIDTH, HEIGHT), tuple(faces)))


def measure(detector: Detector, found: Sequence[Canvas], tiles: int | None) -> tuple[str, ...]:
    """A row of the table: windows, seconds of processor time, and average precision by size."""
    samples: list[Sample] = []
    seconds = 0.0
    for canvas in found:
        began = time.process_time()
        result: Detections = detector.detect(canvas.image, tiles=tiles)
        seconds += time.process_time() - began
        samples.append(Sample(canvas.picture, result))
    averages = average_precision(samples)[ANY]
    number = 1 if tiles is None else len(windows((WIDTH, HEIGHT), tiles))
    cells = (f"{averages[name].ap50 or 0:.3f}" for name in ("all", *SLICES))
    return (str(tiles), str(number), f"{seconds / len(found):.2f} s", *cells)


def report(rows: Sequence[Sequence[str]], found: Sequence[Canvas], model: str) -> str:
    """The table in Markdown, with the conditions below it."""
    header = ("`tiles`", "Windows", "Processor time", "AP50 of faces", *(f"{s} px" for s in SLICES))
    faces = sum(len(canvas.picture.faces) for canvas in found)
    foot = (
        f"`{model}` on ONNX, one thread; canvases: {len(found)}, {WIDTH} x {HEIGHT} pixels from "
        f"validation photographs, {faces} faces. {environment.sentence()}. Made by `make tiles`."
    )
    return f"{markdown.table(header, rows)}\n\n{foot}"


def main() -> int:
    """Measure every side, print the table and, if asked, write it into a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="COCO file")
    parser.add_argument("--canvases", type=int, default=1)
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, help="(%(default)s)")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    detector = Detector.load(args.model, framework="onnx", threads=1, conf=CONF)
    found = list(canvases(read_coco(args.data).pictures, args.canvases))
    rows = []
    for tiles in (None, *args.sides):
        rows.append(measure(detector, found, tiles))
        sys.stderr.write(f"{' '.join(rows[-1])}\n")
    text = report(rows, found, args.model)
    sys.stdout.write(text + "\n")
    if args.write:
        markdown.replace_section(args.write, SECTION, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
