"""``facemask-zoo eval``: measure models on annotated pictures."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path

from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.cards import DEFAULT_MODEL
from facemask_zoo.converters.formats.registry import PRECISIONS
from facemask_zoo.datasets import FORMATS, LABELS, CheckReport, Dataset, check, read
from facemask_zoo.detector import Detector
from facemask_zoo.errors import DatasetError, InvalidArgumentError
from facemask_zoo.evaluation.report import write_report
from facemask_zoo.evaluation.runs import PROTOCOLS, Run, evaluate
from facemask_zoo.evaluation.table import render
from facemask_zoo.ssd.boxes import NMS_KINDS
from facemask_zoo.ssd.postprocess import IOU

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
    parser.add_argument(
        "--format", default="auto", choices=("auto", *FORMATS), help="of the data (%(default)s)"
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME=LABEL",
        help=f"what a category of the data means: {', '.join(LABELS)}",
    )
    parser.add_argument("--sources", metavar="A,B", help="only pictures of these collections")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N pictures")
    parser.add_argument(
        "--model", nargs="+", default=[DEFAULT_MODEL], help=f"names or files ({DEFAULT_MODEL})"
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
    parser.add_argument(
        "--protocol",
        default="ap",
        choices=tuple(PROTOCOLS),
        help="average precision, or masked faces as dataroots counted them (%(default)s)",
    )
    parser.add_argument(
        "--conf", type=float, help="threshold for labels and mistakes (each model's recommended)"
    )
    parser.add_argument("--iou", type=float, default=IOU, help="overlap threshold (%(default)s)")
    parser.add_argument("--nms", choices=NMS_KINDS, help="suppression (each model's recommended)")
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
    report = _load(args)
    runs = []
    for model in args.model:
        for framework in args.framework:
            runs.append(_measure(args, model, framework, report.dataset))
            if args.json:
                sys.stdout.write(json.dumps(runs[-1].to_dict()) + "\n")
                sys.stdout.flush()
    table = render([each.row() for each in runs])
    if args.json:
        log.info("%s", table)
    else:
        sys.stdout.write(table + "\n")
    if args.report:
        for path in write_report(args.report, runs, report, overwrite=args.overwrite):
            log.info("Wrote %s", path)
    return 0


def _load(args: argparse.Namespace) -> CheckReport:
    labels = dict(_split_label(text) for text in args.label)
    dataset = read(args.data, args.images, kind=args.format, labels=labels)
    if args.sources:
        dataset = _from_sources(dataset, args.sources.split(","))
    if args.limit is not None:
        if args.limit < 1:
            raise InvalidArgumentError(f"--limit: expected at least 1, but got {args.limit}.")
        dataset = dataset.first(args.limit)
    report = check(dataset)
    report.require_faces()
    log.info("%s", report.to_text())
    return report


def _split_label(text: str) -> tuple[str, str]:
    name, separator, label = text.rpartition("=")
    if not separator:
        raise InvalidArgumentError(f"--label: expected NAME=LABEL, but got {text!r}.")
    return name, label


def _from_sources(dataset: Dataset, names: list[str]) -> Dataset:
    unknown = sorted(set(names).difference(dataset.sources))
    if unknown:
        raise DatasetError(
            f"No picture comes from {', '.join(unknown)}; there are {', '.join(dataset.sources)}."
        )
    return dataset.from_sources(names)


def _measure(args: argparse.Namespace, model: str, framework: str, dataset: Dataset) -> Run:
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
    )
    start = time.perf_counter()
    result = evaluate(detector, dataset, protocol=args.protocol, conf=args.conf)
    seconds = time.perf_counter() - start
    log.info("%s: %d pictures in %.1f s", result.name, len(dataset), seconds)
    return result
