"""What a reader returns: plain, frozen values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.datasets.labels import LABELS

Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Face:
    """One labelled face.

    Attributes:
        box: Corners x1, y1, x2, y2 in pixels of the picture.
        label: One of ``LABELS``.
        ignore: Whether it counts neither for nor against a detector (VOC ``difficult``, COCO
            ``iscrowd`` or ``ignore``).
        identity: What the annotation calls itself; empty where a format does not number faces.
        attributes: What else is said about it, in the words of the set: ``wearing``, ``pose``,
            ``occlusion`` and so on.
    """

    box: Box
    label: str
    ignore: bool = False
    identity: str = ""
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    @property
    def side(self) -> float:
        """Square root of the area, in pixels; 0 for a box without area."""
        x1, y1, x2, y2 = self.box
        return math.sqrt(max(x2 - x1, 0.0) * max(y2 - y1, 0.0))


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture and its faces.

    Attributes:
        path: The file.
        size: Width and height, in pixels, upright (after its EXIF orientation).
        faces: What is labelled; empty for a picture without faces.
        source: Collection that it comes from.
        three_class: False where `incorrect` was not told apart, so that an incorrect mask hides
            among the other labels.
        group: Pictures of one group are nearly the same; empty if unknown.
        identity: COCO's id of the picture; None where the format has none.
    """

    path: Path
    size: tuple[int, int]
    faces: tuple[Face, ...] = ()
    source: str = ""
    three_class: bool = True
    group: str = ""
    identity: int | str | None = None

    @property
    def boxes(self) -> NDArray[np.float64]:
        """(F, 4) corners of the faces, in pixels."""
        return np.array([face.box for face in self.faces], np.float64).reshape(-1, 4)

    @property
    def labels(self) -> list[str]:
        """Labels of the faces."""
        return [face.label for face in self.faces]

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """(F,) whether each face is to be ignored."""
        return np.array([face.ignore for face in self.faces], np.bool_)


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong with a data set.

    Attributes:
        kind: What is wrong, in a few words; problems are counted by kind.
        place: File, or file and entry.
        detail: What was expected and what came.
        outcome: What became of it, for example ``"box skipped"``.
    """

    kind: str
    place: str
    detail: str
    outcome: str


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Pictures in the order of their annotations.

    Attributes:
        path: Annotation file or folder.
        pictures: The pictures that could be found and identified.
        problems: What the reader had to skip.
        categories: Label that each category id of the annotations stands for, in COCO's manner.
    """

    path: Path
    pictures: tuple[Picture, ...]
    problems: tuple[Problem, ...] = ()
    categories: tuple[tuple[int | str, str], ...] = tuple(enumerate(LABELS, 1))

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def face_count(self) -> int:
        """Number of faces, those to be ignored included."""
        return sum(len(picture.faces) for picture in self.pictures)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the collections, sorted."""
        return tuple(sorted({picture.source for picture in self.pictures}))

    def from_sources(self, sources: Iterable[str]) -> Dataset:
        """The pictures of some collections alone."""
        chosen = set(sources)
        kept = tuple(picture for picture in self.pictures if picture.source in chosen)
        return dataclasses.replace(self, pictures=kept)

    def first(self, count: int) -> Dataset:
        """The first `count` pictures."""
        return dataclasses.replace(self, pictures=self.pictures[:count])
