"""Run a detector over a source and draw what it finds; shared by the command and the scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from facemask_zoo.detections import Detections
from facemask_zoo.detector import Detector
from facemask_zoo.errors import TruncatedVideoError
from facemask_zoo.files import Sources, check_target
from facemask_zoo.images import WRITABLE_SUFFIXES, save_image
from facemask_zoo.video import Frame, expand, frames, is_video
from facemask_zoo.video_writer import VideoWriter


def detect_and_draw(
    detector: Detector,
    source: str,
    target: Path | None = None,
    *,
    overwrite: bool = False,
    sources: Sources | None = None,
) -> Iterator[Detections]:
    """Detect in a source and, if there is a target, draw the results.

    Args:
        detector: What to run.
        source: Anything that :meth:`Detector.stream` takes.
        target: Annotated picture or video; a folder if its suffix is not that of a picture.
        overwrite: Replace files that exist.
        sources: Files that must not be written to; what `source` stands for unless given.

    Yields:
        One result per picture or frame.

    Raises:
        OutputError: An output exists and `overwrite` is False, or it is one of the sources.
        FaceMaskZooError: The source cannot be read or the target cannot be written.
    """
    stream = frames(source, detector.max_pixels)
    if target is None:
        yield from map(detector.detect_frame, stream)
        return
    sources = sources or Sources(expand(source))
    if is_video(source):
        sources.check(target)
        yield from _draw_video(detector, source, stream, target, overwrite)
        return
    for frame in stream:
        path = target if is_picture(target) else target / Path(frame.source).name
        sources.check(path)
        check_target(path, overwrite=overwrite)
        result = detector.detect_frame(frame)
        save_image(result.annotate(frame.image), path, overwrite=overwrite)
        yield result


def is_picture(path: Path) -> bool:
    """Whether a path has the suffix of a picture that can be written."""
    return path.suffix.lower() in WRITABLE_SUFFIXES


def _draw_video(
    detector: Detector, source: str, stream: Iterator[Frame], target: Path, overwrite: bool
) -> Iterator[Detections]:
    """Annotate a video; of one that breaks off, what could be read is kept."""
    first = next(stream, None)
    if first is None:
        return
    sound = None if first.time is None or not Path(source).is_file() else source
    broken: TruncatedVideoError | None = None
    with VideoWriter(target, first.rate, overwrite=overwrite, sound=sound) as writer:
        frame: Frame | None = first
        while frame is not None:
            result = detector.detect_frame(frame)
            writer.write(result.annotate(frame.image), frame.time)
            yield result
            try:
                frame = next(stream, None)
            except TruncatedVideoError as error:
                broken, frame = error, None
    if broken:
        raise broken
