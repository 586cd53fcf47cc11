"""Masks on bare faces: templates, landmarks, four ways of wearing, and whole data sets."""

from facemask_zoo.datasets.wearing import Wearing
from facemask_zoo.masks.landmarkers import (
    DlibLandmarker,
    FfhqLandmarker,
    FunctionLandmarker,
    Landmarker,
    MediaPipeLandmarker,
    PtsLandmarker,
    ZooLandmarker,
)
from facemask_zoo.masks.place import Masked, put_on
from facemask_zoo.masks.sheet import draw_sheet
from facemask_zoo.masks.template import Template, list_templates, load_template
from facemask_zoo.masks.wearing import SHARES

__all__ = [
    "SHARES",
    "DlibLandmarker",
    "FfhqLandmarker",
    "FunctionLandmarker",
    "Landmarker",
    "Masked",
    "MediaPipeLandmarker",
    "PtsLandmarker",
    "Template",
    "Wearing",
    "ZooLandmarker",
    "draw_sheet",
    "list_templates",
    "load_template",
    "put_on",
]
