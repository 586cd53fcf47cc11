"""How far a landmark network is from MediaPipe, on bare faces and on the same faces with masks.

MediaPipe looks at each bare face and at its mirror image; where the two agree, their mean is what
the network is measured against, on the bare face and on copies that wear a drawn mask.

Usage: python -m facemask_zoo.benchmarks.landmarks --data FILE --mediapipe PYTHON [--write FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from facemask_zoo.benchmarks import environment, markdown
from facemask_zoo.cards import DEFAULT_LANDMARKS
from facemask_zoo.datasets import read
from facemask_zoo.datasets.face_crops import FaceCrops
from facemask_zoo.datasets.landmarks import BROWS, EYES, JAW, MOUTH, NOSE, eye_distance
from facemask_zoo.files import atomic_path
from facemask_zoo.landmarker import Landmarker
from facemask_zoo.masks import MediaPipeLandmarker
from facemask_zoo.masks.face_crops import MARGIN, SIDE, make_crops

SECTION = "landmarks"
SMALLEST = 40.0
SEED = 1
_FAILED = 0.1
_TURNED = (0.0, 20.0, 45.0, 90.0)
_PARTS: Mapping[str, slice] = {
    "jaw": JAW,
    "brows": BROWS,
    "nose": NOSE,
    "eyes": EYES,
    "mouth": MOUTH,
}
_ANGLES = ("yaw", "pitch", "roll")
# Where the face's box lies in a crop: its longer side is known, the shorter does not matter.
_BOX = ((SIDE - SIDE / MARGIN) / 2, (SIDE + SIDE / MARGIN) / 2)


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What was found in some faces.

    Attributes:
        name: Who found it, and in what.
        errors: (N, 68) distances from the truth, in distances of the eyes; NaN where no face was
            found.
        angles: (N, 3) errors of yaw, pitch and roll in degrees, likewise.
    """

    name: str
    errors: NDArray[np.float64]
    angles: NDArray[np.float64]

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean error of each face that was found."""
        means = self.errors.mean(axis=1)
        return np.asarray(means[np.isfinite(means)])

    def row(self) -> list[str]:
        """How good the answers are, for a table."""
        means = self.means
        failed = (means > _FAILED).sum() + len(self.errors) - len(means)
        parts = (np.nanmean(self.errors[:, part]) for part in _PARTS.values())
        return [
            self.name,
            f"{len(means)} of {len(self.errors)}",
            _percent(float(means.mean())),
            _percent(float(np.median(means))),
            _percent(float(failed) / len(self.errors)),
            *(_percent(float(part)) for part in parts),
            *(f"{value:.1f}°" for value in np.nanmean(np.abs(self.angles), axis=0)),
        ]


def main() -> int:
    """Measure, print the tables and, if asked, write them, a diagram and a picture."""
    args = _parser().parse_args()
    teacher = MediaPipeLandmarker(args.mediapipe)
    if args.crops and args.crops.exists():
        crops = FaceCrops.load(args.crops)
    else:
        pictures = read(args.data, images=args.images).pictures
        crops = make_crops(pictures, teacher, smallest=SMALLEST, seed=SEED)
        if args.crops:
            crops.save(args.crops)
    landmarker = Landmarker.load(args.model, framework=args.framework)
    masked = dataclasses.replace(crops, bare=crops.masked[:, 0])
    answers = [
        ask_network(landmarker, crops, f"{args.model}, bare"),
        ask_network(landmarker, masked, f"{args.model}, masked"),
        ask_mediapipe(teacher, masked, "MediaPipe, masked"),
    ]
    text = report(answers, crops, args.model)
    sys.stdout.write(text + "\n")
    if args.write:
        markdown.replace_section(args.write, SECTION, text)
    if args.plot:
        with atomic_path(args.plot, overwrite=True) as path:
            draw(answers).savefig(path, format="png", dpi=90)
    return 0


def ask_network(landmarker: Landmarker, crops: FaceCrops, name: str) -> Answers:
    """The network's errors on the bare crops, through the same call as users make."""
    first, last = _BOX
    found = [landmarker.detect(crop, [(first, first, last, last)]) for crop in crops.bare]
    points = np.concatenate([each.points for each in found]) / SIDE
    poses = np.concatenate([each.poses for each in found])
    return _answers(name, crops, points.astype(np.float64), poses.astype(np.float64))


def ask_mediapipe(teacher: MediaPipeLandmarker, crops: FaceCrops, name: str) -> Answers:
    """MediaPipe's own errors, where the bare crops of `crops` are not what it has seen before."""
    first, last = _BOX
    points = np.full((len(crops), *crops.points.shape[1:]), np.nan)
    poses = np.full((len(crops), len(_ANGLES)), np.nan)
    for index, crop in enumerate(crops.bare):
        found = teacher.find_posed(crop, (first, first, last, last))
        if found:
            points[index], poses[index] = found[0] / SIDE, found[1]
    return _answers(name, crops, points, poses)


def report(answers: Sequence[Answers], crops: FaceCrops, model: str) -> str:
    """The tables in Markdown, and how they came about."""
    header = ["", "found", "mean", "median", f"over {_FAILED:.0%}", *_PARTS, *_ANGLES]
    whole = markdown.table(header, [each.row() for each in answers])
    turned = markdown.table(
        ["face turned by", "faces", *(each.name for each in answers)],
        [_turned(answers, crops, low, high) for low, high in itertools.pairwise(_TURNED)],
    )
    foot = (
        f"{len(crops)} bare faces of at least {SMALLEST:.0f} pixels on the validation "
        f"photographs, whose landmarks MediaPipe finds; each once as it is and once with a drawn "
        f"mask. Distances are in distances of the outer corners of the eyes; parts are means of "
        f"their points, angles mean absolute errors. A face that was not found counts as one over "
        f"{_FAILED:.0%}, and in no mean. {environment.sentence()}. Made by "
        "`make landmarks-evaluation`."
    )
    return f"{whole}\n\n{turned}\n\n{foot}"


def draw(answers: Sequence[Answers]) -> Figure:
    """Which share of the faces has at most which error."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for each in answers:
        means = np.sort(each.means)
        shares = np.arange(1, len(means) + 1) / len(each.errors)
        axes.plot(100 * means, 100 * shares, label=each.name)
    axes.set(xlabel="mean error, % of the eyes' distance", ylabel="% of the faces")
    axes.set(xlim=(0, 20), ylim=(0, 100))
    axes.grid(visible=True, linewidth=0.4)
    axes.legend(loc="lower right")
    return figure


def _answers(
    name: str, crops: FaceCrops, points: NDArray[np.float64], poses: NDArray[np.float64]
) -> Answers:
    truth = crops.points.astype(np.float64)
    errors = np.linalg.norm(points - truth, axis=2) / eye_distance(truth)[:, None]
    return Answers(name, errors, poses - crops.poses)


def _turned(answers: Sequence[Answers], crops: FaceCrops, low: float, high: float) -> list[str]:
    yaw = np.abs(crops.poses[:, 0])
    chosen = (yaw >= low) & (yaw < high)
    cells = [f"{low:.0f} to {high:.0f}°", str(int(chosen.sum()))]
    for each in answers:
        errors = each.errors[chosen]
        cells.append(_percent(float(np.nanmean(errors))) if np.isfinite(errors).any() else "-")
    return cells


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure a landmark network against MediaPipe.")
    parser.add_argument("--data", required=True, help="annotations, as for facemask-zoo eval")
    parser.add_argument("--images", help="folder of the pictures (beside --data)")
    parser.add_argument("--mediapipe", required=True, help="interpreter that has MediaPipe")
    parser.add_argument("--model", default=DEFAULT_LANDMARKS, help="(%(default)s)")
    parser.add_argument("--framework", default="auto")
    parser.add_argument("--crops", type=Path, help="keeps the crops; used if it is there")
    parser.add_argument("--write", type=Path, help="file with a section to replace")
    parser.add_argument("--plot", type=Path, help="PNG file to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
