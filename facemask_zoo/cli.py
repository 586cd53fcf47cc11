"""The command ``facemask-zoo``: results to standard output, all else to standard error."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from facemask_zoo.backends import FRAMEWORKS, Framework, list_frameworks
from facemask_zoo.cards import DEFAULT_MODEL, list_models, load_card
from facemask_zoo.converters import shipping
from facemask_zoo.converters.formats.registry import PRECISIONS
from facemask_zoo.detections import Detections
from facemask_zoo.detector import Detector
from facemask_zoo.errors import FaceMaskZooError, InvalidArgumentError
from facemask_zoo.extras import require
from facemask_zoo.files import Sources
from facemask_zoo.images import MAX_PIXELS
from facemask_zoo.runner import detect_and_draw, is_picture
from facemask_zoo.ssd.boxes import NMS_KINDS
from facemask_zoo.ssd.postprocess import IOU
from facemask_zoo.store import open_weights
from facemask_zoo.version import __version__
from facemask_zoo.video import expand, is_video

log = logging.getLogger(__name__)

_FAILED = 1
_MAX_STEM = 100


class _ModuleCommand(NamedTuple):
    """A command that lives beside the code it runs; imported only when it is called."""

    module: str
    extra: str
    summary: str


_MODULE_COMMANDS = {
    "convert": _ModuleCommand(
        "facemask_zoo.converters.command", "all", "turn weights into another format, with proof"
    ),
    "eval": _ModuleCommand(
        "facemask_zoo.evaluation.command", "evaluation", "measure models on annotated pictures"
    ),
    "mask": _ModuleCommand(
        "facemask_zoo.masks.command", "masks", "put masks on bare faces; make whole data sets"
    ),
    "train": _ModuleCommand(
        "facemask_zoo.training.command", "training", "train or fine-tune a model"
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name; ``sys.argv`` if None.

    Returns:
        Exit status: 0 if all went well, 1 if something failed, 2 for a wrong call.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s", force=True)
    try:
        args = _parser(words).parse_args(words)
        if args.quiet:
            logging.getLogger().setLevel(logging.WARNING)
        status: int = args.run(args)
        return status
    except FaceMaskZooError as error:
        log.error("facemask-zoo: %s", error)
        return _FAILED
    except KeyboardInterrupt:
        return 128 + 2
    except BrokenPipeError:
        sys.stderr.close()
        return _FAILED


def add_detector_arguments(parser: argparse.ArgumentParser, model: str = DEFAULT_MODEL) -> None:
    """The options that choose a detector; :func:`detector_from` reads them."""
    parser.add_argument("--model", default=model, help="name or weights file (%(default)s)")
    parser.add_argument(
        "--framework", default="auto", metavar="NAME", help=f"auto, {', '.join(FRAMEWORKS)}"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1 (%(default)s)")
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS)
    parser.add_argument(
        "--trust", action="store_true", help="run a file as it is, such as one of 8-bit integers"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (the framework's choice)")
    parser.add_argument("--conf", type=float, help="score threshold (the model's recommended)")
    parser.add_argument("--iou", type=float, default=IOU, help="overlap threshold (%(default)s)")
    parser.add_argument("--nms", choices=NMS_KINDS, help="suppression (the model's recommended)")
    parser.add_argument(
        "--max-pixels", type=int, default=MAX_PIXELS, help="refuse larger pictures (%(default)s)"
    )


def detector_from(args: argparse.Namespace) -> Detector:
    """The detector that the options of :func:`add_detector_arguments` describe."""
    return Detector.load(
        args.model,
        framework=args.framework,
        device=args.device,
        precision=args.precision,
        trust=args.trust,
        threads=args.threads,
        conf=args.conf,
        iou=args.iou,
        nms=args.nms,
        max_pixels=args.max_pixels,
    )


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="facemask-zoo", description="Find face masks in pictures."
    )
    parser.add_argument("--version", action="version", version=f"facemask-zoo {__version__}")
    parser.add_argument("-q", "--quiet", action="store_true", help="warnings and errors only")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_detect(commands.add_parser("detect", help="find faces in pictures and videos"))
    _add_weights(commands.add_parser("weights", help="list, download and verify models"))
    _add_doctor(commands.add_parser("doctor", help="which frameworks work here"))
    called = next((word for word in words if not word.startswith("-")), None)
    for name, row in _MODULE_COMMANDS.items():
        command = commands.add_parser(name, help=row.summary)
        if name == called:
            _add_module_command(command, row)
    return parser


def _add_module_command(parser: argparse.ArgumentParser, row: _ModuleCommand) -> None:
    implementation = require(row.module, row.extra)
    implementation.add_arguments(parser)
    parser.set_defaults(run=implementation.run)


def _add_detect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources", nargs="+", help="pictures, videos, folders, globs, a camera number, rtsp://"
    )
    add_detector_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one line of JSON per picture")
    parser.add_argument(
        "--output", type=Path, help="annotated picture or video; a folder for several sources"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what --output names")
    parser.set_defaults(run=_detect)


def _detect(args: argparse.Namespace) -> int:
    detector = detector_from(args)
    log.info("%s on %s", detector.card.name, FRAMEWORKS[detector.framework].title)
    items, failed = _expand_all(args.sources)
    total = len(items) + failed
    jobs = _jobs(items, args.output, alone=items == args.sources)
    sources = Sources(items)
    for source, target in jobs:
        try:
            for result in detect_and_draw(
                detector, source, target, overwrite=args.overwrite, sources=sources
            ):
                show(result, as_json=args.json)
        except FaceMaskZooError as error:
            log.error("facemask-zoo: %s", error)
            failed += 1
    if failed and total > 1:
        log.error("facemask-zoo: %d of %d sources failed.", failed, total)
    return _FAILED if failed else 0


def _expand_all(sources: Sequence[str]) -> tuple[list[str], int]:
    """Every single picture or stream, and the number of sources that hold none."""
    items: list[str] = []
    failed = 0
    for source in sources:
        try:
            items.extend(expand(source))
        except FaceMaskZooError as error:
            log.error("facemask-zoo: %s", error)
            failed += 1
    return items, failed


def show(result: Detections, *, as_json: bool) -> None:
    """Write one result to standard output, as JSON or for people."""
    if as_json:
        sys.stdout.write(result.to_json() + "\n")
    else:
        where = result.source if result.frame is None else f"{result.source}, frame {result.frame}"
        sys.stdout.write(f"{where}: {len(result)} face{'' if len(result) == 1 else 's'}\n")
        for label, score, box in zip(result.labels, result.scores, result.boxes, strict=True):
            corners = ", ".join(f"{value:.0f}" for value in box)
            sys.stdout.write(f"  {label:10} {score:.3f}  ({corners})\n")
    sys.stdout.flush()


def _jobs(
    items: Sequence[str], output: Path | None, *, alone: bool
) -> list[tuple[str, Path | None]]:
    """Every single picture or stream, and where to draw it; equal names get a number.

    Args:
        items: Pictures and streams.
        output: A folder; a file if the one item is what the user named.
        alone: Whether there is one item at most, and the user named it.
    """
    if output is None:
        return [(item, None) for item in items]
    names_a_file = output.suffix != "" and not output.is_dir()
    if alone and len(items) == 1 and names_a_file:
        return [(items[0], output)]
    if names_a_file and (is_picture(output) or is_video(output)):
        raise InvalidArgumentError(f"--output: expected a folder for the sources, got {output}.")
    used: set[str] = set()
    return [(item, output / _free_name(_drawn_name(item), used)) for item in items]


def _drawn_name(source: str) -> Path:
    """What to call the drawing: as the source, with a suffix that can be written."""
    path = Path(source)
    if not is_video(source):
        return Path(path.name if is_picture(path) else f"{path.name}.png")
    address = source.partition("://")[2].partition("?")[0].rpartition("@")[2]  # no passwords
    if not address and not source.isdecimal():
        return Path(path.name)
    return Path(re.sub(r"[^\w-]+", "_", address or source)[:_MAX_STEM] + ".mp4")


def _free_name(name: Path, used: set[str]) -> str:
    """The name, or else the first with a number that is not `used` yet, whatever its case."""
    free = name.name
    numbers = itertools.count(2)
    while free.casefold() in used:
        free = f"{name.stem}-{next(numbers)}{name.suffix}"
    used.add(free.casefold())
    return free


def _add_weights(parser: argparse.ArgumentParser) -> None:
    actions: dict[str, tuple[Callable[[argparse.Namespace], int], str]] = {
        "list": (_weights_list, "models, and whether their weights are at hand"),
        "download": (_weights_download, "fetch and verify weights"),
        "verify": (_weights_verify, "check the weights at hand against their digests"),
        "path": (_weights_path, "where the weights lie"),
    }
    subparsers = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (run, summary) in actions.items():
        action = subparsers.add_parser(name, help=summary)
        if name != "list":
            action.add_argument("models", nargs="*", help="names (default: all)", metavar="MODEL")
            action.add_argument("--all", action="store_true", help="every model (the default)")
        action.set_defaults(run=run)
    _add_export(subparsers.add_parser("export", help="write models in every framework's format"))


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to write, by model")
    parser.add_argument("models", nargs="*", help="names or weights files (default: all)")
    parser.add_argument("--all", action="store_true", help="every model (the default)")
    parser.add_argument(
        "--format",
        action="append",
        default=[],
        metavar="NAME",
        help="a format, such as onnx; may be repeated (those of every installed framework)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.set_defaults(run=_weights_export)


def _weights_export(args: argparse.Namespace) -> int:
    for name in _chosen(args):
        model = open_weights(name).model()
        folder = args.folder / model.card.name
        for path in shipping.export(model, folder, args.format, overwrite=args.overwrite):
            sys.stdout.write(f"{path}\n")
    return 0


def _weights_list(args: argparse.Namespace) -> int:
    for name in list_models():
        card, path = load_card(name), open_weights(name).cached()
        place = str(path) if path else "not downloaded"
        sys.stdout.write(f"{name:12} {card.license:6} {place}\n{'':12} {card.summary}\n")
    return 0


def _chosen(args: argparse.Namespace) -> list[str]:
    return list_models() if args.all or not args.models else list(args.models)


def _weights_download(args: argparse.Namespace) -> int:
    for name in _chosen(args):
        sys.stdout.write(f"{name}: {open_weights(name).fetch()}\n")
    return 0


def _weights_verify(args: argparse.Namespace) -> int:
    failed = False
    for name in _chosen(args):
        weights = open_weights(name)
        try:
            sys.stdout.write(f"{name}: {'whole' if weights.verify() else 'not downloaded'}\n")
        except FaceMaskZooError as error:
            sys.stdout.write(f"{name}: {error}\n")
            failed = True
    return _FAILED if failed else 0


def _weights_path(args: argparse.Namespace) -> int:
    missing = False
    for name in _chosen(args):
        path = open_weights(name).cached()
        if path:
            sys.stdout.write(f"{path}\n")
        else:
            log.error("%s is not downloaded. Run: facemask-zoo weights download %s", name, name)
            missing = True
    return _FAILED if missing else 0


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one line of JSON per framework")
    parser.set_defaults(run=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    for framework in list_frameworks():
        facts = examine(framework)
        if args.json:
            sys.stdout.write(json.dumps(facts) + "\n")
            continue
        state = "works" if facts["works"] else "missing"
        detail = ", ".join(facts["devices"]) if facts["works"] else facts["problem"]
        sys.stdout.write(f"{framework.name:11} {facts['version'] or '-':16} {state:8} {detail}\n")
    return 0


def examine(framework: Framework) -> dict[str, Any]:
    """Import a framework and report what it can do here, as JSON values."""
    facts: dict[str, Any] = {
        "framework": framework.name,
        "version": framework.version,
        "works": False,
        "devices": [],
        "precisions": [],
        "problem": "",
    }
    try:
        backend = framework.backend()
        facts.update(
            version=backend.version(),
            devices=backend.devices(),
            precisions=list(backend.precisions),
            works=True,
        )
    except FaceMaskZooError as error:
        facts["problem"] = str(error)
    return facts


if __name__ == "__main__":
    sys.exit(main())
