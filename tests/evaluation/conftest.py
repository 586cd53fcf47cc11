"""Faces and detections written down by hand."""

from pathlib import Path

import numpy as np
import pytest

from facemask_zoo.datasets import LABELS, Face, Picture
from facemask_zoo.detections import Detections
from facemask_zoo.evaluation import Sample


def make_sample(faces=(), found=(), *, classes=LABELS, size=(1000, 1000), path="a.png", **facts):
    """A sample.

    Args:
        faces: (label, box), or (label, box, True) for one to be ignored.
        found: (label, score, box).
        classes: What the model knows.
        size: Of the picture.
        path: Of the picture.
        facts: More of the picture.
    """
    found = sorted(found, key=lambda row: -row[1])
    detections = Detections(
        boxes=np.array([row[2] for row in found], np.float32).reshape(-1, 4),
        scores=np.array([row[1] for row in found], np.float32),
        class_ids=np.array([classes.index(row[0]) for row in found], np.int64),
        classes=tuple(classes),
        image_size=size,
    )
    truth = tuple(Face(tuple(map(float, row[1])), row[0], *row[2:]) for row in faces)
    return Sample(Picture(Path(path), size, truth, **facts), detections)


@pytest.fixture(name="sample")
def _sample():
    return make_sample


@pytest.fixture(name="box")
def _box():
    """Boxes in a grid that do not touch: 40 x 40 pixels by default."""

    def make(number, side=40, shift=0):
        x, y = 100 * (number % 10) + shift, 100 * (number // 10)
        return (x, y, x + side, y + side)

    return make
