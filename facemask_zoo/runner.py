"""Run a detector over a source and draw what it finds; shared by the command and the scripts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from facemask_zoo.detections import Detections
from facemask_zoo.detector import Detector
from facemask_zoo.images import IMAGE_SUFFIXES, save_image
from facemask_zoo.video import Frame, VideoWriter, frames, is_video


def detect_and_draw(
    detector: Detector, source: str, target: Path | None = None
) -> Iterator[Detections]:
    """Detect in a source and, if there is a target, draw the results.

    Args:
        detector: What to run.
        source: Anything that :meth:`Detector.stream` takes.
        target: Annotated picture or video; a folder if its suffix is not that of a picture.

    Yields:
        One result per picture or frame.

    Raises:
        FaceMaskZooError: The source cannot be read or the target cannot be written.
    """
    stream = frames(source, detector.max_pixels)
    if target is None:
        yield from map(detector.detect_frame, stream)
    elif is_video(source):
        yield from _draw_video(detector, stream, target)
    else:
        for frame in stream:
            result = detector.detect_frame(frame)
            path = target if is_picture(target) else target / Path(frame.source).name
            save_image(result.annotate(frame.image), path)
            yield result


def is_picture(path: Path) -> bool:
    """Whether a path has the suffix of a picture."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def _draw_video(detector: Detector, stream: Iterator[Frame], target: Path) -> Iterator[Detections]:
    first = next(stream, None)
    if first is None:
        return
    with VideoWriter(target, first.rate) as writer:
        for frame in itertools.chain([first], stream):
            result = detector.detect_frame(frame)
            writer.write(result.annotate(frame.image))
            yield result
