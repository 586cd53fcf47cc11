"""``facemask-zoo data``: look at data sets, check, convert and split them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from facemask_zoo.datasets import similarity, statistics
from facemask_zoo.datasets.checks import check
from facemask_zoo.datasets.labels import LABELS
from facemask_zoo.datasets.options import add_reading_options, read_labels
from facemask_zoo.datasets.origins import ORIGINS
from facemask_zoo.datasets.reading import read, recognise
from facemask_zoo.datasets.sheet import draw_sheet
from facemask_zoo.datasets.similarity import DISTANCE, Pair
from facemask_zoo.datasets.splitting import split
from facemask_zoo.datasets.types import Dataset, Problem
from facemask_zoo.datasets.unlisted import find_unlisted
from facemask_zoo.datasets.writers import PLACEMENTS, WRITERS, write, write_into
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.files import atomic_path, check_target
from facemask_zoo.images import save_image

log = logging.getLogger(__name__)

_EXAMPLES = 3
_PARTS = ("train=0.8", "val=0.1", "test=0.1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    verbs = parser.add_subparsers(
        dest="verb", required=True, metavar="info|convert|split|view|check"
    )
    _add_info(verbs.add_parser("info", help="what is in a data set; licences and citations"))
    _add_convert(verbs.add_parser("convert", help="into another format, in a new folder"))
    _add_split(verbs.add_parser("split", help="into parts that share no group, in a new folder"))
    _add_view(verbs.add_parser("view", help="a contact sheet with boxes"))
    _add_check(verbs.add_parser("check", help="what is wrong with it, copies, near-duplicates"))


def run(args: argparse.Namespace) -> int:
    """Carry the command out.

    Returns:
        0; 1 if something is wrong with the data.

    Raises:
        FaceMaskZooError: An option or a file is no good.
    """
    verbs = {"info": _info, "convert": _convert, "split": _split, "view": _view, "check": _check}
    return verbs[args.verb](args)


def _add_source(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    parser.add_argument(
        "source", nargs="?" if optional else None, help="annotation file, or folder of the set"
    )
    parser.add_argument("--images", help="folder of the pictures, where it is not the usual one")
    add_reading_options(parser)
    parser.add_argument("--json", action="store_true", help="as JSON, on standard output")


def _add_info(parser: argparse.ArgumentParser) -> None:
    _add_source(parser, optional=True)
    parser.add_argument("--set", choices=tuple(ORIGINS), help="whose licence to show")
    parser.add_argument("--plot", type=Path, help="PNG file for the pie and the sizes of faces")


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, help="folder that does not exist yet")
    parser.add_argument("--to", default="coco", choices=tuple(WRITERS), help="(%(default)s)")
    parser.add_argument(
        "--pictures", default=PLACEMENTS[0], choices=PLACEMENTS, help="(%(default)s)"
    )


def _add_convert(parser: argparse.ArgumentParser) -> None:
    _add_source(parser)
    _add_target(parser)


def _add_split(parser: argparse.ArgumentParser) -> None:
    _add_source(parser)
    _add_target(parser)
    parser.add_argument("--parts", nargs="+", default=_PARTS, metavar="NAME=SHARE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--near-duplicates",
        action="store_true",
        help="keep pictures together that look alike, besides those of a group",
    )
    _add_distance(parser)


def _add_distance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--distance",
        type=int,
        default=DISTANCE,
        help="bits, of 64, in which the hashes of near-duplicates may differ (%(default)s)",
    )


def _add_view(parser: argparse.ArgumentParser) -> None:
    _add_source(parser)
    parser.add_argument("target", type=Path, help="PNG or JPEG file that does not exist yet")
    parser.add_argument("--count", type=int, default=40, help="tiles (%(default)s)")
    parser.add_argument("--columns", type=int, default=8, help="(%(default)s)")
    parser.add_argument("--tile", type=int, default=160, help="their side (%(default)s)")
    parser.add_argument("--only", default="", choices=("", *LABELS), help="faces of one label")
    parser.add_argument("--faces", action="store_true", help="faces, cut out")
    parser.add_argument("--seed", type=int, default=0)


def _add_check(parser: argparse.ArgumentParser) -> None:
    _add_source(parser)
    parser.add_argument(
        "--against", action="append", default=[], metavar="SET", help="another part of the set"
    )
    parser.add_argument("--near-duplicates", action="store_true", help="also inside the set")
    parser.add_argument("--unlisted", metavar="DIR", help="report pictures there that it lacks")
    _add_distance(parser)


def _info(args: argparse.Namespace) -> int:
    kind = args.set
    if args.source:
        dataset = _read(args)
        facts = statistics.describe(dataset)
        if args.plot:
            with atomic_path(args.plot) as temporary:
                temporary.write_bytes(statistics.plot(facts, Path(args.source).name))
        kind = kind or _kind(args)
        _say(args, facts.to_dict(), facts.to_text())
        _report(dataset.problems)
    chosen = [kind] if kind in ORIGINS else [] if args.source else list(ORIGINS)
    for name in chosen:
        _say(args, dataclasses.asdict(ORIGINS[name]), ORIGINS[name].to_text())
    return 0


def _kind(args: argparse.Namespace) -> str:
    return recognise(Path(args.source)) if args.format == "auto" else str(args.format)


def _convert(args: argparse.Namespace) -> int:
    check_target(args.target, overwrite=False)
    report = check(_read(args), decode=False)
    problems = write(report.dataset, args.target, args.to, pictures=args.pictures)
    return _finish(args, [*report.problems, *problems], {"pictures": len(report.dataset)})


def _split(args: argparse.Namespace) -> int:
    check_target(args.target, overwrite=False)
    report = check(_read(args), decode=False)
    problems = list(report.problems)
    alike: Iterable[Pair] = ()
    if args.near_duplicates:
        alike = similarity.find_pairs(
            *similarity.hash_pictures(report.dataset.pictures, problems), distance=args.distance
        )
    parts = split(report.dataset, _shares(args.parts), seed=args.seed, alike=alike)
    with atomic_path(args.target) as temporary:
        for name, part in parts.items():
            (temporary / name).mkdir(parents=True)
            problems += write_into(part, temporary / name, args.to, pictures=args.pictures)
    facts = {name: statistics.describe(part).to_dict() for name, part in parts.items()}
    for name, part in parts.items():
        log.info("%s: %s", name, statistics.describe(part).to_text())
    return _finish(args, problems, facts)


def _shares(words: Sequence[str]) -> dict[str, float]:
    shares = {}
    for word in words:
        name, _, share = word.partition("=")
        if not name.replace("-", "").replace("_", "").isalnum():
            raise InvalidArgumentError(f"--parts: expected NAME=SHARE, but got {word!r}.")
        try:
            shares[name] = float(share)
        except ValueError:
            raise InvalidArgumentError(f"--parts: expected NAME=SHARE, but got {word!r}.") from None
    return shares


def _view(args: argparse.Namespace) -> int:
    check_target(args.target, overwrite=False)
    dataset = _read(args)
    options = {name: getattr(args, name) for name in ("count", "columns", "tile", "faces", "seed")}
    sheet, problems = draw_sheet(dataset, label=args.only, **options)
    save_image(sheet, args.target)
    return _finish(args, [*dataset.problems, *problems], {"file": str(args.target)})


def _check(args: argparse.Namespace) -> int:
    report = check(_read(args))
    problems = list(report.problems)
    problems += similarity.find_copies(report.dataset)
    if args.unlisted:
        problems += find_unlisted(report.dataset, Path(args.unlisted))
    pairs = _pairs(args, report.dataset, problems)
    problems += [_near_duplicate(pair) for pair in pairs]
    return _finish(args, problems, {"pictures": len(report.dataset), "faces": report.faces})


def _pairs(args: argparse.Namespace, dataset: Dataset, problems: list[Problem]) -> list[Pair]:
    if not args.near_duplicates and not args.against:
        return []
    own = similarity.hash_pictures(dataset.pictures, problems)
    found = [*similarity.find_pairs(*own, distance=args.distance)] if args.near_duplicates else []
    for path in args.against:
        other = read(path, kind=args.format, labels=read_labels(args.label))
        theirs = similarity.hash_pictures(other.pictures, problems)
        found += similarity.find_pairs(*own, *theirs, distance=args.distance)
    return found


def _near_duplicate(pair: Pair) -> Problem:
    detail = f"like {pair.second.path} ({pair.distance} of 64 bits differ)"
    return Problem("near-duplicate", str(pair.first.path), detail, "kept")


def _read(args: argparse.Namespace) -> Dataset:
    return read(args.source, args.images, kind=args.format, labels=read_labels(args.label))


def _finish(args: argparse.Namespace, problems: Sequence[Problem], facts: dict[str, Any]) -> int:
    """Report what was wrong; the exit status says whether anything was."""
    found = [dataclasses.asdict(problem) for problem in problems]
    if args.json:
        sys.stdout.write(json.dumps({**facts, "problems": found}) + "\n")
    _report(problems)
    return 1 if problems else 0


def _report(problems: Sequence[Problem]) -> None:
    for kind, count in Counter(problem.kind for problem in problems).most_common():
        some = [problem for problem in problems if problem.kind == kind][:_EXAMPLES]
        log.warning("%d x %s (%s)", count, kind, some[0].outcome)
        for problem in some:
            log.warning("  %s: %s", problem.place, problem.detail)
        if count > len(some):
            log.warning("  and %d more", count - len(some))


def _say(args: argparse.Namespace, values: dict[str, Any], text: str) -> None:
    sys.stdout.write((json.dumps(values) if args.json else text) + "\n")
