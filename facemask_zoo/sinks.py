"""Files that results are written to while they come in, so that memory stays flat."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from facemask_zoo.detections import Detections
from facemask_zoo.errors import OutputError
from facemask_zoo.exports import COLUMNS
from facemask_zoo.files import Sources, atomic_path
from facemask_zoo.images import save_image
from facemask_zoo.video import Frame

Sink = Callable[[Frame, Detections, str], None]
"""Takes a frame, what was found in it, and a name for it that no other frame has."""

CROP_SUFFIX = ".jpg"


@contextlib.contextmanager
def csv_sink(path: Path, sources: Sources, *, overwrite: bool = False) -> Iterator[Sink]:
    """One table with a row per face.

    Args:
        path: File to write; it appears when all is done.
        sources: Files that are never written to.
        overwrite: Replace a file that exists.

    Raises:
        OutputError: The file is in the way or cannot be written.
    """
    with text_file(path, sources, overwrite=overwrite) as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)

        def write(_: Frame, result: Detections, __: str) -> None:
            table = result.to_columns()
            writer.writerows(zip(*(table[name] for name in COLUMNS), strict=True))

        yield write


@contextlib.contextmanager
def coco_sink(path: Path, sources: Sources, *, overwrite: bool = False) -> Iterator[Sink]:
    """A COCO results file; pictures are numbered from 1, and entries also name their file.

    Args and errors are those of :func:`csv_sink`.
    """
    with text_file(path, sources, overwrite=overwrite) as file:
        pictures = entries = 0

        def write(_: Frame, result: Detections, name: str) -> None:
            nonlocal pictures, entries
            pictures += 1
            for entry in result.to_coco(pictures):
                named = {**entry, "file_name": result.source or name}
                file.write((",\n" if entries else "[\n") + json.dumps(named))
                entries += 1

        yield write
        file.write("\n]\n" if entries else "[]\n")


def text_sink(
    folder: Path, suffix: str, text: Callable[[Detections], str], *, overwrite: bool = False
) -> Sink:
    """One text file per picture or frame, such as YOLO's labels or VOC's XML.

    Args:
        folder: Where to write them; it is made if need be.
        suffix: Of the files.
        text: What to write for a result.
        overwrite: Replace files that exist.
    """

    def write(_: Frame, result: Detections, name: str) -> None:
        path = folder / f"{name}{suffix}"
        with _errors(path), atomic_path(path, overwrite=overwrite) as temporary:
            temporary.write_text(text(result), encoding="utf-8", errors="backslashreplace")

    return write


def crops_sink(folder: Path, margin: float, sources: Sources, *, overwrite: bool = False) -> Sink:
    """One picture per face.

    Args:
        folder: Where to write them; it is made if need be.
        margin: What to add on each side, as a share of the box.
        sources: Files that are never written to.
        overwrite: Replace files that exist.
    """

    def write(frame: Frame, result: Detections, name: str) -> None:
        crops = result.crops(frame.image, margin=margin)
        for number, (crop, label) in enumerate(zip(crops, result.labels, strict=True), 1):
            path = folder / f"{name}_{number}_{label}{CROP_SUFFIX}"
            sources.check(path)
            save_image(crop, path, overwrite=overwrite)

    return write


@contextlib.contextmanager
def text_file(path: Path, sources: Sources, *, overwrite: bool = False) -> Iterator[IO[Any]]:
    """A text file that appears when the block ends without an error.

    Args and errors are those of :func:`csv_sink`.
    """
    sources.check(path)
    with _errors(path), atomic_path(path, overwrite=overwrite) as temporary:  # noqa: SIM117
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # of standard output, not of this file
        raise
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error
