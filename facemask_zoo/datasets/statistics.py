"""What is in a data set: counts, sizes, and pictures of both."""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.annotate import COLOURS
from facemask_zoo.datasets.labels import LABELS
from facemask_zoo.datasets.types import Dataset
from facemask_zoo.extras import require

SIDES = (0, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Where the bins of the sizes of faces begin, in pixels (square root of the area)."""

_WEARING = "wearing"
_SIDE, _DPI = 4.2, 110


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Counts of a data set.

    Attributes:
        pictures: Number of pictures.
        without_faces: Those without any face.
        faces: Faces by label; those to be ignored under ``"ignored"``.
        wearing: Faces by how the mask is worn, where the set says so.
        sources: Pictures by collection, where the set says so.
        groups: Number of groups of near-duplicates; a picture without one is its own.
        sides: (F,) square root of the area of each face that counts, in pixels.
    """

    pictures: int
    without_faces: int
    faces: Mapping[str, int]
    wearing: Mapping[str, int]
    sources: Mapping[str, int]
    groups: int
    sides: NDArray[np.float64]

    @property
    def histogram(self) -> dict[str, int]:
        """Faces by size in pixels, in the bins of :data:`SIDES`."""
        counts, _ = np.histogram(self.sides, [*SIDES, np.inf])
        names = [f"{low}-{high}" for low, high in itertools.pairwise(SIDES)]
        return dict(zip([*names, f"{SIDES[-1]}+"], counts.tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """The statistics as JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        median = float(np.median(self.sides)) if len(self.sides) else None
        return {**values, "sides": self.histogram, "median_side": median}

    def to_text(self) -> str:
        """The statistics as lines of text."""
        lines = [
            f"{self.pictures} pictures ({self.without_faces} without faces), {self.groups} groups",
            f"faces: {_listed(self.faces)}",
        ]
        for name, counts in (("worn", self.wearing), ("sources", self.sources)):
            lines += [f"{name}: {_listed(counts)}"] if counts else []
        sizes = ", ".join(f"{name}: {count}" for name, count in self.histogram.items() if count)
        return "\n".join([*lines, f"sizes in pixels: {sizes or 'none'}"])


def describe(dataset: Dataset) -> Statistics:
    """Count what is in a data set."""
    faces = [face for picture in dataset.pictures for face in picture.faces]
    counted = [face for face in faces if not face.ignore]
    labels = Counter("ignored" if face.ignore else face.label for face in faces)
    worn = Counter(face.attributes[_WEARING] for face in counted if _WEARING in face.attributes)
    named = Counter(picture.source for picture in dataset.pictures if picture.source)
    groups = {p.group or f"file {p.path}" for p in dataset.pictures}
    return Statistics(
        pictures=len(dataset),
        without_faces=sum(not picture.faces for picture in dataset.pictures),
        faces={label: labels[label] for label in (*LABELS, "ignored") if labels[label]},
        wearing=dict(worn.most_common()),
        sources=dict(named.most_common()),
        groups=len(groups),
        sides=np.array([face.side for face in counted], np.float64),
    )


def plot(statistics: Statistics, title: str = "") -> bytes:
    """A pie of the classes, one of how masks are worn where that is known, and the sizes; PNG.

    Raises:
        FrameworkNotInstalledError: matplotlib is not installed.
    """
    counted = {name: n for name, n in statistics.faces.items() if name in LABELS}
    pies = [("faces", counted), ("worn", statistics.wearing)]
    pies = [(name, counts) for name, counts in pies if counts]
    figure = require("matplotlib.figure", "data").Figure(
        figsize=(_SIDE * (len(pies) + 1), _SIDE), dpi=_DPI, layout="constrained"
    )
    *left, last = figure.subplots(1, len(pies) + 1, squeeze=False)[0]
    for axes, (name, counts) in zip(left, pies, strict=True):
        _pie(axes, name, counts)
    bars = statistics.histogram
    last.bar(list(bars), list(bars.values()), color="0.45")
    last.tick_params(axis="x", rotation=60)
    last.set(title="sizes of faces", xlabel="pixels", ylabel="faces")
    if title:
        figure.suptitle(title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _pie(axes: Any, name: str, counts: Mapping[str, int]) -> None:
    known = [COLOURS.get(label) for label in counts]
    colours = [[part / 255 for part in colour] for colour in known if colour]
    axes.pie(
        list(counts.values()),
        labels=[f"{label} ({count:,})" for label, count in counts.items()],
        colors=colours if len(colours) == len(counts) else None,
        autopct="%.0f %%",
        textprops={"fontsize": "small"},
    )
    axes.set_title(name)


def _listed(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    parts = [f"{count} {name} ({count / total:.1%})" for name, count in counts.items()]
    return ", ".join(parts) or "none"
