"""A look at every picture and every box before hours are spent on them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from facemask_zoo.datasets.collector import BOX_SKIPPED, PICTURE_SKIPPED
from facemask_zoo.datasets.labels import LABELS
from facemask_zoo.datasets.types import Box, Dataset, Face, Picture, Problem
from facemask_zoo.errors import DatasetError, ImageError
from facemask_zoo.images import load_image

BOX_CLIPPED = "box clipped"

# Annotation tools round, and count from 0 or from 1.
_TOLERANCE = 1.0


@dataclasses.dataclass(frozen=True)
class CheckReport:
    """What is wrong with a data set, and what is left of it.

    Attributes:
        dataset: The sound pictures with their sound faces; every box has an area and lies inside
            its picture.
        problems: Everything that was skipped or clipped.
    """

    dataset: Dataset
    problems: tuple[Problem, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of problems of each kind, the most frequent first."""
        return dict(Counter(problem.kind for problem in self.problems).most_common())

    @property
    def faces(self) -> dict[str, int]:
        """Number of usable faces of each label; those to be ignored are counted apart."""
        found: Counter[str] = Counter()
        for picture in self.dataset.pictures:
            found.update("ignored" if face.ignore else face.label for face in picture.faces)
        return {label: found[label] for label in (*LABELS, "ignored")}

    @property
    def without_faces(self) -> int:
        """Number of usable pictures that show no face."""
        return sum(not picture.faces for picture in self.dataset.pictures)

    def require_faces(self) -> Dataset:
        """The usable part of the data set.

        Raises:
            DatasetError: No picture, or no face that counts, is left.
        """
        if not any(self.faces[label] for label in LABELS):
            raise DatasetError(f"Nothing to work with.\n{self.to_text()}")
        return self.dataset

    def to_text(self, examples: int = 3) -> str:
        """The report as lines of text.

        Args:
            examples: How many problems of each kind to spell out.
        """
        faces = ", ".join(f"{count} {label}" for label, count in self.faces.items() if count)
        lines = [
            f"{self.dataset.path}: {len(self.dataset)} pictures "
            f"({self.without_faces} without faces), faces: {faces or 'none'}"
        ]
        for kind, count in self.counts.items():
            found = [problem for problem in self.problems if problem.kind == kind]
            lines.append(f"  {count} x {kind} ({found[0].outcome})")
            lines += [f"    {problem.place}: {problem.detail}" for problem in found[:examples]]
            if count > examples:
                lines.append(f"    and {count - examples} more")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "path": str(self.dataset.path),
            "pictures": len(self.dataset),
            "without_faces": self.without_faces,
            "faces": self.faces,
            "counts": self.counts,
            "problems": [dataclasses.asdict(problem) for problem in self.problems],
        }


def check(dataset: Dataset, *, decode: bool = True) -> CheckReport:
    """Find what cannot be trained or measured on.

    Args:
        dataset: What a reader returned; its own problems are part of the report.
        decode: Also decode every picture, which finds files that were cut off.
    """
    problems = list(dataset.problems)

    pictures = []
    for picture in dataset.pictures:
        if decode and not _decodes(picture, problems):
            continue
        pictures.append(dataclasses.replace(picture, faces=_sound_faces(picture, problems)))
    kept = dataclasses.replace(dataset, pictures=tuple(pictures))
    return CheckReport(kept, tuple(problems))


def _decodes(picture: Picture, problems: list[Problem]) -> bool:
    try:
        load_image(picture.path)
    except ImageError as error:
        place = str(picture.path)
        problems.append(Problem("corrupt picture", place, str(error), PICTURE_SKIPPED))
        return False
    return True


def _sound_faces(picture: Picture, problems: list[Problem]) -> tuple[Face, ...]:
    faces = []
    for face in picture.faces:
        inside = _clip(face.box, picture.size)
        kind, outcome = _judge(face.box, inside)
        if kind:
            detail = f"{face.label} {_rounded(face.box)} in {picture.size}"
            problems.append(Problem(kind, str(picture.path), detail, outcome))
        if outcome != BOX_SKIPPED:
            faces.append(dataclasses.replace(face, box=inside))
    return tuple(faces)


def _judge(box: Box, inside: Box) -> tuple[str, str]:
    """Kind of problem, if any, and what to do about the box."""
    if box[2] <= box[0] or box[3] <= box[1]:
        return "box without area", BOX_SKIPPED
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        return "box outside the picture", BOX_SKIPPED
    if max(abs(a - b) for a, b in zip(box, inside, strict=True)) > _TOLERANCE:
        return "box reaches outside the picture", BOX_CLIPPED
    return "", ""


def _clip(box: Box, size: tuple[int, int]) -> Box:
    (x1, y1, x2, y2), (width, height) = box, size
    return (
        min(max(x1, 0.0), width),
        min(max(y1, 0.0), height),
        min(max(x2, 0.0), width),
        min(max(y2, 0.0), height),
    )


def _rounded(box: Box) -> tuple[float, ...]:
    return tuple(round(value, 1) for value in box)
