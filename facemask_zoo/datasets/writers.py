"""Annotations and pictures in the layouts that others read: COCO, YOLO and Pascal VOC.

Each writer fills one new folder, and :func:`~facemask_zoo.datasets.reading.read` reads it back.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from facemask_zoo.datasets import voc
from facemask_zoo.datasets.coco import ANNOTATIONS_NAME
from facemask_zoo.datasets.collector import BOX_SKIPPED, PICTURE_SKIPPED
from facemask_zoo.datasets.labels import LABELS
from facemask_zoo.datasets.types import Box, Dataset, Face, Picture, Problem
from facemask_zoo.errors import InvalidArgumentError, UnknownNameError
from facemask_zoo.files import atomic_path

PLACEMENTS = ("copy", "link", "none")
"""What becomes of the pictures: a copy, a hard link, or annotations alone."""

_YOLO_NAME = "data.yaml"
_IMAGES, _LABEL_FILES = "images", "labels"
_RENAMED = "picture renamed"
_XML_NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DIGITS = 3


@dataclasses.dataclass(frozen=True)
class _Item:
    """A picture and the name that it gets, below the folder of pictures."""

    picture: Picture
    name: PurePosixPath


def write(
    dataset: Dataset, folder: str | os.PathLike[str], kind: str = "coco", *, pictures: str = "copy"
) -> list[Problem]:
    """Write a data set into a new folder; it is there as a whole or not at all.

    What a format cannot say is left out and reported: YOLO knows neither faces to be ignored nor
    attributes; YOLO and VOC know neither groups nor sources; VOC rounds boxes to pixels.

    Args:
        dataset: What to write.
        folder: Where to; it must not exist.
        kind: A name in :data:`WRITERS`.
        pictures: One of :data:`PLACEMENTS`.

    Returns:
        What was left out or renamed, and why.

    Raises:
        UnknownNameError: There is no such format or placement.
        InvalidArgumentError: There is no picture.
        OutputError: Something is there already.
    """
    target = Path(folder)
    with atomic_path(target) as temporary:
        temporary.mkdir()
        return write_into(dataset, temporary, kind, pictures=pictures)


def write_into(dataset: Dataset, folder: Path, kind: str, *, pictures: str) -> list[Problem]:
    """The same into a folder that is there and empty; see :func:`write`."""
    if kind not in WRITERS:
        raise UnknownNameError.among("format", kind, WRITERS)
    if pictures not in PLACEMENTS:
        raise UnknownNameError.among("placement", pictures, PLACEMENTS)
    if not dataset.pictures:
        raise InvalidArgumentError(f"{dataset.path}: expected pictures, found none.")
    writer, images = WRITERS[kind]
    problems: list[Problem] = []
    items = _placed(_named(dataset.pictures, problems), folder / images, pictures, problems)
    writer(items, folder, problems)
    return problems


def _named(pictures: Sequence[Picture], problems: list[Problem]) -> list[_Item]:
    """Names below the deepest common folder; none differs from another by its suffix alone."""
    root = os.path.commonpath([picture.path.absolute().parent for picture in pictures])
    seen: set[Path] = set()
    taken: set[str] = set()
    items = []
    for picture in pictures:
        path = picture.path.absolute()
        if path in seen:
            detail = "it stands in the annotations more than once"
            problems.append(Problem("doubled picture", str(path), detail, PICTURE_SKIPPED))
            continue
        seen.add(path)
        wanted = PurePosixPath(path.relative_to(root).as_posix())
        name = _free(wanted, taken)
        if name != wanted:
            problems.append(Problem("name taken", str(path), f"now {name}", _RENAMED))
        items.append(_Item(picture, name))
    return items


def _free(name: PurePosixPath, taken: set[str]) -> PurePosixPath:
    stem, number = name.stem, 1
    while str(name.with_suffix("")).casefold() in taken:
        number += 1
        name = name.with_name(f"{stem}-{number}{name.suffix}")
    taken.add(str(name.with_suffix("")).casefold())
    return name


def _placed(items: Sequence[_Item], folder: Path, how: str, problems: list[Problem]) -> list[_Item]:
    """Those whose picture could be copied or linked."""
    if how == "none":
        return list(items)
    done = []
    for item in items:
        target = folder / item.name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _place(item.picture.path, target, how)
        except OSError as error:
            detail = error.strerror or str(error)
            path = str(item.picture.path)
            problems.append(Problem("unreadable picture", path, detail, PICTURE_SKIPPED))
            continue
        done.append(item)
    return done


def _place(source: Path, target: Path, how: str) -> None:
    if how == "link":
        os.link(source.resolve(), target)
    else:
        shutil.copyfile(source, target)


def _write_coco(items: Sequence[_Item], folder: Path, problems: list[Problem]) -> None:
    numbers = _numbers([item.picture.identity for item in items])
    faces = [
        (number, face)
        for number, item in zip(numbers, items, strict=True)
        for face in item.picture.faces
    ]
    own = [int(face.identity) if face.identity.isdecimal() else None for _, face in faces]
    content = {
        "images": [_coco_image(*pair) for pair in zip(items, numbers, strict=True)],
        "annotations": [
            _coco_face(face, number, identity)
            for identity, (number, face) in zip(_numbers(own), faces, strict=True)
        ],
        "categories": [{"id": number, "name": label} for number, label in enumerate(LABELS, 1)],
    }
    (folder / ANNOTATIONS_NAME).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _numbers(own: Sequence[int | str | None]) -> list[int]:
    """The numbers that the source gave, if each has one and none is there twice; else new ones."""
    given = [number for number in own if isinstance(number, int)]
    return given if len(set(given)) == len(own) else list(range(1, len(own) + 1))


def _coco_image(item: _Item, number: int) -> dict[str, Any]:
    width, height = item.picture.size
    facts = {"source": item.picture.source, "group": item.picture.group}
    return {
        "id": number,
        "file_name": str(item.name),
        "width": width,
        "height": height,
        "three_class": item.picture.three_class,
        **{key: value for key, value in facts.items() if value},
    }


def _coco_face(face: Face, image: int, number: int) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(value, _DIGITS) for value in face.box)
    width, height = round(x2 - x1, _DIGITS), round(y2 - y1, _DIGITS)
    return {
        "id": number,
        "image_id": image,
        "category_id": LABELS.index(face.label) + 1,
        "bbox": [x1, y1, width, height],
        "area": round(width * height, _DIGITS),
        "iscrowd": int(face.ignore),
        **({"attributes": dict(face.attributes)} if face.attributes else {}),
    }


def _write_yolo(items: Sequence[_Item], folder: Path, problems: list[Problem]) -> None:
    for item in items:
        target = (folder / _LABEL_FILES / item.name).with_suffix(".txt")
        target.parent.mkdir(parents=True, exist_ok=True)
        lines = []
        for face in item.picture.faces:
            if face.ignore:
                detail = "YOLO knows no faces that are to be ignored"
                place = str(item.picture.path)
                problems.append(Problem("ignored face", place, detail, BOX_SKIPPED))
            else:
                lines.append(_yolo_line(face, item.picture.size))
        target.write_text("".join(lines), encoding="utf-8")
    names = "".join(f"  {number}: {label}\n" for number, label in enumerate(LABELS))
    text = f"path: .\ntrain: {_IMAGES}\nval: {_IMAGES}\nnames:\n{names}"
    (folder / _YOLO_NAME).write_text(text, encoding="utf-8")


def _yolo_line(face: Face, size: tuple[int, int]) -> str:
    (x1, y1, x2, y2), (width, height) = face.box, size
    shares = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    return " ".join([str(LABELS.index(face.label)), *(f"{share:.7f}" for share in shares)]) + "\n"


def _write_voc(items: Sequence[_Item], folder: Path, problems: list[Problem]) -> None:
    for item in items:
        target = (folder / voc.ANNOTATIONS / item.name).with_suffix(".xml")
        target.parent.mkdir(parents=True, exist_ok=True)
        root = _voc(item)
        ElementTree.indent(root)
        text = ElementTree.tostring(root, encoding="unicode")
        target.write_text(_NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text), encoding="utf-8")


def _voc(item: _Item) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    _add(root, {"folder": item.name.parent.name, "filename": item.name.name})
    _add(ElementTree.SubElement(root, "source"), {"database": item.picture.source or voc.UNKNOWN})
    width, height = item.picture.size
    _add(ElementTree.SubElement(root, "size"), {"width": width, "height": height, "depth": 3})
    for face in item.picture.faces:
        entry = ElementTree.SubElement(root, "object")
        _add(entry, {"name": face.label, "difficult": int(face.ignore)})
        _add(entry, {k: v for k, v in face.attributes.items() if _is_field(k)})
        _add(ElementTree.SubElement(entry, "bndbox"), _corners(face.box))
    return root


def _is_field(name: str) -> bool:
    return bool(_XML_NAME.fullmatch(name)) and name not in voc.RESERVED


def _corners(box: Box) -> dict[str, int]:
    return dict(zip(("xmin", "ymin", "xmax", "ymax"), map(round, box), strict=True))


def _add(parent: ElementTree.Element, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        ElementTree.SubElement(parent, name).text = str(value)


_Writer = Callable[[Sequence[_Item], Path, list[Problem]], None]

WRITERS: Mapping[str, tuple[_Writer, str]] = MappingProxyType(
    {
        "coco": (_write_coco, _IMAGES),
        "yolo": (_write_yolo, _IMAGES),
        "voc": (_write_voc, voc.IMAGES),
    }
)
"""The writers by name of their format, and their folder of pictures."""
