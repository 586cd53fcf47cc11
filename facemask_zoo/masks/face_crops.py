"""Crops of faces for a landmark network: MediaPipe says where the points are, then a mask goes on.

Usage: python -m facemask_zoo.masks.face_crops --data FILE --mediapipe PYTHON --output FILE
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from facemask_zoo.datasets import read
from facemask_zoo.datasets.face_crops import FaceCrops
from facemask_zoo.datasets.labels import NO_MASK
from facemask_zoo.datasets.landmarks import (
    MIRRORED,
    HeadAngles,
    Points,
    eye_distance,
    face_box,
)
from facemask_zoo.datasets.types import Box, Picture
from facemask_zoo.datasets.wearing import Wearing
from facemask_zoo.errors import DatasetError, InvalidArgumentError
from facemask_zoo.images import load_image
from facemask_zoo.masks.landmarkers import MediaPipeLandmarker
from facemask_zoo.masks.place import put_on
from facemask_zoo.masks.template import list_templates
from facemask_zoo.ssd.boxes import iou
from facemask_zoo.tasks.landmarks import Square

log = logging.getLogger(__name__)

SIDE = 128
"""Of the crops, in pixels."""
MARGIN = 1.75
"""Side of a crop in longer sides of the face's box: what augmentation moves in must be there."""
SMALLEST = 28.0
"""Side in pixels of the smallest face that MediaPipe is asked about."""

_OVERLAP = 0.45
_DISAGREEMENT = 0.08
# Mostly as masks should be worn.
_WEARINGS = (Wearing.CORRECT,) * 4 + tuple(Wearing)

Taught = tuple[Points, HeadAngles]


def teach(landmarker: MediaPipeLandmarker, image: NDArray[np.uint8], box: Box) -> Taught | None:
    """Landmarks and pose of a bare face, the mean over the picture and its mirror image.

    Args:
        landmarker: The teacher.
        image: (H, W, 3) RGB.
        box: The face.

    Returns:
        None where no face is found, another one is, or the two answers are far apart.
    """
    width = image.shape[1]
    seen = landmarker.find_posed(image, box)
    if seen is None:
        return None
    flipped = (width - box[2], box[1], width - box[0], box[3])
    mirrored = landmarker.find_posed(np.ascontiguousarray(image[:, ::-1]), flipped)
    if mirrored is None:
        return None
    back = mirrored[0][MIRRORED] * (-1, 1) + (width, 0)
    apart = np.linalg.norm(back - seen[0], axis=1).mean() / max(eye_distance(back), 1e-9)
    points = (seen[0] + back) / 2
    found = np.array([face_box(points, (width, image.shape[0]))])
    if apart > _DISAGREEMENT or iou(found, np.array([box], np.float64))[0, 0] < _OVERLAP:
        return None
    angles = (np.array(seen[1]) + np.array(mirrored[1]) * (-1, 1, -1)) / 2
    return points, HeadAngles(*angles.tolist())


def make_crops(
    pictures: Sequence[Picture],
    landmarker: MediaPipeLandmarker,
    *,
    copies: int = 1,
    smallest: float = SMALLEST,
    seed: int = 0,
) -> FaceCrops:
    """Crops of the bare faces of some pictures.

    Args:
        pictures: With labelled faces.
        landmarker: The teacher.
        copies: How many masked copies of each face to make.
        smallest: Side of the smallest face, in pixels.
        seed: Of the masks.

    Raises:
        DatasetError: There is no face to learn from.
    """
    rows = []
    for picture in tqdm(pictures, unit="picture"):
        boxes = [
            face.box
            for face in picture.faces
            if face.label == NO_MASK and not face.ignore and face.side >= smallest
        ]
        image = load_image(picture.path) if boxes else np.empty(0, np.uint8)
        for number, box in enumerate(boxes):
            random = np.random.default_rng([seed, number, *picture.path.name.encode()])
            row = _face(image, box, landmarker, copies, random)
            rows += [(*row, picture.group or picture.path.name)] if row else []
    if not rows:
        raise DatasetError("Expected bare faces of which landmarks are found, but there is none.")
    bare, masked, points, poses, groups = map(np.array, zip(*rows, strict=True))
    return FaceCrops(bare, masked, points.astype(np.float32), poses.astype(np.float32), groups)


def _face(
    image: NDArray[np.uint8],
    box: Box,
    landmarker: MediaPipeLandmarker,
    copies: int,
    random: np.random.Generator,
) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]], Points, HeadAngles] | None:
    """The crop, its masked copies, the landmarks in sides of the crop, and the pose."""
    taught = teach(landmarker, image, box)
    if taught is None:
        return None
    points, angles = taught
    square = Square.around(np.array(box), MARGIN)
    crop, places = square.cut(image, SIDE), square.from_picture(points)
    try:
        masked = [_with_mask(crop, places * SIDE, random) for _ in range(copies)]
    except InvalidArgumentError as error:
        log.info("A face is left out: %s", error)
        return None
    return crop, masked, places, angles


def _with_mask(
    image: NDArray[np.uint8], points: Points, random: np.random.Generator
) -> NDArray[np.uint8]:
    templates = list_templates()
    template = templates[random.integers(len(templates))]
    wearing = _WEARINGS[random.integers(len(_WEARINGS))]
    seed = int(random.integers(2**32))
    return put_on(image, points, template=template, wearing=wearing, seed=seed).image


def main() -> None:
    """Make the crops of a data set and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="annotations, as for facemask-zoo train")
    parser.add_argument("--images", help="folder of the pictures (beside --data)")
    parser.add_argument("--mediapipe", required=True, help="interpreter that has MediaPipe")
    parser.add_argument("--output", type=Path, required=True, help=".npz file to write")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--limit", type=int, help="pictures at most")
    parser.add_argument("--copies", type=int, default=1, help="masked ones of each face")
    parser.add_argument("--smallest", type=float, default=SMALLEST, help="pixels (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    dataset = read(args.data, images=args.images)
    pictures = dataset.pictures[: args.limit]
    crops = make_crops(
        pictures,
        MediaPipeLandmarker(args.mediapipe),
        copies=args.copies,
        smallest=args.smallest,
        seed=args.seed,
    )
    crops.save(args.output, overwrite=args.overwrite)
    sys.stderr.write(f"{len(crops)} faces: {args.output}\n")


if __name__ == "__main__":
    main()
