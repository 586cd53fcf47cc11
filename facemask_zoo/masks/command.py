"""``facemask-zoo mask``: put masks on bare faces, or lay ready ones over their pictures."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.cards import DEFAULT_LANDMARKS, DEFAULT_MODEL
from facemask_zoo.datasets.labels import NO_MASK
from facemask_zoo.datasets.types import Face
from facemask_zoo.datasets.wearing import Wearing
from facemask_zoo.detector import Detector
from facemask_zoo.errors import ImageError, InvalidArgumentError
from facemask_zoo.files import check_target
from facemask_zoo.images import load_image, save_image
from facemask_zoo.masks import overlay
from facemask_zoo.masks.generate import LAYOUTS, Outcome, Plan, Tool, generate, plan_jobs
from facemask_zoo.masks.landmarkers import (
    MEDIAPIPE_PYTHON,
    DlibLandmarker,
    FfhqLandmarker,
    Landmarker,
    MediaPipeLandmarker,
    PtsLandmarker,
    ZooLandmarker,
)
from facemask_zoo.masks.sheet import draw_sheet
from facemask_zoo.masks.template import list_templates
from facemask_zoo.masks.wearing import SHARES

log = logging.getLogger(__name__)

_OVERLAY = "overlay"
PROVIDERS = ("zoo", "mediapipe", "dlib", "ffhq", "pts")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "source",
        help=f"picture or folder of faces; or the word {_OVERLAY!r}, for masks that are ready",
    )
    parser.add_argument(
        "target", type=Path, help=f"folder to write to; after {_OVERLAY!r}, the data set's folder"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON per picture")
    _add_generating(parser.add_argument_group("masks on bare faces"))
    group = parser.add_argument_group(_OVERLAY)
    group.add_argument("--dataset", choices=tuple(overlay.LAYOUTS), help="whose folders and names")
    group.add_argument("--output", type=Path, help="folder to write to (as the data set calls it)")
    group.add_argument("--overwrite", action="store_true", help="write pictures again")


def run(args: argparse.Namespace) -> int:
    """Carry the command out.

    Returns:
        0; 1 if a picture failed.

    Raises:
        FaceMaskZooError: An option, a folder or a model is no good.
    """
    if args.source == _OVERLAY:
        return _run_overlay(args)
    return _run_sheet(args) if args.sheet else _run_generate(args)


@dataclasses.dataclass(frozen=True)
class Provider:
    """Which landmarks to use; makes them in each process.

    Attributes:
        kind: ``zoo``, ``mediapipe``, ``dlib``, ``ffhq`` or ``pts``.
        file: Metadata, model, interpreter or folder, as the kind needs.
        model: Detector that finds the faces for the zoo's own network, MediaPipe and dlib.
        framework: That runs the zoo's networks.
    """

    kind: str
    file: str
    model: str
    framework: str

    def __call__(self) -> Tool:
        if self.kind == "pts":
            return PtsLandmarker(Path(self.file) if self.file else None), None
        if self.kind == "ffhq":
            return FfhqLandmarker(self._required()), None
        landmarker: Landmarker
        if self.kind == "dlib":
            landmarker = DlibLandmarker(self._required())
        elif self.kind == "zoo":
            landmarker = ZooLandmarker(self.file or DEFAULT_LANDMARKS, self.framework)
        else:
            landmarker = MediaPipeLandmarker(self.file or None)
        return landmarker, faces_of(Detector.load(self.model, framework=self.framework))

    def _required(self) -> str:
        if not self.file:
            raise InvalidArgumentError(f"--landmarks {self.kind} needs --landmarks-file.")
        return self.file


def faces_of(detector: Detector) -> Callable[[NDArray[np.uint8]], list[Face]]:
    """A function that finds the faces in a picture, masked or not."""

    def find(image: NDArray[np.uint8]) -> list[Face]:
        result = detector.detect(image)
        corners = result.boxes.tolist()
        return [
            Face((x1, y1, x2, y2), label)
            for (x1, y1, x2, y2), label in zip(corners, result.labels, strict=True)
        ]

    return find


def _add_generating(group: argparse._ArgumentGroup) -> None:
    names = ", ".join(list_templates())
    group.add_argument(
        "--template", action="append", default=[], metavar="NAME", help=f"file, or one of: {names}"
    )
    group.add_argument(
        "--wearing",
        default="masked-face-net",
        metavar="SHARES",
        help=f"{', '.join(Wearing)}; or shares: {', '.join(SHARES)} (%(default)s)",
    )
    group.add_argument("--layout", default=LAYOUTS[0], choices=LAYOUTS, help="(%(default)s)")
    group.add_argument("--landmarks", default=PROVIDERS[0], choices=PROVIDERS, help="(%(default)s)")
    group.add_argument(
        "--landmarks-file",
        default="",
        metavar="PATH",
        help="ffhq-dataset-v2.json, dlib's model, folder of .pts files, the interpreter that "
        f"has MediaPipe (${MEDIAPIPE_PYTHON}), or landmark weights",
    )
    group.add_argument("--model", default=DEFAULT_MODEL, help="finds the faces (%(default)s)")
    group.add_argument(
        "--framework", default="auto", metavar="NAME", help=f"auto, {', '.join(FRAMEWORKS)}"
    )
    group.add_argument(
        "--sheet",
        action="store_true",
        help="write one picture instead: the largest face with every template, worn in every way",
    )
    group.add_argument("--seed", type=int, default=0)
    group.add_argument("--workers", type=int, default=1, help="processes (%(default)s)")


def _run_generate(args: argparse.Namespace) -> int:
    plan = Plan(
        Path(args.source),
        args.target,
        templates=tuple(args.template),
        shares=args.wearing,
        layout=args.layout,
        seed=args.seed,
    )
    total = len(plan_jobs(plan))
    return _report(generate(plan, _provider(args), workers=args.workers), total, args.json)


def _run_sheet(args: argparse.Namespace) -> int:
    check_target(args.target, overwrite=False)
    path = Path(args.source)
    landmarker, find_faces = _provider(args)()
    image = load_image(path)
    bare = None
    if find_faces:
        bare = [face.box for face in find_faces(image) if face.label == NO_MASK]
    faces = landmarker.find(image, path=path, boxes=bare)
    if not faces:
        raise ImageError(f"{path}: no bare face was found.")
    largest = max(faces, key=lambda points: float(np.ptp(points, axis=0).prod()))
    save_image(draw_sheet(image, largest, templates=args.template), args.target)
    log.info("%s", args.target)
    return 0


def _provider(args: argparse.Namespace) -> Provider:
    return Provider(args.landmarks, args.landmarks_file, args.model, args.framework)


def _run_overlay(args: argparse.Namespace) -> int:
    if not args.dataset:
        raise InvalidArgumentError(f"{_OVERLAY} needs --dataset {'|'.join(overlay.LAYOUTS)}.")
    laid = overlay.overlay(args.target, args.output, dataset=args.dataset, overwrite=args.overwrite)
    outcomes = (Outcome(each.mask, str(each.output), each.problem, each.resumed) for each in laid)
    return _report(outcomes, None, args.json)


def _report(outcomes: Iterable[Outcome], total: int | None, as_json: bool) -> int:
    written = there = failed = 0
    quiet = None if log.isEnabledFor(logging.INFO) else True
    for outcome in tqdm(outcomes, total=total, unit="picture", disable=quiet, file=sys.stderr):
        written += not outcome.problem and not outcome.resumed
        there += outcome.resumed
        failed += bool(outcome.problem)
        if outcome.problem:
            log.error("%s: %s", outcome.source, outcome.problem)
        if as_json:
            facts = {**dataclasses.asdict(outcome), "source": os.fspath(outcome.source)}
            sys.stdout.write(json.dumps(facts) + "\n")
    log.info("%d written, %d there before, %d failed.", written, there, failed)
    return 1 if failed else 0
