"""The command ``facemask-zoo``: results to standard output, all else to standard error."""

from __future__ import annotations

import argparse
import functools
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from facemask_zoo import detect_command
from facemask_zoo.annotate import LANGUAGES
from facemask_zoo.backends import FRAMEWORKS, Framework, list_frameworks
from facemask_zoo.blurring import WAYS
from facemask_zoo.cards import DEFAULT_MODEL, DETECTION, list_models, load_card
from facemask_zoo.converters import shipping
from facemask_zoo.converters.formats.registry import PRECISIONS
from facemask_zoo.detect_command import Outputs, Selection
from facemask_zoo.detector import Detector
from facemask_zoo.errors import FaceMaskZooError
from facemask_zoo.extras import require
from facemask_zoo.files import check_place
from facemask_zoo.images import MAX_PIXELS
from facemask_zoo.landmarker import Landmarker
from facemask_zoo.options import TILES_HELP, TILES_METAVAR
from facemask_zoo.session import AUTO
from facemask_zoo.ssd.boxes import NMS_KINDS
from facemask_zoo.ssd.postprocess import IOU
from facemask_zoo.store import open_weights
from facemask_zoo.terminal import FAILED, guarded, start_logging
from facemask_zoo.version import __version__
from facemask_zoo.video import Clip

log = logging.getLogger(__name__)

_PROGRAM = "facemask-zoo"
_OTHERS_OPTIONS = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],
}


class _ModuleCommand(NamedTuple):
    """A command that lives beside the code it runs; imported only when it is called.

    Its module has `add_arguments(parser)` and `run(args)`, for argparse.
    """

    module: str
    extra: str
    summary: str


_MODULE_COMMANDS = {
    "batch": _ModuleCommand(
        "facemask_zoo.batch.command", "batch", "Millions of pictures, into one Parquet file."
    ),
    "bench": _ModuleCommand(
        "facemask_zoo.benchmarks.command", "all", "Measure how fast every framework is here."
    ),
    "convert": _ModuleCommand(
        "facemask_zoo.converters.command", "all", "Turn weights into another format, with proof."
    ),
    "data": _ModuleCommand(
        "facemask_zoo.datasets.command", "data", "Look at data sets; check, convert, split them."
    ),
    "eval": _ModuleCommand(
        "facemask_zoo.evaluation.command", "evaluation", "Measure models on annotated pictures."
    ),
    "mask": _ModuleCommand(
        "facemask_zoo.masks.command", "masks", "Put masks on bare faces; make whole data sets."
    ),
    "train": _ModuleCommand(
        "facemask_zoo.training.command", "training", "Train or fine-tune a model."
    ),
    "watch": _ModuleCommand(
        "facemask_zoo.tracking.command", "tracking", "Follow people in a video or camera."
    ),
}

app = typer.Typer(
    name=_PROGRAM,
    help="Find masked and bare faces in pictures and videos, on any framework.",
    epilog="Exit codes: 0 all went well, 1 something failed, 2 a wrong call, 130 Ctrl-C, "
    "141 the reader of the results closed the pipe.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
weights_app = typer.Typer(no_args_is_help=True, help="List, download and verify models.")
app.add_typer(weights_app, name="weights")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name; ``sys.argv`` if None.

    Returns:
        Exit status, see :mod:`facemask_zoo.terminal`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    start_logging()
    return guarded(functools.partial(_run, words))


def _run(words: list[str]) -> int:
    try:
        status = app(words, prog_name=_PROGRAM, standalone_mode=True)
    except SystemExit as exit_:
        status = exit_.code
    return status if isinstance(status, int) else int(status is not None)


def _ending(run: Callable[[], int]) -> None:
    """Run a command inside Typer, which knows exit codes but not our errors."""
    raise typer.Exit(guarded(run))


def _show_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"{_PROGRAM} {__version__}\n")
        raise typer.Exit


@app.callback()
def _common(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Warnings and errors only.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    if quiet:
        logging.getLogger().setLevel(logging.WARNING)


def _framework_names(incomplete: str) -> list[str]:
    return [name for name in (AUTO, *FRAMEWORKS) if name.startswith(incomplete)]


def _model_names(incomplete: str) -> list[str]:
    return [name for name in list_models(DETECTION) if name.startswith(incomplete)]


_OUTPUTS, _CHOICE, _MODEL = "What is written", "Which frames and faces", "Model"

_DETECT_EPILOG = """
**Examples**

- `facemask-zoo detect street.jpg --output drawn.jpg` draws boxes and labels.
- `facemask-zoo detect holiday/ --csv faces.csv` makes a table of a folder.
- `facemask-zoo detect square.jpg --tiles 448 --output drawn.jpg` finds small faces in a crowd.
- `facemask-zoo detect gate.mp4 --output gate-drawn.mp4 --every 5` annotates each fifth frame.
- `facemask-zoo detect gate.mp4 --blur pixelate --output hidden.mp4` hides every face.
- `facemask-zoo detect camera:0 --json --labels no_mask` reports bare faces as they come.
- `cat street.jpg | facemask-zoo detect - --json` reads standard input.
"""


@app.command("detect", epilog=_DETECT_EPILOG)
def _detect(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, videos, folders, globs, camera:0, rtsp:// and http(s):// addresses, "
            "or - for a picture on standard input.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Annotated picture or video; a folder for several sources. Browsers play "
            ".mp4 and .webm.",
            rich_help_panel=_OUTPUTS,
        ),
    ] = None,
    json_lines: Annotated[
        bool,
        typer.Option(
            "--json", help="One line of JSON per picture or frame.", rich_help_panel=_OUTPUTS
        ),
    ] = False,
    csv: Annotated[
        Path | None, typer.Option(help="Table with a row per face.", rich_help_panel=_OUTPUTS)
    ] = None,
    coco: Annotated[
        Path | None, typer.Option(help="COCO results file.", rich_help_panel=_OUTPUTS)
    ] = None,
    yolo: Annotated[
        Path | None, typer.Option(help="Folder of YOLO label files.", rich_help_panel=_OUTPUTS)
    ] = None,
    voc: Annotated[
        Path | None, typer.Option(help="Folder of Pascal VOC files.", rich_help_panel=_OUTPUTS)
    ] = None,
    crops: Annotated[
        Path | None, typer.Option(help="Folder of the faces, cut out.", rich_help_panel=_OUTPUTS)
    ] = None,
    margin: Annotated[
        float,
        typer.Option(
            help="Around each of --crops, as a share of its box.", rich_help_panel=_OUTPUTS
        ),
    ] = 0.0,
    blur: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help=f"Make faces unrecognisable in --output: {', '.join(WAYS)}.",
            rich_help_panel=_OUTPUTS,
        ),
    ] = None,
    language: Annotated[
        str,
        typer.Option(
            help=f"Of the labels in --output: {', '.join(LANGUAGES)}.", rich_help_panel=_OUTPUTS
        ),
    ] = "en",
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace files that exist; a source never is.",
            rich_help_panel=_OUTPUTS,
        ),
    ] = False,
    labels: Annotated[
        str,
        typer.Option(metavar="A,B", help="Only faces with these labels.", rich_help_panel=_CHOICE),
    ] = "",
    min_size: Annotated[
        float | None,
        typer.Option(
            metavar="PIXELS",
            help="Only faces whose box is that wide and high.",
            rich_help_panel=_CHOICE,
        ),
    ] = None,
    landmarks: Annotated[
        bool,
        typer.Option(
            "--landmarks",
            help="Also find 68 landmarks and the pose of each face, for --json and --output.",
            rich_help_panel=_OUTPUTS,
        ),
    ] = False,
    every: Annotated[
        int,
        typer.Option(metavar="N", help="Only each Nth frame.", rich_help_panel=_CHOICE),
    ] = 1,
    start: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="Leave out the start of a video.", rich_help_panel=_CHOICE
        ),
    ] = 0.0,
    end: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Where to stop in a video.", rich_help_panel=_CHOICE),
    ] = None,
    allow_private: Annotated[
        bool,
        typer.Option(
            "--allow-private",
            help="Also fetch pictures from private addresses.",
            rich_help_panel=_CHOICE,
        ),
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            help="Name or weights file.", autocompletion=_model_names, rich_help_panel=_MODEL
        ),
    ] = DEFAULT_MODEL,
    framework: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"{AUTO}, {', '.join(FRAMEWORKS)}.",
            autocompletion=_framework_names,
            rich_help_panel=_MODEL,
        ),
    ] = AUTO,
    device: Annotated[
        str, typer.Option(help="cpu, cuda or cuda:1.", rich_help_panel=_MODEL)
    ] = "cpu",
    precision: Annotated[
        str, typer.Option(help=f"{', '.join(PRECISIONS)}.", rich_help_panel=_MODEL)
    ] = "fp32",
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads (the framework's choice).", rich_help_panel=_MODEL),
    ] = None,
    conf: Annotated[
        float | None,
        typer.Option(help="Score threshold (the model's recommended).", rich_help_panel=_MODEL),
    ] = None,
    iou: Annotated[float, typer.Option(help="Overlap threshold.", rich_help_panel=_MODEL)] = IOU,
    nms: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help=f"Suppression: {', '.join(NMS_KINDS)} (the model's recommended).",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    tiles: Annotated[
        int | None,
        typer.Option(
            metavar=TILES_METAVAR,
            help=f"{TILES_HELP[0].upper()}{TILES_HELP[1:]}.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Run a file as it is, such as one of 8-bit integers.",
            rich_help_panel=_MODEL,
        ),
    ] = False,
    max_pixels: Annotated[
        int, typer.Option(help="Refuse larger pictures.", rich_help_panel=_MODEL)
    ] = MAX_PIXELS,
) -> None:
    """Find faces in pictures and videos."""

    def run() -> int:
        outputs = Outputs(output, crops, margin, csv, coco, yolo, voc, blur, language, overwrite)
        names = tuple(name.strip() for name in labels.split(",") if name.strip())
        selection = Selection(Clip(every, start, end), names, min_size, allow_private)
        outputs.check()
        detector = Detector.load(
            model,
            framework=framework,
            device=device,
            precision=precision,
            trust=trust,
            threads=threads,
            conf=conf,
            iou=iou,
            nms=nms,
            max_pixels=max_pixels,
            tiles=tiles,
        )
        points = None
        if landmarks:
            points = Landmarker.load(
                framework=framework,
                device=device,
                precision=precision,
                threads=threads,
                max_pixels=max_pixels,
            )
        quiet = not log.isEnabledFor(logging.INFO)
        return detect_command.detect(
            detector,
            sources,
            outputs,
            selection,
            landmarker=points,
            as_json=json_lines,
            quiet=quiet,
        )

    _ending(run)


def _add_module_command(name: str, row: _ModuleCommand) -> None:
    """A command whose options argparse reads; its module is imported when it is called."""

    def command(context: typer.Context) -> None:
        _ending(lambda: _run_module(name, row, context.args))

    app.command(name, help=row.summary, context_settings=_OTHERS_OPTIONS)(command)


def _run_module(name: str, row: _ModuleCommand, words: list[str]) -> int:
    implementation = require(row.module, row.extra)
    parser = argparse.ArgumentParser(prog=f"{_PROGRAM} {name}", description=row.summary)
    implementation.add_arguments(parser)
    status: int = implementation.run(parser.parse_args(words))
    return status


for _name, _row in _MODULE_COMMANDS.items():
    _add_module_command(_name, _row)

_Models = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODEL]...", help="Names; all of them unless given."),
]
_All = Annotated[bool, typer.Option("--all", help="Every model (the default).")]


@weights_app.command("list")
def _weights_list() -> None:
    """Models, and whether their weights are at hand."""

    def run() -> int:
        for name in list_models():
            card, path = load_card(name), open_weights(name).cached()
            place = str(path) if path else "not downloaded"
            sys.stdout.write(f"{name:12} {card.license:6} {place}\n{'':12} {card.summary}\n")
        return 0

    _ending(run)


def _chosen(models: list[str] | None, every: bool) -> list[str]:
    return list_models() if every or not models else models


@weights_app.command("download")
def _weights_download(models: _Models = None, every: _All = False) -> None:
    """Fetch and verify weights."""

    def run() -> int:
        for name in _chosen(models, every):
            sys.stdout.write(f"{name}: {open_weights(name).fetch()}\n")
        return 0

    _ending(run)


@weights_app.command("verify")
def _weights_verify(models: _Models = None, every: _All = False) -> None:
    """Check the weights at hand against their digests."""
    _ending(lambda: max([_verify(name) for name in _chosen(models, every)], default=0))


def _verify(name: str) -> int:
    weights = open_weights(name)
    try:
        sys.stdout.write(f"{name}: {'whole' if weights.verify() else 'not downloaded'}\n")
    except FaceMaskZooError as error:
        sys.stdout.write(f"{name}: {error}\n")
        return FAILED
    return 0


@weights_app.command("path")
def _weights_path(models: _Models = None, every: _All = False) -> None:
    """Where the weights lie."""
    _ending(lambda: max([_show_path(name) for name in _chosen(models, every)], default=0))


def _show_path(name: str) -> int:
    path = open_weights(name).cached()
    if path is None:
        log.error("%s is not downloaded. Run: facemask-zoo weights download %s", name, name)
        return FAILED
    sys.stdout.write(f"{path}\n")
    return 0


@weights_app.command("export")
def _weights_export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write, by model.")],
    models: _Models = None,
    every: _All = False,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="A format, such as onnx; may be repeated (those of every installed framework).",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.")
    ] = False,
) -> None:
    """Write models in every framework's format."""

    def run() -> int:
        check_place(folder)  # before anything is fetched
        for name in _chosen(models, every):
            model = open_weights(name).model()
            target = folder / model.card.name
            for path in shipping.export(model, target, formats or [], overwrite=overwrite):
                sys.stdout.write(f"{path}\n")
        return 0

    _ending(run)


@app.command("doctor")
def _doctor(
    json_lines: Annotated[
        bool, typer.Option("--json", help="One line of JSON per framework.")
    ] = False,
) -> None:
    """Which frameworks work here, and on which devices."""

    def run() -> int:
        for framework in list_frameworks():
            facts = examine(framework)
            if json_lines:
                sys.stdout.write(json.dumps(facts) + "\n")
                continue
            state = "works" if facts["works"] else "missing"
            detail = ", ".join(facts["devices"]) if facts["works"] else facts["problem"]
            version = facts["version"] or "-"
            sys.stdout.write(f"{framework.name:11} {version:16} {state:8} {detail}\n")
        return 0

    _ending(run)


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
