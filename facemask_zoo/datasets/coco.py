"""COCO: one JSON file with images, annotations and categories."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from facemask_zoo.datasets.collector import (
    BOX_SKIPPED,
    PICTURE_SKIPPED,
    Collector,
    from_width_and_height,
)
from facemask_zoo.datasets.labels import INCORRECT, LabelMap
from facemask_zoo.datasets.types import Dataset, Face, Picture
from facemask_zoo.errors import DatasetError

_Entry = dict[str, Any]
ANNOTATIONS_NAME = "annotations.json"
"""The file in a folder that the zoo wrote."""

_KEYS = ("images", "annotations", "categories")
_OWN_KEYS = ("wearing", "template")


def read_coco(path: Path, images: Path | None = None, names: LabelMap | None = None) -> Dataset:
    """Read a COCO file.

    Args:
        path: The JSON file, or a folder with ``annotations.json``. Besides COCO's own keys, an
            image may carry `source`, `three_class` and `group` (see :class:`Picture`), an
            annotation `ignore` and `attributes`.
        images: Folder of the pictures; by default the one beside the file that holds the first.
        names: Meaning of the category names.

    Raises:
        DatasetError: The file is missing or is not COCO at all.
    """
    names = names or LabelMap()
    path = path / ANNOTATIONS_NAME if path.is_dir() else path
    content = _load(path)
    collector = Collector(path, names)
    categories = {str(entry.get("id")): entry.get("name") for entry in content["categories"]}
    three_class = any(names.get(str(name)) == INCORRECT for name in categories.values())
    annotations: dict[str, list[_Entry]] = defaultdict(list)
    for annotation in content["annotations"]:
        annotations[str(annotation.get("image_id"))].append(annotation)
    folder = images or _find_images(path, content["images"])
    seen: set[str] = set()
    for entry in content["images"]:
        identity = str(entry.get("id"))
        if identity in seen:
            collector.problem("image listed twice", path, f"id {identity}", PICTURE_SKIPPED)
            continue
        seen.add(identity)
        faces = _faces(collector, categories, annotations.pop(identity, []))
        _add_picture(collector, folder, entry, faces, three_class)
    for annotation in [entry for entries in annotations.values() for entry in entries]:
        detail = f"no image has the id {annotation.get('image_id')!r}"
        collector.problem("face without a picture", _place(annotation), detail, BOX_SKIPPED)
    return dataclasses.replace(collector.dataset(), categories=_known(content["categories"], names))


def _known(entries: list[_Entry], names: LabelMap) -> tuple[tuple[int | str, str], ...]:
    found = [(_identity(entry), names.get(str(entry.get("name")))) for entry in entries]
    return tuple((number, label) for number, label in found if number is not None and label)


def _identity(entry: _Entry) -> int | str | None:
    value = entry.get("id")
    return value if isinstance(value, int | str) else None


def _load(path: Path) -> dict[str, list[_Entry]]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} cannot be read as COCO JSON: {error}") from error
    for key in _KEYS:
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DatasetError(f"{path} is not COCO: expected a list of objects under {key!r}.")
    return content  # type: ignore[no-any-return]


def _find_images(path: Path, entries: list[_Entry]) -> Path:
    """The folder beside the file that holds the first picture: of the same name, or the usual."""
    folders = [path.with_suffix(""), path.parent / "images", path.parent]
    first = str(entries[0].get("file_name")) if entries else ""
    return next((place for place in folders if os.path.isfile(place / first)), folders[0])


def _faces(
    collector: Collector, categories: dict[str, object], annotations: list[_Entry]
) -> tuple[Face, ...]:
    faces: list[Face] = []
    for annotation in annotations:
        place = _place(annotation)
        values = annotation.get("bbox")
        box = collector.box(values if isinstance(values, list) else (), place)
        name = categories.get(str(annotation.get("category_id")))
        ignore = bool(annotation.get("iscrowd") or annotation.get("ignore"))
        corners = from_width_and_height(box)
        found = collector.face(name, corners, place, ignore, _attributes(annotation))
        identity = str(annotation.get("id", ""))
        faces += [dataclasses.replace(face, identity=identity) for face in found]
    return tuple(faces)


def _attributes(annotation: _Entry) -> dict[str, str]:
    """What annotation tools keep under `attributes`, and what ``facemask-zoo mask`` adds."""
    values = annotation.get("attributes")
    found = dict(values) if isinstance(values, dict) else {}
    found |= {key: annotation[key] for key in _OWN_KEYS if key in annotation}
    return {key: str(value) for key, value in found.items() if isinstance(value, str | int | float)}


def _add_picture(
    collector: Collector,
    folder: Path,
    entry: _Entry,
    faces: tuple[Face, ...],
    three_class: bool,
) -> None:
    path = collector.inside(folder, entry.get("file_name"))
    size = collector.size(path) if path else None
    if path is None or size is None:
        return
    stated = (entry.get("width", size[0]), entry.get("height", size[1]))
    if stated != size:
        detail = f"the annotations say {stated}, but the picture has {size}"
        collector.problem("size differs", path, detail, PICTURE_SKIPPED)
        return
    collector.add(
        Picture(
            path,
            size,
            faces,
            source=str(entry.get("source", "")),
            three_class=bool(entry.get("three_class", three_class)),
            group=str(entry.get("group", "")),
            identity=_identity(entry),
        )
    )


def _place(annotation: _Entry) -> str:
    return f"annotation {annotation.get('id')!r}"
