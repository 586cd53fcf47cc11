"""``facemask-zoo watch``: follow people in one video or camera; events as they come, a report."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import functools
import itertools
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.cards import DEFAULT_MODEL
from facemask_zoo.datasets.labels import NO_MASK
from facemask_zoo.detections import Detections
from facemask_zoo.detector import Detector
from facemask_zoo.errors import FaceMaskZooError, InvalidArgumentError, OutputError, VideoError
from facemask_zoo.files import Sources, check_target
from facemask_zoo.options import add_tiles_option
from facemask_zoo.runner import Steps, draw_video
from facemask_zoo.terminal import FAILED
from facemask_zoo.tiling import check_tiles_of_picture
from facemask_zoo.tracking.compliance import Compliance, check_plot_suffix
from facemask_zoo.tracking.stays import Event, StayRule
from facemask_zoo.tracking.tracker import MAX_GAP_SECONDS, Tracker
from facemask_zoo.tracking.webhook import Webhook
from facemask_zoo.tracking.zones import Zone, draw_zones
from facemask_zoo.video import Clip, Frame, frames, is_live, is_video

log = logging.getLogger(__name__)

_SIGNAL_BASE = 128
_EventSink = Callable[[Event], object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("source", help="a video, camera:0, or an rtsp:// or http(s):// stream")
    _add_events(parser.add_argument_group("events, as lines of JSON"))
    _add_reports(parser.add_argument_group("what is written at the end, also after Ctrl-C"))
    _add_choices(parser.add_argument_group("which frames, and who is who"))
    _add_model(parser.add_argument_group("model"))


def _add_events(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--after",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="how long somebody may stay (%(default)s)",
    )
    group.add_argument("--label", default=NO_MASK, help="whose stay counts (%(default)s)")
    group.add_argument(
        "--zone",
        action="append",
        default=[],
        metavar="NAME=X,Y,X,Y,X,Y...",
        help="a polygon in pixels; may be repeated (the whole picture)",
    )
    group.add_argument(
        "--events", type=Path, metavar="FILE", help="where to write them (standard output)"
    )
    group.add_argument("--webhook", metavar="ADDRESS", help="also post each of them there")
    group.add_argument(
        "--webhook-timeout", type=float, default=10.0, metavar="SECONDS", help="(%(default)s)"
    )
    group.add_argument(
        "--webhook-retries", type=int, default=4, metavar="N", help="after a try (%(default)s)"
    )
    group.add_argument(
        "--allow-private", action="store_true", help="let the webhook be in a private network"
    )


def _add_reports(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--report", type=Path, metavar="CSV", help="a row for each interval")
    group.add_argument("--people", type=Path, metavar="CSV", help="a row for each person")
    group.add_argument("--plot", type=Path, metavar="PNG", help="people and masks over time")
    group.add_argument(
        "--interval", type=float, default=60.0, metavar="SECONDS", help="(%(default)s)"
    )
    group.add_argument("--output", type=Path, metavar="VIDEO", help="video with boxes and numbers")
    group.add_argument("--overwrite", action="store_true", help="replace files that exist")


def _add_choices(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth frame")
    group.add_argument("--start", type=float, default=0.0, metavar="SECONDS")
    group.add_argument("--end", type=float, metavar="SECONDS")
    group.add_argument(
        "--max-gap",
        type=float,
        default=MAX_GAP_SECONDS,
        metavar="SECONDS",
        help="how long somebody may be out of sight (%(default)s)",
    )
    group.add_argument(
        "--min-frames",
        type=int,
        default=3,
        metavar="N",
        help="frames that somebody must be seen in (%(default)s)",
    )


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model", default=DEFAULT_MODEL, help="name or file (%(default)s)")
    group.add_argument(
        "--framework", default="auto", metavar="NAME", help=f"auto, {', '.join(FRAMEWORKS)}"
    )
    group.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1 (%(default)s)")
    group.add_argument("--threads", type=int, help="CPU threads (the framework's choice)")
    group.add_argument("--conf", type=float, help="score threshold (the model's recommended)")
    add_tiles_option(group)


@dataclasses.dataclass(frozen=True)
class _Watch:
    """What looks at each frame."""

    tracker: Tracker
    rule: StayRule
    report: Compliance
    zones: list[Zone]


def run(args: argparse.Namespace) -> int:
    """Carry the command out.

    Returns:
        0; 1 if an event was not delivered; 128 and the signal's number if one ended it.

    Raises:
        FaceMaskZooError: An option is no good, or the source breaks off. What was seen until then
            is reported.
    """
    watch, sources = _checked(args)
    with contextlib.ExitStack() as stack:
        webhook = stack.enter_context(_webhook(args)) if args.webhook else None
        detector = _detector(args)
        watch.rule.check(detector.classes)
        stream = _opened(args, watch.zones)
        sinks: list[_EventSink] = [stack.enter_context(_event_lines(args, sources))]
        if webhook:
            sinks.append(webhook)
        results = functools.partial(_results, args, detector, watch, stream)
        stopped_by = _follow(args, results, watch, sinks)
        _write_reports(args, watch.report, sources)
    if isinstance(stopped_by, FaceMaskZooError):
        raise stopped_by
    if stopped_by:
        return _SIGNAL_BASE + stopped_by
    return FAILED if webhook and webhook.failed else 0


def _checked(args: argparse.Namespace) -> tuple[_Watch, Sources]:
    """Refuse what makes no sense before a model is loaded or a camera opened."""
    if not is_video(args.source):
        raise VideoError(
            f"Expected a video, a camera (camera:0) or the address of a stream, but got "
            f"{args.source!r}."
        )
    zones = [Zone.parse(text) for text in args.zone]
    rule = StayRule(args.after, zones=zones, label=args.label, max_gap=args.max_gap)
    report = Compliance(interval=args.interval, max_gap=args.max_gap)
    tracker = Tracker(min_frames=args.min_frames, max_gap=args.max_gap)
    Clip(args.every, args.start, args.end)
    sources = Sources([args.source])
    taken: set[Path] = set()
    for path in (args.events, args.report, args.people, args.plot, args.output):
        if path is None:
            continue
        sources.check(path)
        check_target(path, overwrite=args.overwrite, stream=path == args.events)
        if path.resolve() in taken:
            raise InvalidArgumentError(f"{path} is given for two outputs.")
        taken.add(path.resolve())
    if args.plot:
        check_plot_suffix(args.plot)
    if args.output and not is_video(args.output):
        raise InvalidArgumentError(f"--output: expected the name of a video, got {args.output}.")
    return _Watch(tracker, rule, report, zones), sources


def _detector(args: argparse.Namespace) -> Detector:
    return Detector.load(
        args.model,
        framework=args.framework,
        device=args.device,
        threads=args.threads,
        conf=args.conf,
        tiles=args.tiles,
    )


def _webhook(args: argparse.Namespace) -> Webhook:
    return Webhook(
        args.webhook,
        timeout=args.webhook_timeout,
        retries=args.webhook_retries,
        allow_private=args.allow_private,
    )


@contextlib.contextmanager
def _event_lines(args: argparse.Namespace, sources: Sources) -> Iterator[_EventSink]:
    """Writes each event at once, so that it can be acted upon."""
    if args.events is None:

        def show(event: Event) -> None:
            sys.stdout.write(event.to_json() + "\n")
            sys.stdout.flush()

        yield show
        return
    sources.check(args.events)
    mode = "w" if args.overwrite else "x"
    try:
        with args.events.open(mode, encoding="utf-8") as file:

            def write(event: Event) -> None:
                file.write(event.to_json() + "\n")
                file.flush()

            yield write
    except BrokenPipeError:  # of standard output, not of this file
        raise
    except OSError as error:
        raise OutputError(f"Cannot write {args.events}: {error.strerror or error}.") from error


def _follow(
    args: argparse.Namespace,
    results: Callable[[list[int]], Iterator[Detections]],
    watch: _Watch,
    sinks: list[_EventSink],
) -> FaceMaskZooError | int:
    """Look at every frame; returns what ended it: an error, the number of a signal, or 0."""
    live = is_live(args.source)
    with _heeding_signals() as stopped_by:
        try:
            for result in results(stopped_by):
                watch.report.update(result)
                for event in watch.rule.update(result):
                    told = dataclasses.replace(event, clock=_now()) if live else event
                    for sink in sinks:
                        sink(told)
        except VideoError as error:
            return error
    return stopped_by[0]


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _opened(args: argparse.Namespace, zones: list[Zone]) -> Iterator[Frame]:
    """The frames; the first is read already: zones lie in it, and windows are smaller."""
    stream = frames(args.source, clip=Clip(args.every, args.start, args.end))
    first = next(stream, None)
    if first is None:
        raise VideoError(f"{args.source!r} has no frames, or none in the part asked for.")
    size = (first.image.shape[1], first.image.shape[0])
    for zone in zones:
        zone.check_inside(size)
    if args.tiles is not None:
        check_tiles_of_picture(args.tiles, size)
    return itertools.chain([first], stream)


def _results(
    args: argparse.Namespace,
    detector: Detector,
    watch: _Watch,
    stream: Iterator[Frame],
    stopped_by: list[int],
) -> Iterator[Detections]:
    wanted = _until(stopped_by, stream)
    if args.output is None:
        yield from (watch.tracker.update(detector.detect_frame(frame)) for frame in wanted)
        return
    steps = Steps(
        clip=Clip(args.every, args.start, args.end),
        select=watch.tracker.update,
        draw=lambda image, result: draw_zones(result.annotate(image), watch.zones),
        overwrite=args.overwrite,
    )
    for _, result in draw_video(detector, args.source, wanted, args.output, steps):
        yield result


def _until(stopped_by: list[int], stream: Iterator[Frame]) -> Iterator[Frame]:
    for frame in stream:
        if stopped_by[0]:
            return
        yield frame


@contextlib.contextmanager
def _heeding_signals() -> Iterator[list[int]]:
    """Holds the number of the signal that asks to stop: the first ends the loop, a second all.

    A camera ends in no other way, and what was seen of it is not to be lost.
    """
    stopped_by = [0]

    def heed(number: int, _: FrameType | None) -> None:
        if stopped_by[0]:
            raise KeyboardInterrupt
        stopped_by[0] = number

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, heed)
    try:
        yield stopped_by
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _write_reports(args: argparse.Namespace, report: Compliance, sources: Sources) -> None:
    options = {"sources": sources, "overwrite": args.overwrite}
    if args.report:
        report.write_intervals(args.report, **options)
    if args.people:
        report.write_people(args.people, **options)
    if args.plot:
        report.write_plot(args.plot, **options)
    share = report.share_masked
    seen = "nobody" if share is None else f"masked for {share:.0%} of the time"
    log.info("%d people, %s", len(report.people), seen)
