"""Average precision by the COCO protocol, per label and size of face (faster-coco-eval)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from facemask_zoo.datasets.labels import LABELS, MASK, NO_MASK
from facemask_zoo.evaluation.extras import require
from facemask_zoo.evaluation.pooled import MAX_DETECTIONS
from facemask_zoo.evaluation.samples import ANY, Sample, for_label

ALL_SIZES = "all"

SIZES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        ALL_SIZES: (0, 1e5),
        "<16": (0, 16),
        "16-32": (16, 32),
        "32-96": (32, 96),
        ">96": (96, 1e5),
        "<32": (0, 32),
    }
)
"""Slices by side of the face (square root of its area) in pixels: from, and up to but without."""

MEAN = "mean"
"""Key of the mean of mask and no_mask, the two labels that every model knows."""


@dataclasses.dataclass(frozen=True)
class Average:
    """Average precision of one label in one slice.

    Attributes:
        ap50: At an overlap of .5; None where there is no face.
        ap: Mean over the overlaps .50, .55, ... .95; None where there is no face.
        recall50: Share of the faces found at an overlap of .5; None where there is no face.
        faces: Number of faces.
    """

    ap50: float | None
    ap: float | None
    recall50: float | None
    faces: int


Averages = dict[str, dict[str, Average]]


def average_precision(samples: Sequence[Sample]) -> Averages:
    """Average precision of every label and slice of ``SIZES``.

    Ignored faces follow COCO's rule for crowds: they need not be found, and detections that lie in
    them do not count. For a slice, so do faces of other sizes, and unmatched detections of other
    sizes. `incorrect` is measured on those pictures alone where it was told apart.

    Args:
        samples: Detections down to a low score (.01 or so): what is not there cannot be measured.

    Returns:
        ``result[label][slice]``; the label ``ANY`` stands for faces whatever their class, ``MEAN``
        for the mean of mask and no_mask.

    Raises:
        FrameworkNotInstalledError: faster-coco-eval is not installed.
    """
    result = {label: _measure(for_label(samples, label)) for label in (*LABELS, ANY)}
    result[MEAN] = {name: _mean(result[MASK][name], result[NO_MASK][name]) for name in SIZES}
    return result


def _measure(samples: Sequence[Sample]) -> dict[str, Average]:
    coco = require("faster_coco_eval")
    truth = coco.COCO(_annotations(samples))
    found = coco.COCO({**_annotations(samples), "annotations": _detections(samples)})
    evaluator = coco.COCOeval_faster(truth, found, "bbox", print_function=_silent)
    # Up to but without: faces of exactly 16 or 32 pixels are common and belong to one slice.
    evaluator.params.areaRng = [
        [low**2, float(np.nextafter(high**2, 0))] for low, high in SIZES.values()
    ]
    evaluator.params.areaRngLbl = list(SIZES)
    evaluator.params.maxDets = [MAX_DETECTIONS]
    evaluator.evaluate()
    evaluator.accumulate()
    precision = np.asarray(evaluator.eval["precision"])  # overlap, recall, label, slice, limit
    recall = np.asarray(evaluator.eval["recall"])  # overlap, label, slice, limit
    return {
        name: _average(precision[:, :, 0, index, 0], recall[0, 0, index, 0], samples, name)
        for index, name in enumerate(SIZES)
    }


def _average(precision: Any, recall: Any, samples: Sequence[Sample], name: str) -> Average:
    low, high = SIZES[name]
    faces = [face for s in samples for face in s.picture.faces if not face.ignore]
    count = sum(low <= face.side < high for face in faces)
    if not count:
        return Average(None, None, None, 0)
    return Average(float(precision[0].mean()), float(precision.mean()), float(recall), count)


def _mean(first: Average, second: Average) -> Average:
    return Average(
        half(first.ap50, second.ap50),
        half(first.ap, second.ap),
        half(first.recall50, second.recall50),
        first.faces + second.faces,
    )


def half(first: float | None, second: float | None) -> float | None:
    """The mean of two figures; None if one is missing."""
    return None if first is None or second is None else (first + second) / 2


def _annotations(samples: Sequence[Sample]) -> dict[str, list[dict[str, Any]]]:
    annotations = [
        {**_box(face.box), "image_id": image, "iscrowd": int(face.ignore)}
        for image, sample in enumerate(samples, 1)
        for face in sample.picture.faces
    ]
    sizes = [sample.picture.size for sample in samples]
    return {
        "images": [
            {"id": image, "width": width, "height": height, "file_name": str(image)}
            for image, (width, height) in enumerate(sizes, 1)
        ],
        "annotations": _numbered(annotations),
        "categories": [{"id": 1, "name": "face"}],
    }


def _detections(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    found = [
        {**_box(box), "image_id": image, "score": score, "iscrowd": 0}
        for image, sample in enumerate(samples, 1)
        for box, score in zip(
            sample.detections.boxes.tolist(), sample.detections.scores.tolist(), strict=True
        )
    ]
    return _numbered(found)


def _box(box: Sequence[float]) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    return {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "category_id": 1}


def _numbered(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**entry, "id": number} for number, entry in enumerate(entries, 1)]


def _silent(*_: object) -> None:
    """Takes the place of `print`."""
