"""What AIZOO's inference scripts did, on any framework, behind the same flags.

Differences are deliberate: nothing opens a window, the network's own input size is always used,
every script starts with the same model, and the end of a video is the end of the program.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from facemask_zoo.backends import find_framework
from facemask_zoo.detector import Detector
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.runner import Steps, detect_and_draw
from facemask_zoo.ssd.postprocess import IOU
from facemask_zoo.terminal import STOPPED, finishing_on_interrupt, guarded, start_logging

DEFAULT_MODEL = "aizoo-260"

_IMAGE_IOU = IOU
_VIDEO_IOU = 0.5


def main(framework: str, arguments: Sequence[str] | None = None) -> int:
    """Run one of the scripts.

    Args:
        framework: Name of the framework that the script stands for.
        arguments: Words after the program's name; ``sys.argv`` if None.

    Returns:
        Exit status, see :mod:`facemask_zoo.terminal`.
    """
    parser = _parser(framework)
    args = parser.parse_args(arguments)
    if args.img_mode == 1 and not args.img_path:
        parser.error("--img-path is needed, or --img-mode 0 and --video-path")
    start_logging()
    return guarded(lambda: _run(framework, args), Path(sys.argv[0]).name)


def _run(framework: str, args: argparse.Namespace) -> int:
    is_image = args.img_mode == 1
    iou = args.iou if args.iou is not None else _IMAGE_IOU if is_image else _VIDEO_IOU
    source = args.img_path if is_image else args.video_path
    _check_prototxt(args)
    detector = Detector.load(args.model, framework=framework, conf=args.conf, iou=iou, nms="aizoo")
    with finishing_on_interrupt() as stopped:
        steps = Steps(overwrite=args.overwrite, stopped=stopped)
        for _, result in detect_and_draw(detector, source, args.output, steps=steps):
            sys.stdout.write(f"{result.to_rows()}\n")
            sys.stdout.flush()
        return STOPPED if stopped() else 0


def _check_prototxt(args: argparse.Namespace) -> None:
    """Caffe's two files are found by one name; a pair of different names is refused."""
    expected = Path(args.model).with_suffix(".prototxt")
    if getattr(args, "proto", None) not in (None, expected):
        raise InvalidArgumentError(f"--proto: expected {expected}, but got {args.proto}.")


def _parser(framework: str) -> argparse.ArgumentParser:
    title = find_framework(framework).title
    parser = argparse.ArgumentParser(
        description=f"Find face masks with {title}. Prints one row "
        "[class_id, conf, xmin, ymin, xmax, ymax] per face; class 0 wears a mask."
    )
    parser.add_argument(
        "--img-mode", type=int, choices=(0, 1), default=1, help="1 for a picture, 0 for a video"
    )
    parser.add_argument("--img-path", help="picture")
    parser.add_argument("--video-path", default="0", help="video file, or 0 for the camera")
    parser.add_argument("--output", type=Path, help="write the annotated picture or video here")
    parser.add_argument("--overwrite", action="store_true", help="replace what --output names")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or weights file (%(default)s)")
    if framework == "opencv":
        parser.add_argument("--proto", type=Path, help="graph of --model; found by its name")
    parser.add_argument("--conf", type=float, help="score threshold (the model's recommended)")
    parser.add_argument(
        "--iou",
        type=float,
        help=f"overlap threshold ({_IMAGE_IOU} for pictures, {_VIDEO_IOU} for videos)",
    )
    return parser
