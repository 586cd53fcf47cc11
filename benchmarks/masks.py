"""What a detector that never saw our masks makes of them.

Of the faces that the detector calls bare, each gets a mask by itself, worn correctly and worn below
the mouth, and the detector looks again. Where no box overlaps the face any more, it is undetected.

Usage: python -m facemask_zoo.benchmarks.masks --images DIR [--landmarks KIND] [--write PAGE]
"""

from __future__ import annotations

import argparse
import collections
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.benchmarks import environment
from facemask_zoo.benchmarks.markdown import replace_section, table
from facemask_zoo.datasets.labels import MASK, NO_MASK
from facemask_zoo.datasets.landmarks import Points
from facemask_zoo.datasets.pictures import list_pictures
from facemask_zoo.detector import Detector
from facemask_zoo.errors import FaceMaskZooError
from facemask_zoo.images import load_image
from facemask_zoo.masks import Landmarker, Masked, Wearing, list_templates, put_on
from facemask_zoo.masks.command import PROVIDERS, Provider, faces_of
from facemask_zoo.ssd.boxes import iou

SECTION = "called with {landmarks}"
"""Of the page; one for each kind of landmarks."""

_OVERLAP = 0.4
_WEARINGS = (Wearing.CORRECT, Wearing.NOSE_AND_MOUTH_BARE)
_UNDETECTED = "undetected"


def main() -> None:
    """Measure, print a table, and put it into a page if one is named."""
    args = _arguments()
    detector = Detector.load(args.model)
    landmarker, _ = Provider(args.landmarks, args.landmarks_file, args.model, "auto")()
    faces = itertools.islice(_faces(args.images, detector, landmarker, args.smallest), args.limit)
    found: dict[Wearing, collections.Counter[str]] = {
        wearing: collections.Counter() for wearing in _WEARINGS
    }
    seconds = 0.0
    templates = list_templates()
    for number, (image, points) in enumerate(faces):
        for wearing in _WEARINGS:
            start = time.perf_counter()
            template = templates[number % len(templates)]
            masked = put_on(image, points, template=template, wearing=wearing, seed=number)
            seconds += time.perf_counter() - start
            label = _called(detector, masked)
            found[wearing][label] += 1
            if args.verbose:
                sys.stderr.write(f"{number} {template} {wearing} {label}\n")
    text = _to_text(detector, found, seconds, args.landmarks)
    if args.write:
        replace_section(args.write, SECTION.format(landmarks=args.landmarks), text)
    print(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--landmarks", default=PROVIDERS[0], choices=PROVIDERS)
    parser.add_argument("--landmarks-file", default="", help="as `facemask-zoo mask` takes it")
    parser.add_argument("--model", default="aizoo-360", help="(%(default)s)")
    parser.add_argument("--limit", type=int, default=250, help="faces at most (%(default)s)")
    parser.add_argument("--smallest", type=float, default=32, help="pixels (%(default)s)")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--write", type=Path, help="page with a section for these landmarks")
    return parser.parse_args()


def _faces(
    folder: Path, detector: Detector, landmarker: Landmarker, smallest: float
) -> Iterator[tuple[NDArray[np.uint8], Points]]:
    """The faces that the detector calls bare and whose landmarks are found."""
    find = faces_of(detector)
    for path in list_pictures(folder):
        image = load_image(path)
        bare = (face.box for face in find(image) if face.label == NO_MASK)
        boxes = [box for box in bare if box[2] - box[0] >= smallest]
        for points in landmarker.find(image, boxes=boxes):
            try:
                put_on(image, points)
            except FaceMaskZooError:
                continue
            yield image, points


def _called(detector: Detector, masked: Masked) -> str:
    """The label of the box that overlaps the face most."""
    result = detector.detect(masked.image)
    if not len(result):
        return _UNDETECTED
    overlaps = iou(np.array([masked.box]), result.boxes.astype(np.float64))[0]
    best = int(overlaps.argmax())
    return result.labels[best] if overlaps[best] >= _OVERLAP else _UNDETECTED


def _to_text(
    detector: Detector,
    found: dict[Wearing, collections.Counter[str]],
    seconds: float,
    landmarks: str,
) -> str:
    labels = [*detector.card.network.classes, _UNDETECTED]
    rows = []
    for wearing, counts in found.items():
        total = max(counts.total(), 1)
        right = counts[MASK] if wearing is Wearing.CORRECT else total - counts[MASK]
        cells = (str(counts[label]) for label in labels)
        rows.append([str(wearing), str(total), *cells, f"{right / total:.1%}"])
    shown = table(["worn", "faces", *labels, "as it should be"], rows)
    pictures = sum(counts.total() for counts in found.values())
    each = seconds / max(pictures, 1)
    return f"{shown}\n\nLandmarks: {landmarks}. {each:.2f} s per mask. {environment.sentence()}."


if __name__ == "__main__":
    main()
