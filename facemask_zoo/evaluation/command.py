"""``facemask-zoo eval``: measure models on annotated pictures."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from facemask_zoo.backends import FRAMEWORKS, find_framework
from facemask_zoo.cards import DEFAULT_MODEL
from facemask_zoo.converters.formats.registry import PRECISIONS
from facemask_zoo.datasets.options import add_reading_options
from facemask_zoo.detector import Detector
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.evaluation.figures import RATE, RESAMPLES
from facemask_zoo.evaluation.inputs import RESULT_OPTIONS, Inputs, read_inputs
from facemask_zoo.evaluation.report import check_report, write_report
from facemask_zoo.evaluation.results_file import write_results
from facemask_zoo.evaluation.runs import PROTOCOLS, Run, Task, evaluate, evaluate_results
from facemask_zoo.evaluation.table import render
from facemask_zoo.files import check_place
from facemask_zoo.options import add_tiles_option
from facemask_zoo.ssd.boxes import NMS_KINDS
from facemask_zoo.ssd.postprocess import IOU
from facemask_zoo.store import open_weights, split_size
from facemask_zoo.tiling import check_tiles

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--data",
        required=True,
        type=Path,
        metavar="PATH",
        help="COCO .json, .csv, YOLO .yaml, or a folder with VOC, YOLO or faces.csv",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the pictures")
    add_reading_options(parser)
    _add_parts(parser)
    _add_models(parser)
    _add_measures(parser)
    _add_results(parser)


def _add_parts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sources", metavar="A,B", help="only pictures of these collections")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N pictures")
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="NAME=A,B",
        help="also measure these collections together, under a name",
    )
    parser.add_argument("--negatives", type=Path, metavar="DIR", help="pictures without faces")
    parser.add_argument(
        "--negatives-last", type=int, metavar="N", help="only the last N of them by name"
    )


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        nargs="*",
        default=[DEFAULT_MODEL],
        help="names or files, with @640 or @480x640 behind it for another input size; "
        f"none to measure files of results alone ({DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--framework",
        nargs="+",
        default=["auto"],
        metavar="NAME",
        help=f"each model runs on each: auto, {', '.join(FRAMEWORKS)}",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1 (%(default)s)")
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS)
    parser.add_argument(
        "--trust", action="store_true", help="run files as they are, such as 8-bit integers"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (the framework's choice)")
    parser.add_argument("--iou", type=float, default=IOU, help="overlap threshold (%(default)s)")
    parser.add_argument("--nms", choices=NMS_KINDS, help="suppression (each model's recommended)")
    add_tiles_option(parser)


def _add_measures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--protocol",
        default="ap",
        choices=tuple(PROTOCOLS),
        help="average precision, or masked faces as dataroots counted them (%(default)s)",
    )
    parser.add_argument(
        "--conf", type=float, help="threshold for labels and mistakes (each model's recommended)"
    )
    parser.add_argument(
        "--rate",
        type=float,
        nargs="+",
        default=[RATE],
        metavar="X",
        help="false boxes a picture at which recall is stated (%(default)s)",
    )
    parser.add_argument(
        "--false-at",
        type=float,
        nargs="+",
        default=[],
        metavar="CONF",
        help="more thresholds at which boxes on --negatives are counted",
    )
    parser.add_argument(
        "--resamples",
        type=int,
        default=RESAMPLES,
        metavar="N",
        help="of the pictures, for intervals of 95 %%; 0 for none (%(default)s)",
    )


def _add_results(parser: argparse.ArgumentParser) -> None:
    for option, what in RESULT_OPTIONS.items():
        parser.add_argument(
            option, action="append", default=[], metavar="NAME[@CONF]=FILE", help=what
        )
    parser.add_argument(
        "--second-opinion",
        action="append",
        default=[],
        metavar="NAME[@CONF]=FILE",
        help="boxes of a face detector: the report shows where it sees faces that nobody labelled",
    )
    parser.add_argument(
        "--save-results", type=Path, metavar="DIR", help="write what was found as COCO results"
    )
    parser.add_argument("--report", type=Path, metavar="DIR", help="write HTML, JSON, CSV and PNG")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier report")
    parser.add_argument("--json", action="store_true", help="one line of JSON per run")


def run(args: argparse.Namespace) -> int:
    """Carry the command out.

    Returns:
        0; what goes wrong is raised.

    Raises:
        FaceMaskZooError: The data, a model or an option is no good.
    """
    inputs = read_inputs(args)
    _check_outputs(args)
    runs = []
    for each in _measure_all(args, inputs):
        runs.append(each)
        if args.json:
            sys.stdout.write(json.dumps(each.to_dict()) + "\n")
            sys.stdout.flush()
        if args.save_results and each.framework:
            _save(args, each, inputs.task)
    table = render([each.row() for each in runs])
    if args.json:
        log.info("%s", table)
    else:
        sys.stdout.write(table + "\n")
    if args.report:
        _report(args, runs, inputs)
    return 0


def _check_outputs(args: argparse.Namespace) -> None:
    """Refuse what can be refused before anything long runs."""
    if not args.model and not (args.results or args.face_results):
        raise InvalidArgumentError("--model: expected a model, or boxes from a file.")
    if not args.model and args.tiles is not None:
        raise InvalidArgumentError("--tiles: boxes from a file stay as they are: give a --model.")
    for name in args.framework:
        if name != "auto":
            find_framework(name)
    for model in args.model:
        weights = open_weights(model, trust=args.trust)
        if args.tiles is not None:
            check_tiles(args.tiles, weights.graph.input_shape)
    if args.report:
        check_report(args.report, overwrite=args.overwrite)
    if args.save_results:
        check_place(args.save_results)


def _measure_all(args: argparse.Namespace, inputs: Inputs) -> Iterator[Run]:
    for model in args.model:
        for framework in args.framework:
            yield _measure(args, model, framework, inputs.task)
    for each in inputs.results:
        yield evaluate_results(
            each.name,
            inputs.task,
            each.detections,
            conf=each.conf,
            on_negatives=each.on_negatives,
        )


def _report(args: argparse.Namespace, runs: Sequence[Run], inputs: Inputs) -> None:
    written = write_report(
        args.report,
        runs,
        inputs.check,
        overwrite=args.overwrite,
        second_opinions=inputs.second_opinions,
    )
    for path in written:
        log.info("Wrote %s", path)


def _save(args: argparse.Namespace, measured: Run, task: Task) -> None:
    stem = re.sub(r"[^\w.-]+", "_", f"{measured.model}-{measured.framework}")
    targets = [(f"{stem}.json", measured.samples, task.dataset)]
    if task.negatives:
        targets.append((f"{stem}.negatives.json", measured.negative_samples, task.negatives))
    for name, samples, dataset in targets:
        path = args.save_results / name
        write_results(path, samples, dataset, overwrite=args.overwrite)
        log.info("Wrote %s", path)


def _measure(args: argparse.Namespace, model: str, framework: str, task: Task) -> Run:
    detector = Detector.load(
        model,
        framework=framework,
        device=args.device,
        precision=args.precision,
        trust=args.trust,
        threads=args.threads,
        iou=args.iou,
        nms=args.nms,
        conf=args.conf,
        tiles=args.tiles,
    )
    start = time.perf_counter()
    result = evaluate(detector, task, conf=args.conf)
    if split_size(model)[1]:
        result = dataclasses.replace(result, model=f"{result.model}@{model.rpartition('@')[2]}")
    seconds = time.perf_counter() - start
    log.info("%s: %d pictures in %.1f s", result.name, len(task.dataset), seconds)
    return result
