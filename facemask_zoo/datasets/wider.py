"""WIDER FACE: ``wider_face_*_bbx_gt.txt`` and ``wider_face_*.mat``."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from facemask_zoo.datasets import matlab
from facemask_zoo.datasets.collector import (
    BOX_SKIPPED,
    FILE_SKIPPED,
    Collector,
    find_folder,
    from_width_and_height,
)
from facemask_zoo.datasets.labels import NO_MASK, LabelMap
from facemask_zoo.datasets.text_files import read_text
from facemask_zoo.datasets.types import Dataset, Face, Picture
from facemask_zoo.errors import DatasetError
from facemask_zoo.images import IMAGE_SUFFIXES

NAME = re.compile(r"wider_face_(train|val|test)(_bbx_gt\.txt|\.mat)", re.IGNORECASE)
"""Names of the annotation files."""

_LISTS = ("event_list", "file_list", "face_bbx_list")
# In the text, after the box; the Matlab file has a list of each.
_FLAGS = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")
_INVALID = "invalid"
_BOX_LENGTHS = (4, 4 + len(_FLAGS))

_Entry = tuple[str, str, Sequence[object] | None]
"""Name of a picture, place of an entry, and its numbers; None for a picture alone."""


def read_wider(path: Path, images: Path | None = None, names: LabelMap | None = None) -> Dataset:
    """Read annotations of WIDER FACE.

    The set tells no masks apart: every face is `no_mask`, and `three_class` is false. Faces marked
    as invalid are ignored; blur, occlusion and so on (numbers, 0 for none) are attributes.

    Args:
        path: A text or ``.mat`` file, or the folder of one or more of the text files.
        images: Folder with the folders of the events; by default ``WIDER_train/images`` and so on
            beside the folder of the file.
        names: Not used.

    Raises:
        DatasetError: The file is missing or of another kind.
    """
    files = find_files(path) if path.is_dir() else [path]
    if not files:
        raise DatasetError(f"{path}: expected wider_face_train_bbx_gt.txt or the like.")
    collector = Collector(path, names or LabelMap())
    for file in files:
        _read_file(collector, file, images)
    return collector.dataset()


def find_files(folder: Path) -> list[Path]:
    """The text files of annotations in a folder, or in the one that WIDER FACE keeps them in."""
    found = [*folder.glob("*.txt"), *folder.glob("wider_face_split/*.txt")]
    return sorted(file for file in found if NAME.fullmatch(file.name))


def _read_file(collector: Collector, file: Path, images: Path | None) -> None:
    faces: dict[str, list[Face]] = defaultdict(list)
    entries = _from_matlab(file) if file.suffix == ".mat" else _from_text(collector, file)
    for name, place, row in entries:
        faces[name] += [] if row is None else _face(collector, row, place)
    if not faces:
        raise DatasetError(f"{file}: expected the annotations of WIDER FACE, found none.")
    folder = images or find_folder(file.parent, _folders(file), next(iter(faces)))
    for name, found in faces.items():
        picture = collector.inside(folder, name)
        size = collector.size(picture) if picture else None
        if picture and size:
            collector.add(Picture(picture, size, tuple(found), three_class=False))


def _folders(file: Path) -> list[str]:
    match = NAME.fullmatch(file.name)
    parts = [match[1].lower()] if match else ["train", "val", "test"]
    return [*(f"WIDER_{part}/images" for part in parts), "images", "."]


def _from_text(collector: Collector, file: Path) -> Iterator[_Entry]:
    """A picture's name, the number of its faces, and a line for each; one of zeros if none."""
    name, place, left = "", "", 0
    for number, line in enumerate(read_text(file).splitlines(), 1):
        words = line.split()
        if words and Path(line.strip()).suffix.lower() in IMAGE_SUFFIXES:
            _count(collector, place, left)
            name, place, left = line.strip(), f"{file}:{number}", -1
            yield name, place, None
        elif words and name and left == -1 and len(words) == 1 and words[0].isdecimal():
            left = int(words[0])
        elif words and name and not (left == 0 and set(words) == {"0"}):
            left -= 1
            yield name, f"{file}:{number}", words
        elif words and not name:
            place = f"{file}:{number}"
            collector.problem("face without a picture", place, line[:80], FILE_SKIPPED)
    _count(collector, place, left)


def _count(collector: Collector, place: str, left: int) -> None:
    if left:
        detail = "the lines do not fit the number that stands before them"
        collector.problem("count differs", place, detail, "read nevertheless")


def _from_matlab(file: Path) -> Iterator[_Entry]:
    content = matlab.load(file)
    if not all(name in content for name in _LISTS):
        raise DatasetError(f"{file} is not of WIDER FACE: expected {', '.join(_LISTS)}.")
    lists = [content[f"{flag}_label_list"] for flag in _FLAGS if f"{flag}_label_list" in content]
    complete = len(lists) == len(_FLAGS)
    columns = [content[name] for name in _LISTS] + (lists if complete else [])
    for event, files, *values in zip(*map(matlab.cells, columns), strict=False):
        for each in zip(matlab.cells(files), *map(matlab.cells, values), strict=False):
            name = f"{matlab.text(event)}/{matlab.text(each[0])}.jpg"
            yield name, f"{file}, {name}", None
            yield from _rows(name, f"{file}, {name}", each[1:])


def _rows(name: str, place: str, matrices: Sequence[object]) -> Iterator[_Entry]:
    try:
        tables = [list(matlab.rows(matrix)) for matrix in matrices]
        for parts in zip(*tables, strict=True):
            yield name, place, [number for part in parts for number in part]
    except (DatasetError, ValueError):
        yield name, place, ()


def _face(collector: Collector, row: Sequence[object], place: str) -> list[Face]:
    if len(row) not in _BOX_LENGTHS:
        detail = f"expected {' or '.join(map(str, _BOX_LENGTHS))} numbers, but got {len(row)}"
        collector.problem("malformed line", place, detail, BOX_SKIPPED)
        return []
    box = from_width_and_height(collector.box(row[:4], place))
    said = {
        flag: f"{value}".removesuffix(".0") for flag, value in zip(_FLAGS, row[4:], strict=False)
    }
    flags = {flag: value for flag, value in said.items() if value != "0"}
    ignore = flags.pop(_INVALID, "") != ""
    return [] if box is None else [Face(box, NO_MASK, ignore, attributes=flags)]
