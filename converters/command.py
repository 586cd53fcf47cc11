"""``facemask-zoo convert``: any format into any other, with proof."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from facemask_zoo.converters.accuracy import MAX_AP_LOSS
from facemask_zoo.converters.conversion import Report, convert
from facemask_zoo.converters.formats.registry import FORMATS, PRECISIONS
from facemask_zoo.errors import ConversionError, WeightsError
from facemask_zoo.files import atomic_path, check_target

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    writable = ", ".join(row.name for row in FORMATS.values() if row.writes)
    parser.add_argument("source", help="weights in any readable format, or a model's name")
    parser.add_argument("target", type=Path, help="file to write")
    parser.add_argument("--to", metavar="FORMAT", help=f"{writable} (what the suffix says)")
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS)
    parser.add_argument(
        "--prune",
        type=int,
        nargs="?",
        const=1,
        metavar="MULTIPLE",
        help="remove dead channels; keep their counts multiples of this, such as 8 or 16",
    )
    parser.add_argument(
        "--allow-drift", action="store_true", help="keep a file whose outputs differ too much"
    )
    parser.add_argument(
        "--input-size",
        type=int,
        metavar="PIXELS",
        help="height and width of the input, also of a file that leaves them open",
    )
    parser.add_argument(
        "--picture",
        action="extend",
        nargs="+",
        default=[],
        metavar="FILE",
        help="compare on these pictures (a drawing); they set the ranges of 8-bit integers",
    )
    parser.add_argument(
        "--data", metavar="PATH", help="labelled pictures to measure average precision on"
    )
    parser.add_argument("--images", metavar="DIR", help="folder of the pictures of --data")
    parser.add_argument(
        "--max-ap-loss",
        type=float,
        default=MAX_AP_LOSS,
        metavar="LOSS",
        help="refuse the file if the mean AP50 falls by more (%(default)s)",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run the source itself, too, and refuse the file if it answers otherwise",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the target and the report if they exist"
    )


def run(args: argparse.Namespace) -> int:
    """Convert, and log the table; a file that differs from its source ends in an error.

    Raises:
        FaceMaskZooError: The conversion failed; nothing was written but the report.
    """
    if args.report:
        check_target(args.report, overwrite=args.overwrite)
    try:
        report = convert(
            args.source,
            args.target,
            args.to,
            args.precision,
            prune=args.prune,
            allow_drift=args.allow_drift,
            input_size=args.input_size,
            pictures=args.picture,
            data=args.data,
            images=args.images,
            max_ap_loss=args.max_ap_loss,
            overwrite=args.overwrite,
            apart=[args.report] if args.report else (),
            trust=args.trust,
        )
    except ConversionError as error:
        _show(error.report, args.report, args.overwrite)
        raise
    _show(report, args.report, args.overwrite)
    return 0


def _show(report: Report, path: Path | None, overwrite: bool) -> None:
    log.log(logging.INFO if report.passed else logging.WARNING, "%s", report.to_text())
    if path is None:
        return
    try:
        with atomic_path(path, overwrite=overwrite) as temporary:
            temporary.write_text(report.to_json() + "\n")
    except OSError as error:
        raise WeightsError(f"Cannot write the report {path}: {error}.") from error
