"""Annotated pictures: readers for many formats and sets, writers, and a check before use.

``check(read("val.json")).require_faces()`` is the usual way in: everything that is wrong with the
annotations is listed, and what remains is safe to train and to measure on.
"""

from facemask_zoo.datasets.checks import CheckReport, check
from facemask_zoo.datasets.labels import LABELS, NAMES
from facemask_zoo.datasets.reading import FORMATS, read, read_negatives, recognise
from facemask_zoo.datasets.splitting import split
from facemask_zoo.datasets.statistics import Statistics, describe
from facemask_zoo.datasets.types import Dataset, Face, Picture, Problem
from facemask_zoo.datasets.writers import WRITERS, write

__all__ = [
    "FORMATS",
    "LABELS",
    "NAMES",
    "WRITERS",
    "CheckReport",
    "Dataset",
    "Face",
    "Picture",
    "Problem",
    "Statistics",
    "check",
    "describe",
    "read",
    "read_negatives",
    "recognise",
    "split",
    "write",
]
