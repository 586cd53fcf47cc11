"""MAFA: ``LabelTrainAll.mat`` and ``LabelTestAll.mat``, or the same numbers as text."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from facemask_zoo.datasets import matlab
from facemask_zoo.datasets.collector import (
    BOX_SKIPPED,
    FILE_SKIPPED,
    Collector,
    find_folder,
    from_width_and_height,
)
from facemask_zoo.datasets.labels import MASK, NO_MASK, LabelMap
from facemask_zoo.datasets.text_files import read_text
from facemask_zoo.datasets.types import Box, Dataset, Face, Picture
from facemask_zoo.errors import DatasetError
from facemask_zoo.images import IMAGE_SUFFIXES

LABEL_FILES = ("LabelTrainAll.mat", "LabelTestAll.mat")
_LABEL_FOLDERS = ("", "MAFA-Label-Train", "MAFA-Label-Test")
_IMAGE_FOLDERS = ("images", "train-images/images", "test-images/images", ".")
_VARIABLES = ("label_train", "LabelTest")
_NAME_FIELDS = ("imgName", "name")

_OCCLUDERS = {1: "simple", 2: "complex", 3: "body"}
_POSES = {1: "left", 2: "left-frontal", 3: "frontal", 4: "right-frontal", 5: "right"}
_BODY, _BARE, _INVALID = 3, 2, 3


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Where a row of numbers says what; `kind` is None where all faces are occluded."""

    kind: int | None
    occluder: int
    degree: int
    pose: int


_COLUMNS: Mapping[int, _Columns] = MappingProxyType(
    {21: _Columns(None, 12, 13, 16), 18: _Columns(4, 9, 10, 13)}
)
"""By the length of a row: 21 numbers in the training labels, 18 in those for testing."""


def read_mafa(path: Path, images: Path | None = None, names: LabelMap | None = None) -> Dataset:
    """Read MAFA's labels.

    MAFA knows faces behind something, not masks: what is in front of the face is simple (of one
    colour), complex, or part of a body. The first two count as `mask`, the third (hands, hair) and
    faces that are marked as unmasked as `no_mask`; those marked as invalid are ignored. Type,
    degree (1 to 3) and pose are attributes.

    Args:
        path: One of the ``.mat`` files; a text file with the picture's name and the same numbers
            in each line, or with lines ``# NAME`` before those of its faces; or the folder of
            either ``.mat`` file.
        images: Folder of the pictures; by default the usual ones beside the file.
        names: Not used.

    Raises:
        DatasetError: The file is missing or of another kind.
    """
    file = find_labels(path) if path.is_dir() else path
    if file is None:
        raise DatasetError(f"{path}: expected {' or '.join(LABEL_FILES)}.")
    collector = Collector(path, names or LabelMap())
    entries = _from_text(collector, file) if file.suffix != ".mat" else _from_matlab(file)
    faces: dict[str, list[Face]] = defaultdict(list)
    for name, place, row in entries:
        faces[name] += [] if row is None else _face(collector, row, place)
    if not faces:
        raise DatasetError(f"{file}: expected MAFA's labels, found none.")
    folder = images or find_folder(file.parent, _IMAGE_FOLDERS, next(iter(faces)))
    for name, found in faces.items():
        picture = collector.inside(folder, name)
        size = collector.size(picture) if picture else None
        if picture and size:
            collector.add(Picture(picture, size, tuple(found), three_class=False))
    return collector.dataset()


_Entry = tuple[str, str, Sequence[object] | None]
"""Name of a picture, place of an entry, and its numbers; None for a picture alone."""


def find_labels(folder: Path) -> Path | None:
    """The file of labels in a folder, or in the one that MAFA keeps it in."""
    places = [folder / inner / name for inner in _LABEL_FOLDERS for name in LABEL_FILES]
    return next((place for place in places if place.is_file()), None)


def _from_matlab(file: Path) -> Iterator[_Entry]:
    content = matlab.load(file)
    table = next((content[name] for name in _VARIABLES if name in content), None)
    fields = () if table is None else table.dtype.names or ()
    name_field = next((name for name in _NAME_FIELDS if name in fields), "")
    if table is None or not name_field or "label" not in fields:
        raise DatasetError(f"{file} is not MAFA's: expected {' or '.join(_VARIABLES)}.")
    for number, entry in enumerate(table.ravel(), 1):
        name, place = matlab.text(entry[name_field]), f"{file}, entry {number}"
        yield name, place, None
        try:
            yield from ((name, place, row) for row in matlab.rows(entry["label"]))
        except DatasetError:
            yield name, place, ()


def _from_text(collector: Collector, file: Path) -> Iterator[_Entry]:
    name = ""
    for number, line in enumerate(read_text(file).splitlines(), 1):
        words = re.split(r"[\s,]+", line.strip().lstrip("#").strip())
        place = f"{file}:{number}"
        if Path(words[0]).suffix.lower() in IMAGE_SUFFIXES:
            name = words.pop(0)
            yield name, place, None
        if not any(words):
            continue
        if name:
            yield name, place, words
        else:
            collector.problem("face without a picture", place, line[:80], FILE_SKIPPED)


def _face(collector: Collector, row: Sequence[object], place: str) -> list[Face]:
    columns = _COLUMNS.get(len(row))
    if columns is None:
        detail = f"expected {' or '.join(map(str, _COLUMNS))} numbers, but got {len(row)}"
        collector.problem("malformed line", place, detail, BOX_SKIPPED)
        return []
    box = from_width_and_height(collector.box(row[:4], place))
    codes = _codes(row, columns)
    if box is not None and codes is None:
        collector.problem("malformed line", place, f"got {row!r:.80}", BOX_SKIPPED)
    if box is None or codes is None:
        return []
    return [_labelled(box, *codes)]


def _codes(row: Sequence[object], columns: _Columns) -> tuple[int, int, int, int] | None:
    places = (columns.occluder, columns.degree, columns.pose)
    try:
        kind = 1 if columns.kind is None else int(float(row[columns.kind]))  # type: ignore[arg-type]
        found = [int(float(row[place])) for place in places]  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return kind, found[0], found[1], found[2]


def _labelled(box: Box, kind: int, occluder: int, degree: int, pose: int) -> Face:
    attributes = {"occluder": _OCCLUDERS.get(occluder, ""), "pose": _POSES.get(pose, "")}
    attributes["occlusion"] = str(degree) if degree > 0 else ""
    label = NO_MASK if kind == _BARE or occluder == _BODY else MASK
    said = {name: value for name, value in attributes.items() if value}
    return Face(box, label, kind == _INVALID, attributes=said)
