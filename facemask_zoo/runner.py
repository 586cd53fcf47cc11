"""Run a detector over a source and draw what it finds; shared by the command and the scripts."""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.addresses import MAX_BYTES
from facemask_zoo.detections import Detections
from facemask_zoo.detector import Detector
from facemask_zoo.errors import ImageError, VideoError
from facemask_zoo.files import Sources, check_target
from facemask_zoo.images import WRITABLE_SUFFIXES, load_image, save_image
from facemask_zoo.video import WHOLE, Clip, Frame, expand, frames, is_video
from facemask_zoo.video_writer import VideoWriter

STDIN = "-"
"""Source that stands for a picture on standard input."""


def _as_it_is(result: Detections) -> Detections:
    return result


def _nothing_more(image: NDArray[np.uint8], result: Detections) -> Detections:
    return result


def _never() -> bool:
    return False


def _annotated(image: NDArray[np.uint8], result: Detections) -> NDArray[np.uint8]:
    return result.annotate(image)


@dataclasses.dataclass(frozen=True)
class Steps:
    """What to do with each picture or frame, and which of them to take.

    Attributes:
        clip: Frames of videos and cameras to read.
        fetch: Fetches the pictures whose addresses are given.
        select: Takes those faces of a result that count.
        enrich: Says more about these faces, from the picture they are in.
        draw: Makes the picture that is written.
        overwrite: Replace files that exist.
        stopped: Whether to end before the next picture or frame, and keep what is done.
    """

    clip: Clip = WHOLE
    fetch: Callable[[str], bytes] | None = None
    select: Callable[[Detections], Detections] = _as_it_is
    enrich: Callable[[NDArray[np.uint8], Detections], Detections] = _nothing_more
    draw: Callable[[NDArray[np.uint8], Detections], NDArray[np.uint8]] = _annotated
    overwrite: bool = False
    stopped: Callable[[], bool] = _never

    def detect(self, detector: Detector, frame: Frame) -> Detections:
        """What counts in a frame, with all that is to be said about it."""
        return self.enrich(frame.image, self.select(detector.detect_frame(frame)))


def detect_and_draw(
    detector: Detector,
    source: str,
    target: Path | None = None,
    *,
    steps: Steps | None = None,
    sources: Sources | None = None,
) -> Iterator[tuple[Frame, Detections]]:
    """Detect in a source and, if there is a target, draw the results.

    Args:
        detector: What to run.
        source: Anything that :meth:`Detector.stream` takes, or ``STDIN``.
        target: Annotated picture or video; a folder if its suffix is not that of a picture.
        steps: What to do with each picture.
        sources: Files that must not be written to; what `source` stands for unless given.

    Yields:
        Each picture or frame, and what was found in it.

    Raises:
        OutputError: An output exists and is not to be replaced, or it is one of the sources.
        TruncatedVideoError: The video breaks off; what could be read of it was drawn.
        FaceMaskZooError: The source cannot be read or the target cannot be written.
    """
    steps = steps or Steps()
    stream = itertools.takewhile(lambda _: not steps.stopped(), _frames(detector, source, steps))
    sources = sources or Sources(expand(source))
    if target is not None and is_video(source):
        sources.check(target)
        yield from draw_video(detector, source, stream, target, steps)
        return
    for frame in stream:
        path = _picture_path(target, frame)
        if path is not None:
            sources.check(path)
            check_target(path, overwrite=steps.overwrite)
        result = steps.detect(detector, frame)
        if path is not None:
            save_image(steps.draw(frame.image, result), path, overwrite=steps.overwrite)
        yield frame, result


def is_picture(path: Path) -> bool:
    """Whether a path has the suffix of a picture that can be written."""
    return path.suffix.lower() in WRITABLE_SUFFIXES


def _picture_path(target: Path | None, frame: Frame) -> Path | None:
    if target is None or is_picture(target):
        return target
    return target / Path(frame.source).name


def _frames(detector: Detector, source: str, steps: Steps) -> Iterator[Frame]:
    if source != STDIN:
        yield from frames(source, detector.max_pixels, clip=steps.clip, fetch=steps.fetch)
        return
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ImageError(f"Standard input holds more than {MAX_BYTES} bytes.")
    yield Frame(load_image(data, detector.max_pixels), STDIN)


def draw_video(
    detector: Detector, source: str, stream: Iterator[Frame], target: Path, steps: Steps
) -> Iterator[tuple[Frame, Detections]]:
    """Annotate a video; of one that breaks off, what could be read is kept.

    Args:
        detector: What to run.
        source: Where the frames come from; if it is a file, its sound is copied.
        stream: The frames.
        target: Video to write.
        steps: What to do with each frame.

    Yields:
        Each frame, and what was found in it.

    Raises:
        VideoError: The video or camera breaks off; what could be read was drawn.
        FaceMaskZooError: The target cannot be written.
    """
    first = next(stream, None)
    if first is None:
        return
    sound = source if os.path.isfile(source) else None
    broken: VideoError | None = None
    with VideoWriter(
        target, first.rate, overwrite=steps.overwrite, sound=sound, clip=steps.clip
    ) as writer:
        frame: Frame | None = first
        while frame is not None:
            result = steps.detect(detector, frame)
            time = None if frame.time is None else frame.time - steps.clip.start
            writer.write(steps.draw(frame.image, result), time)
            yield frame, result
            try:
                frame = next(stream, None)
            except VideoError as error:  # a camera ends in no other way
                broken, frame = error, None
    if broken:
        raise broken
