"""Annotated pictures: readers for COCO, Pascal VOC, YOLO and CSV, and a check before use.

``check(read("val.json")).require_faces()`` is the usual way in: everything that is wrong with the
annotations is listed, and what remains is safe to train and to measure on.
"""

from facemask_zoo.datasets.checks import CheckReport, check
from facemask_zoo.datasets.labels import LABELS, NAMES
from facemask_zoo.datasets.reading import FORMATS, read, read_negatives, recognise
from facemask_zoo.datasets.types import Dataset, Face, Picture, Problem

__all__ = [
    "FORMATS",
    "LABELS",
    "NAMES",
    "CheckReport",
    "Dataset",
    "Face",
    "Picture",
    "Problem",
    "check",
    "read",
    "read_negatives",
    "recognise",
]
