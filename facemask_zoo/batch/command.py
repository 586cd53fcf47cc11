"""``facemask-zoo batch``: any number of pictures into one Parquet file."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.batch.cluster import RayEngine
from facemask_zoo.batch.local import LocalEngine
from facemask_zoo.batch.run import Engine, Progress
from facemask_zoo.batch.run import run as run_batch
from facemask_zoo.batch.units import IMAGE_COLUMN
from facemask_zoo.cards import DEFAULT_MODEL
from facemask_zoo.converters.formats.registry import PRECISIONS
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.images import MAX_PIXELS
from facemask_zoo.options import add_tiles_option
from facemask_zoo.session import AUTO
from facemask_zoo.ssd.boxes import NMS_KINDS
from facemask_zoo.ssd.postprocess import IOU

log = logging.getLogger(__name__)

_LOCAL, _RAY = "local", "ray"
_SECONDS_BETWEEN_LINES = 30.0
_LOADING = (
    *("model", "framework", "device", "precision", "threads"),
    *("conf", "iou", "nms", "tiles", "trust", "max_pixels"),
)
_RAY_ONLY = {"address": None, "cpus_per_worker": 1.0, "gpus_per_worker": 0.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SRC",
        help="pictures, tar shards, Parquet files, folders with all below them, globs",
    )
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace --out if it exists")
    parser.add_argument(
        "--image-column",
        default=IMAGE_COLUMN,
        metavar="NAME",
        help="of Parquet sources, where the pictures are (%(default)s)",
    )
    parser.add_argument(
        "--key-column", metavar="NAME", help="of Parquet sources, what names them (the row number)"
    )
    _add_engine(parser.add_argument_group("where it runs"))
    _add_model(parser.add_argument_group("model"))


def run(args: argparse.Namespace) -> int:
    """Carry the command out.

    Returns:
        0, also if pictures could not be read: their rows say why.

    Raises:
        FaceMaskZooError: A source, an option, the model or the target is no good.
    """
    progress = _Progress()
    summary = run_batch(
        args.sources,
        args.out,
        _engine(args),
        loading=_loading(args),
        column=args.image_column,
        key=args.key_column,
        overwrite=args.overwrite,
        report=progress,
    )
    progress.end()
    log.info("%s: %d pictures, %d with an error.", args.out, summary.rows, summary.errors)
    return 0


def _add_engine(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--engine",
        choices=(_LOCAL, _RAY),
        default=_LOCAL,
        help="processes of this machine, or a Ray cluster (%(default)s)",
    )
    group.add_argument(
        "--workers", type=_positive, metavar="N", help="how many (as there are cores for)"
    )
    group.add_argument(
        "--address", help="of Ray: host:port, ray://host:port, auto (a Ray of its own)"
    )
    group.add_argument(
        "--cpus-per-worker", type=float, default=1.0, metavar="N", help="of Ray (%(default)s)"
    )
    group.add_argument(
        "--gpus-per-worker", type=float, default=0.0, metavar="N", help="of Ray (%(default)s)"
    )


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model", default=DEFAULT_MODEL, help="name or weights file (%(default)s)")
    group.add_argument(
        "--framework", default=AUTO, metavar="NAME", help=f"{AUTO}, {', '.join(FRAMEWORKS)}"
    )
    group.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1 (%(default)s)")
    group.add_argument("--precision", choices=PRECISIONS, default="fp32", help="(%(default)s)")
    group.add_argument(
        "--threads", type=_positive, default=1, help="CPU threads of each worker (%(default)s)"
    )
    group.add_argument("--conf", type=float, help="score threshold (the model's recommended)")
    group.add_argument("--iou", type=float, default=IOU, help="overlap threshold (%(default)s)")
    group.add_argument("--nms", choices=NMS_KINDS, help="suppression (the model's recommended)")
    add_tiles_option(group)
    group.add_argument("--trust", action="store_true", help="run a weights file as it is")
    group.add_argument(
        "--max-pixels", type=_positive, default=MAX_PIXELS, help="refuse larger ones (%(default)s)"
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, but got {text}")
    return number


def _engine(args: argparse.Namespace) -> Engine:
    if args.engine == _RAY:
        return RayEngine(args.address, args.workers, args.cpus_per_worker, args.gpus_per_worker)
    for name, usual in _RAY_ONLY.items():
        if getattr(args, name) != usual:
            option = "--" + name.replace("_", "-")
            raise InvalidArgumentError(f"{option} is for --engine {_RAY}.")
    return LocalEngine(args.workers)


def _loading(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in _LOADING}


class _Progress:
    """Rate and time left on standard error: in place on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._in_place = self._console.is_terminal
        self._began = time.monotonic()
        self._line_at = self._began

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if not log.isEnabledFor(logging.INFO):
            return
        if self._in_place:
            sys.stderr.write(f"\r\x1b[K{self._text(progress, now)}")
            sys.stderr.flush()
        elif now - self._line_at >= _SECONDS_BETWEEN_LINES:
            self._line_at = now
            log.info("%s", self._text(progress, now))

    def end(self) -> None:
        """Leave the terminal as it was."""
        if self._in_place:
            sys.stderr.write("\r\x1b[K")

    def _text(self, progress: Progress, now: float) -> str:
        seconds = max(now - self._began, 1e-9)
        ours = progress.share - progress.share_before
        left = seconds * (1 - progress.share) / ours if ours else 0
        return (
            f"{progress.share:.0%}, {progress.done:,} pictures, {progress.done / seconds:.1f}/s, "
            f"{progress.errors:,} with an error, {_duration(left)} left"
        )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
