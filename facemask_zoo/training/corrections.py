"""Files beside the annotations: better boxes, and boxes that look like faces and are none."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facemask_zoo.datasets import Dataset, Face
from facemask_zoo.datasets.types import Box
from facemask_zoo.errors import DatasetError
from facemask_zoo.training.augment import Boxes

logger = logging.getLogger(__name__)


def read_hard_negatives(path: str, part: str) -> dict[str, Boxes]:
    """Boxes that hold no face.

    Args:
        path: JSON list of objects with `file_name`, `bbox` (left, top, width, height) and `part`.
        part: Objects of other parts are left out.

    Returns:
        (K, 4) corners by file name.

    Raises:
        DatasetError: The file cannot be read or is not of that form.
    """
    found: dict[str, list[Box]] = defaultdict(list)
    for entry in _load(path, list):
        if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
            raise DatasetError(
                f"{path}: expected objects with a file_name, but got {entry!r:.100}."
            )
        if entry.get("part", part) == part:
            found[entry["file_name"]].append(_corners(entry.get("bbox"), path))
    return {name: np.array(boxes, np.float64) for name, boxes in found.items()}


def read_boxes(path: str, part: str) -> dict[str, Box]:
    """Boxes by the id of their annotation.

    Args:
        path: JSON object from part to annotation id to left, top, width and height.
        part: The part to take.

    Returns:
        Corners by annotation id.

    Raises:
        DatasetError: The file cannot be read, or does not hold that part.
    """
    boxes = _load(path, dict).get(part)
    if not isinstance(boxes, Mapping):
        raise DatasetError(f"{path}: expected boxes of the part {part!r}.")
    return {str(identity): _corners(values, path) for identity, values in boxes.items()}


def replace_boxes(dataset: Dataset, boxes: Mapping[str, Box], sources: Collection[str]) -> Dataset:
    """A data set with other boxes for those annotations of some collections that have one."""
    replaced = [
        dataclasses.replace(picture, faces=tuple(_with_box(face, boxes) for face in picture.faces))
        if picture.source in sources
        else picture
        for picture in dataset.pictures
    ]
    chosen = (face for picture in replaced if picture.source in sources for face in picture.faces)
    logger.info("%d boxes replaced.", sum(face.identity in boxes for face in chosen))
    return dataclasses.replace(dataset, pictures=tuple(replaced))


def _with_box(face: Face, boxes: Mapping[str, Box]) -> Face:
    return dataclasses.replace(face, box=boxes.get(face.identity, face.box))


def _load(path: str, kind: type) -> Any:
    try:
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, kind):
        raise DatasetError(f"{path}: expected a JSON {kind.__name__}.")
    return content


def _corners(values: object, path: str) -> Box:
    numbers = values if isinstance(values, list) and len(values) == 4 else []
    good = [v for v in numbers if isinstance(v, int | float) and math.isfinite(v)]
    if len(good) != 4 or good[2] <= 0 or good[3] <= 0:
        raise DatasetError(f"{path}: expected left, top, width and height, but got {values!r:.80}.")
    x, y, width, height = (float(value) for value in good)
    return (x, y, x + width, y + height)
