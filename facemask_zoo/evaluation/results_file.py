"""Detections as COCO results: one JSON list of image id, category id, box and score.

A picture's id is COCO's where the annotations have one, otherwise its path below the data's folder.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facemask_zoo.datasets import LABELS, Dataset, Picture
from facemask_zoo.detections import Detections
from facemask_zoo.errors import DatasetError
from facemask_zoo.evaluation.samples import ANY, Sample
from facemask_zoo.files import atomic_path

_KEYS = ("image_id", "category_id", "bbox", "score")
_DIGITS = 5


class _Found(NamedTuple):
    """One line of a results file: corners in pixels."""

    box: tuple[float, float, float, float]
    score: float
    label: str


def identity(picture: Picture, root: Path) -> int | str:
    """The id by which a results file names a picture.

    Args:
        picture: The picture.
        root: Annotation file or folder of its data set.
    """
    if picture.identity is not None:
        return picture.identity
    folder = root if root.is_dir() else root.parent
    if not picture.path.is_relative_to(folder):
        return picture.path.name
    return picture.path.relative_to(folder).as_posix()


def read_results(
    path: Path, dataset: Dataset, *, faces: bool = False, empty: bool = False
) -> dict[str, Detections]:
    """Read the detections of any detector.

    Args:
        path: The JSON file. Category ids are those of the annotations (1, 2, 3 for mask, no_mask,
            incorrect where the format has none).
        dataset: Every picture that the file may name.
        faces: Whatever its one category id, every box is a face of no class (label ``ANY``).
        empty: Whether a file without any detection will do.

    Returns:
        Detections by picture id, as text; empty ones included. The classes are those that occur.

    Raises:
        DatasetError: The file is missing, empty, or not COCO results; it names a picture or a
            category that is not there; or a number is not finite or out of range.
    """
    entries = _load(path)
    if not entries and not empty:
        raise DatasetError(f"{path}: expected detections, but the list is empty.")
    pictures = {str(identity(each, dataset.path)): each for each in dataset.pictures}
    labels = _labels(path, entries, dataset, faces=faces)
    found: dict[str, list[_Found]] = defaultdict(list)
    for number, entry in enumerate(entries):
        name = str(entry["image_id"])
        if name not in pictures:
            raise DatasetError(
                f"{path}, entry {number}: image_id {entry['image_id']!r} is none of the "
                f"{len(pictures)} pictures of {dataset.path}."
            )
        found[name].append(_read_entry(f"{path}, entry {number}", entry, labels))
    used = {each.label for rows in found.values() for each in rows}
    classes = (ANY,) if faces else tuple(label for label in LABELS if label in used)
    return {
        name: _detections(found[name], classes, picture.size) for name, picture in pictures.items()
    }


def with_results(dataset: Dataset, results: Mapping[str, Detections]) -> list[Sample]:
    """The pictures of a data set, each with what a results file has for it."""
    return [
        Sample(picture, results[str(identity(picture, dataset.path))])
        for picture in dataset.pictures
    ]


def write_results(
    path: Path, samples: Iterable[Sample], dataset: Dataset, *, overwrite: bool = False
) -> None:
    """Write detections as COCO results.

    Args:
        path: The JSON file.
        samples: Pictures of the data set with their detections.
        dataset: Where picture ids and category ids come from.
        overwrite: Replace the file.

    Raises:
        DatasetError: The annotations have no category for a label that was found.
        OutputError: The file exists and `overwrite` is False.
    """
    categories = {label: number for number, label in reversed(dataset.categories)}
    entries = [
        _write_entry(sample, index, identity(sample.picture, dataset.path), categories)
        for sample in samples
        for index in range(len(sample.detections))
    ]
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(entries) + "\n", encoding="utf-8")


def _load(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} cannot be read as COCO results: {error}") from error
    if not isinstance(content, list):
        raise DatasetError(f"{path} is not COCO results: expected a list of detections.")
    for number, entry in enumerate(content):
        if not isinstance(entry, dict) or not all(key in entry for key in _KEYS):
            raise DatasetError(
                f"{path}, entry {number}: expected an object with {', '.join(_KEYS)}, "
                f"but got {str(entry)[:80]}"
            )
    return content


def _labels(
    path: Path, entries: Sequence[Mapping[str, Any]], dataset: Dataset, *, faces: bool
) -> dict[str, str]:
    """Label of each category id, as text."""
    used = {str(entry["category_id"]) for entry in entries}
    if faces:
        if len(used) > 1:
            raise DatasetError(
                f"{path}: expected one category, face, but got the ids {', '.join(sorted(used))}."
            )
        return dict.fromkeys(used, ANY)
    known = {str(number): label for number, label in dataset.categories}
    unknown = sorted(used - known.keys())
    if unknown:
        meanings = ", ".join(f"{number} {label}" for number, label in known.items())
        raise DatasetError(
            f"{path}: category_id {', '.join(unknown)} is none of {dataset.path}'s ({meanings})."
        )
    return known


def _read_entry(place: str, entry: Mapping[str, Any], labels: Mapping[str, str]) -> _Found:
    box, score = entry["bbox"], entry["score"]
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_finite, box)):
        raise DatasetError(f"{place}: bbox: expected four finite numbers, but got {str(box)[:80]}.")
    if not _is_finite(score) or not 0 <= score <= 1:
        raise DatasetError(f"{place}: score: expected 0..1, but got {str(score)[:80]}.")
    x, y, width, height = map(float, box)
    if width < 0 or height < 0:
        raise DatasetError(f"{place}: bbox: expected a width and a height, but got {box}.")
    return _Found((x, y, x + width, y + height), float(score), labels[str(entry["category_id"])])


def _is_finite(value: object) -> bool:
    """Whether a JSON value is a number, and one that float32 can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= float(np.finfo(np.float32).max) and math.isfinite(value)


def _detections(
    found: Sequence[_Found], classes: tuple[str, ...], size: tuple[int, int]
) -> Detections:
    """Best score first; boxes end where the picture ends."""
    best = sorted(found, key=lambda each: -each.score)
    boxes = np.array([each.box for each in best], np.float64).reshape(-1, 4)
    return Detections(
        np.clip(boxes, 0, np.tile(size, 2)).astype(np.float32),
        np.array([each.score for each in best], np.float32),
        np.array([classes.index(each.label) for each in best], np.int64),
        classes,
        size,
    )


def _write_entry(
    sample: Sample, index: int, image: int | str, categories: Mapping[str, int | str]
) -> dict[str, Any]:
    label = sample.detections.labels[index]
    if label not in categories:
        raise DatasetError(f"The annotations have no category for {label!r}.")
    x1, y1, x2, y2 = sample.detections.boxes[index].tolist()
    box = [round(value, _DIGITS) for value in (x1, y1, x2 - x1, y2 - y1)]
    score = float(sample.detections.scores[index])
    return {"image_id": image, "category_id": categories[label], "bbox": box, "score": score}
