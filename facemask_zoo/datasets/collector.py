"""What all readers share: finding pictures, checking entries, and writing down what is wrong."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from facemask_zoo.datasets.labels import INCORRECT, NO_MASK, LabelMap
from facemask_zoo.datasets.pictures import read_size
from facemask_zoo.datasets.types import Box, Dataset, Face, Picture, Problem
from facemask_zoo.errors import ImageError

PICTURE_SKIPPED = "picture skipped"
BOX_SKIPPED = "box skipped"
FILE_SKIPPED = "file skipped"


class Collector:
    """Gathers the pictures of one data set.

    Args:
        path: Annotation file or folder.
        names: Meaning of the category names.
    """

    def __init__(self, path: Path, names: LabelMap) -> None:
        self._path = path
        self._names = names
        self._pictures: list[Picture] = []
        self._problems: list[Problem] = []

    def dataset(self) -> Dataset:
        """Everything gathered so far."""
        return Dataset(self._path, tuple(self._pictures), tuple(self._problems))

    def dataset_by_its_faces(self) -> Dataset:
        """The same, where the format cannot say which classes were told apart but by using them."""
        used = {label for picture in self._pictures for label in picture.labels}
        self._pictures = [
            dataclasses.replace(picture, three_class=INCORRECT in used)
            for picture in self._pictures
        ]
        return self.dataset()

    def problem(self, kind: str, place: object, detail: str, outcome: str) -> None:
        """Write down that something is wrong."""
        self._problems.append(Problem(kind, str(place), detail, outcome))

    def add(self, picture: Picture) -> None:
        """Take a picture."""
        self._pictures.append(picture)

    def inside(self, folder: Path, name: object) -> Path | None:
        """The file `name` below `folder`; a name that leads out of it is a problem."""
        if not isinstance(name, str) or not name:
            self.problem("no file name", self._path, f"got {name!r}", PICTURE_SKIPPED)
            return None
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or PureWindowsPath(name).drive or ".." in parts.parts:
            detail = f"{name!r} leads out of {folder}"
            self.problem("unsafe file name", self._path, detail, PICTURE_SKIPPED)
            return None
        return folder / parts

    def size(self, path: Path) -> tuple[int, int] | None:
        """Width and height of a picture; one that is missing or damaged is a problem."""
        if not os.path.isfile(path):  # Path.is_file raises on names that are too long
            self.problem("missing picture", path, "no such file", PICTURE_SKIPPED)
            return None
        try:
            return read_size(path)
        except ImageError as error:
            self.problem("corrupt picture", path, str(error), PICTURE_SKIPPED)
            return None

    def label(self, name: object, place: object) -> str | None:
        """The label that a category stands for; an unknown one is a problem."""
        label = self._names.get(name) if isinstance(name, str) else None
        if label is None:
            self.problem("unknown category", place, f"got {name!r}", BOX_SKIPPED)
        return label

    def box(self, values: Sequence[object], place: object) -> Box | None:
        """Four finite numbers; anything else is a problem."""
        try:
            numbers = [float(value) for value in values]  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            numbers = []
        if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
            detail = f"expected four finite numbers, but got {str(values)[:80]}"
            self.problem("malformed box", place, detail, BOX_SKIPPED)
            return None
        return (numbers[0], numbers[1], numbers[2], numbers[3])

    def face(
        self,
        name: object,
        box: Box | None,
        place: object,
        ignore: bool,
        attributes: Mapping[str, str] | None = None,
    ) -> list[Face]:
        """The face, or nothing if its box or its category is no good."""
        if box is None:
            return []
        if isinstance(name, str) and self._names.ignores(name):
            return [Face(box, NO_MASK, True, attributes=attributes or {})]
        label = self.label(name, place)
        return [] if label is None else [Face(box, label, ignore, attributes=attributes or {})]


def from_width_and_height(box: Box | None) -> Box | None:
    """Corners of a box given as left, top, width and height."""
    if box is None:
        return None
    x, y, width, height = box
    return (x, y, x + width, y + height)


def find_folder(start: Path, names: Sequence[str], first: str) -> Path:
    """The folder of the pictures: in or beside `start`, the first that holds `first`.

    Args:
        start: Folder of the annotations.
        names: Where pictures usually lie.
        first: Name of one of them.

    Returns:
        It, or the likeliest if there is none.
    """
    folders = [parent / name for parent in (start, start.parent) for name in names]
    return next((folder for folder in folders if os.path.isfile(folder / first)), folders[0])
