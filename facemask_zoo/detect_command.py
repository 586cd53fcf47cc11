"""``facemask-zoo detect``: many sources, one after the other, and every form of output."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import itertools
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from facemask_zoo.addresses import fetch_image
from facemask_zoo.annotate import LANGUAGES
from facemask_zoo.arguments import check_number
from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.blurring import WAYS
from facemask_zoo.detections import Detections
from facemask_zoo.detector import Detector
from facemask_zoo.errors import FaceMaskZooError, InvalidArgumentError, UnknownNameError
from facemask_zoo.files import Sources, check_place
from facemask_zoo.landmarker import Landmarker
from facemask_zoo.runner import STDIN, Steps, detect_and_draw, is_picture
from facemask_zoo.sinks import Sink, coco_sink, crops_sink, csv_sink, text_sink
from facemask_zoo.terminal import FAILED, STOPPED, finishing_on_interrupt, json_line
from facemask_zoo.video import Clip, Frame, camera_index, expand, frame_count, is_video

log = logging.getLogger(__name__)

_MAX_STEM = 100


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What the command writes, apart from standard output.

    Attributes:
        drawn: Annotated picture or video; a folder for several sources.
        crops: Folder of the faces.
        margin: Around each face of `crops`, as a share of its box.
        csv: Table with a row per face.
        coco: COCO results.
        yolo: Folder of YOLO label files.
        voc: Folder of Pascal VOC XML files.
        blur: How to make faces unrecognisable in `drawn`; not at all if None.
        language: Of the labels in `drawn`.
        overwrite: Replace files that exist.
    """

    drawn: Path | None = None
    crops: Path | None = None
    margin: float = 0.0
    csv: Path | None = None
    coco: Path | None = None
    yolo: Path | None = None
    voc: Path | None = None
    blur: str | None = None
    language: str = "en"
    overwrite: bool = False

    def check(self) -> None:
        """Refuse what makes no sense, before anything is detected.

        Raises:
            FaceMaskZooError: A name is unknown, or outputs contradict each other.
        """
        if self.blur is not None and self.blur not in WAYS:
            raise UnknownNameError.among("--blur", self.blur, WAYS)
        if self.language not in LANGUAGES:
            raise UnknownNameError.among("--language", self.language, LANGUAGES)
        check_number("margin", self.margin, 0)
        if self.blur and self.crops:
            raise InvalidArgumentError("--crops: would show the faces that --blur hides.")
        if self.blur and not self.drawn:
            raise InvalidArgumentError("--blur: expected --output, where to draw.")
        for folder in (self.yolo, self.voc, self.crops):
            if folder:
                check_place(folder)
        self._check_apart()

    def _check_apart(self) -> None:
        """Refuse a file for two outputs, of which the later would take the earlier's place."""
        taken: dict[Path, str] = {}
        for option, path in (("--output", self.drawn), ("--csv", self.csv), ("--coco", self.coco)):
            if path is None:
                continue
            other = taken.setdefault(path.resolve(), option)
            if other != option:
                raise InvalidArgumentError(f"{option}: {path} is what {other} writes already.")

    def draw(self, image: NDArray[np.uint8], result: Detections) -> NDArray[np.uint8]:
        """The picture that is written."""
        hidden = result.blur(image, how=self.blur) if self.blur else image
        return result.annotate(hidden, language=self.language)


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which frames and faces count.

    Attributes:
        clip: Frames of videos and cameras.
        labels: Labels of the faces; all if empty.
        min_size: Least length of a box's shorter side, in pixels.
        allow_private: Also fetch pictures from private addresses.

    Raises:
        InvalidArgumentError: `min_size` is no length.
    """

    clip: Clip
    labels: tuple[str, ...] = ()
    min_size: float | None = None
    allow_private: bool = False

    def __post_init__(self) -> None:
        if self.min_size is not None:
            check_number("min_size", self.min_size, 0)

    def check(self, detector: Detector) -> None:
        """Refuse labels that the model does not know.

        Raises:
            UnknownNameError: There is one.
        """
        for label in self.labels:
            if label not in detector.classes:
                raise UnknownNameError.among("label", label, detector.classes)

    def select(self, result: Detections) -> Detections:
        """The faces that count."""
        return result.where(label=self.labels or None, min_size=self.min_size)


@dataclasses.dataclass
class _Tally:
    """What was found, in one source or in all of them.

    Attributes:
        pictures: How many there were.
        frames: How many of videos and cameras.
        faces: How many of each label.
        most: Faces in the frame of one source that has most of them.
    """

    pictures: int = 0
    frames: int = 0
    faces: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    most: int = 0

    def add(self, result: Detections) -> None:
        """Count a picture or frame."""
        self.pictures += result.frame is None
        self.frames += result.frame is not None
        self.faces.update(result.labels)
        self.most = max(self.most, len(result))

    def include(self, other: _Tally) -> None:
        """Count what another has counted."""
        self.pictures += other.pictures
        self.frames += other.frames
        self.faces += other.faces

    def sentence(self, classes: Sequence[str]) -> str:
        """All of it on a line."""
        seen = [_count(self.frames, "frame")] if self.frames else []
        if self.pictures or not seen:
            seen.insert(0, _count(self.pictures, "picture"))
        faces = _count(self.faces.total(), "face")
        if self.most > 0 and self.frames > 1:
            faces += f" (at most {self.most} at once)"
        parts = [f"{self.faces[label]} {label}" for label in classes]
        return f"{', '.join([*seen, faces])}: {', '.join(parts)}"


class _Job(NamedTuple):
    """One picture or stream.

    Attributes:
        source: What to read.
        target: Where to draw it.
        stem: Name of other files about it; no other job has it.
    """

    source: str
    target: Path | None
    stem: str


def detect(
    detector: Detector,
    sources: Sequence[str],
    outputs: Outputs,
    selection: Selection,
    *,
    landmarker: Landmarker | None = None,
    as_json: bool = False,
    quiet: bool = False,
) -> int:
    """Carry the command out.

    Args:
        detector: Finds the faces.
        sources: Where to look.
        outputs: What to write.
        selection: What counts.
        landmarker: Finds landmarks and poses of the faces, if it is given.
        as_json: Write JSON to standard output.
        quiet: Show no progress.

    Returns:
        0, or 1 if a source failed; the others are not held up by it. 130 after Ctrl-C, which lets
        tables and drawings of what was seen so far be finished.

    Raises:
        FaceMaskZooError: An option is no good.
    """
    outputs.check()
    selection.check(detector)
    log.info("%s on %s", detector.card.name, FRAMEWORKS[detector.framework].title)
    items, failed = _expand_all(sources)
    total = len(items) + failed
    protected = Sources(items)
    everything = _Tally()
    with contextlib.ExitStack() as stack:
        stopped = stack.enter_context(finishing_on_interrupt())
        sinks = [*_sinks(stack, outputs, protected), _show_json if as_json else _show_picture]
        jobs = _jobs(items, outputs.drawn, alone=items == list(sources))
        tick = stack.enter_context(_progress(jobs, quiet=quiet))
        for job in itertools.takewhile(lambda _: not stopped(), jobs):
            found = _Tally()
            try:
                for frame, result in detect_and_draw(
                    detector,
                    job.source,
                    job.target,
                    steps=_steps(outputs, selection, landmarker, stopped),
                    sources=protected,
                ):
                    for sink in sinks:
                        sink(frame, result, _name(job, frame))
                    found.add(result)
                    tick()
            except FaceMaskZooError as error:
                log.error("facemask-zoo: %s", error)
                failed += 1
            everything.include(found)
            if found.frames and not as_json:
                _say(f"{job.source}: {found.sentence(detector.classes)}\n")
    if total > 1 or as_json or not everything.frames:
        log.info("%s", everything.sentence(detector.classes))
    if failed and total > 1:
        log.error("facemask-zoo: %d of %d sources failed.", failed, total)
    if stopped():
        return STOPPED
    return FAILED if failed else 0


def _show_json(_: Frame, result: Detections, __: str) -> None:
    _say(json_line(result))


def _show_picture(_: Frame, result: Detections, __: str) -> None:
    """Its faces, for people; frames of videos are too many for that."""
    if result.frame is not None:
        return
    lines = [f"{result.source}: {_count(len(result), 'face')}\n"]
    for label, score, box in zip(result.labels, result.scores, result.boxes, strict=True):
        corners = ", ".join(f"{value:.0f}" for value in box)
        lines.append(f"  {label:10} {score:.3f}  ({corners})\n")
    _say("".join(lines))


def _say(text: str) -> None:
    """To standard output, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def _steps(
    outputs: Outputs,
    selection: Selection,
    landmarker: Landmarker | None,
    stopped: Callable[[], bool],
) -> Steps:
    steps = Steps(
        clip=selection.clip,
        fetch=functools.partial(fetch_image, allow_private=selection.allow_private),
        select=selection.select,
        draw=outputs.draw,
        overwrite=outputs.overwrite,
        stopped=stopped,
    )
    if landmarker is None:
        return steps
    found = landmarker
    return dataclasses.replace(steps, enrich=lambda image, result: found.add_to(result, image))


def _sinks(stack: contextlib.ExitStack, outputs: Outputs, sources: Sources) -> list[Sink]:
    """Everything that each result goes to; what is in the way is found at once."""
    overwrite = outputs.overwrite
    sinks: list[Sink] = []
    if outputs.csv:
        sinks.append(stack.enter_context(csv_sink(outputs.csv, sources, overwrite=overwrite)))
    if outputs.coco:
        sinks.append(stack.enter_context(coco_sink(outputs.coco, sources, overwrite=overwrite)))
    if outputs.yolo:
        sinks.append(text_sink(outputs.yolo, ".txt", Detections.to_yolo, overwrite=overwrite))
    if outputs.voc:
        sinks.append(text_sink(outputs.voc, ".xml", Detections.to_voc, overwrite=overwrite))
    if outputs.crops:
        sinks.append(crops_sink(outputs.crops, outputs.margin, sources, overwrite=overwrite))
    return sinks


class _Rate(ProgressColumn):
    """Pictures or frames per second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f}/s")


@contextlib.contextmanager
def _progress(jobs: Sequence[_Job], *, quiet: bool) -> Iterator[Callable[[], None]]:
    """A bar on standard error, if that is a terminal and there is more than a picture to do."""
    console = Console(stderr=True)
    is_long = len(jobs) > 1 or any(is_video(job.source) for job in jobs)
    if quiet or not is_long or not console.is_terminal:
        yield lambda: None
        return
    columns = (
        *(BarColumn(), MofNCompleteColumn(), _Rate()),
        *(TimeRemainingColumn(), TimeElapsedColumn()),
    )
    bar = Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty())
    with bar:
        task = bar.add_task("", total=_length(jobs))
        yield lambda: bar.advance(task)


def _length(jobs: Sequence[_Job]) -> int | None:
    """Number of pictures and frames, if all of them can be told from the files."""
    total = 0
    for job in jobs:
        try:
            number = frame_count(job.source) if is_video(job.source) else 1
        except FaceMaskZooError:  # it is reported when its turn comes
            number = 0
        if number is None:
            return None
        total += number
    return total


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _expand_all(sources: Sequence[str]) -> tuple[list[str], int]:
    """Every single picture or stream, and the number of sources that hold none."""
    items: list[str] = []
    failed = 0
    for source in sources:
        try:
            items.extend([source] if source == STDIN else expand(source))
        except FaceMaskZooError as error:
            log.error("facemask-zoo: %s", error)
            failed += 1
    return items, failed


def _jobs(items: Sequence[str], output: Path | None, *, alone: bool) -> list[_Job]:
    """Every single picture or stream, and where to draw it; equal names get a number.

    Args:
        items: Pictures and streams.
        output: A folder; a file if the one item is what the user named.
        alone: Whether there is one item at most, and the user named it.
    """
    names = [_drawn_name(item) for item in items]
    used: set[str] = set()
    stems = [_free_name(Path(name.stem), used) for name in names]
    targets: list[Path | None] = [None] * len(items)
    if output is not None:
        names_a_file = output.suffix != "" and not output.is_dir()
        if alone and len(items) == 1 and names_a_file:
            targets = [output]
        elif names_a_file and (is_picture(output) or is_video(output)):
            raise InvalidArgumentError(
                f"--output: expected a folder for the sources, got {output}."
            )
        else:
            used = set()
            targets = [output / _free_name(name, used) for name in names]
    return [_Job(*row) for row in zip(items, targets, stems, strict=True)]


def _drawn_name(source: str) -> Path:
    """What to call the drawing: as the source, with a suffix that can be written."""
    if source == STDIN:
        return Path("stdin.png")
    is_address = "://" in source
    place = source.partition("://")[2].partition("?")[0].rpartition("@")[2]  # no passwords
    path = Path(place if is_address else source)
    if is_video(source):
        if not is_address and camera_index(source) is None:
            return Path(path.name)
        return Path(re.sub(r"[^\w-]+", "_", place or source)[:_MAX_STEM] + ".mp4")
    return Path(path.name if is_picture(path) else f"{path.name}.png")


def _free_name(name: Path, used: set[str]) -> str:
    """The name, or else the first with a number that is not `used` yet, whatever its case."""
    free = name.name
    numbers = itertools.count(2)
    while free.casefold() in used:
        free = f"{name.stem}-{next(numbers)}{name.suffix}"
    used.add(free.casefold())
    return free


def _name(job: _Job, frame: Frame) -> str:
    """What to call files about a frame."""
    return job.stem if frame.index is None else f"{job.stem}_{frame.index:06d}"
