"""Pictures one after the other: from files, folders, videos and cameras, in bounded memory."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import importlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import FrameworkNotInstalledError, ImageError, VideoError
from facemask_zoo.files import atomic_path
from facemask_zoo.images import IMAGE_SUFFIXES, MAX_PIXELS, load_image

StreamSource = str | os.PathLike[str] | int

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv")

_STREAM_SCHEMES = ("rtsp://", "rtmp://", "http://", "https://", "tcp://", "udp://")
_DEFAULT_RATE = Fraction(25)
_OPEN_TIMEOUT_SECONDS = 15.0


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture of a stream.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        source: File, address or camera that it came from.
        index: Number within a video, from 0; None for a picture of its own.
        rate: Frames per second of the video, if known.
    """

    image: NDArray[np.uint8]
    source: str
    index: int | None = None
    rate: Fraction | None = None


def frames(source: StreamSource, max_pixels: int = MAX_PIXELS) -> Iterator[Frame]:
    """Read a source frame by frame.

    Args:
        source: Picture, video, folder or glob of pictures (sorted by name), camera index (also as
            a string of digits), or the address of a stream.
        max_pixels: Largest width x height accepted.

    Yields:
        Frames in order; the end of a video ends the iteration.

    Raises:
        ImageError: A picture cannot be read, or a folder or glob holds none.
        VideoError: A video or camera cannot be opened or read.
        FrameworkNotInstalledError: PyAV (videos) or OpenCV (cameras) is not installed.
    """
    name = os.fspath(source) if not isinstance(source, int) else str(source)
    if name.isdecimal():
        yield from _camera(int(name), max_pixels)
    elif name.startswith(_STREAM_SCHEMES) or _is_video(Path(name)):
        yield from _video(name, max_pixels)
    else:
        for path in expand(name):
            yield Frame(load_image(path, max_pixels), path)


def expand(source: str) -> list[str]:
    """The pictures of a folder or glob, sorted by name; any other source alone.

    Raises:
        ImageError: The folder or glob holds no pictures.
    """
    path = Path(source)
    if path.is_dir():
        found = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
    elif glob.has_magic(source) and not path.exists():
        found = [Path(file) for file in glob.glob(source, recursive=True) if Path(file).is_file()]
    else:
        return [source]
    if not found:
        raise ImageError(f"{source!r} holds no pictures ({', '.join(IMAGE_SUFFIXES)}).")
    return [str(file) for file in sorted(found)]


def is_video(source: StreamSource) -> bool:
    """Whether a source is a video, camera or network stream rather than pictures."""
    name = os.fspath(source) if not isinstance(source, int) else str(source)
    return name.isdecimal() or name.startswith(_STREAM_SCHEMES) or _is_video(Path(name))


class VideoWriter:
    """Writes frames as an MPEG-4 video; the file appears when the writer is closed without error.

    Args:
        path: Target; the suffix says which container.
        rate: Frames per second.
        overwrite: Replace a file that exists, once the new one is whole.

    Raises:
        OutputError: On entry: the file exists and `overwrite` is False, or it is a folder.
        VideoError: The container is unknown or cannot be written.
        FrameworkNotInstalledError: PyAV is not installed.
    """

    def __init__(
        self, path: str | Path, rate: Fraction | None = None, *, overwrite: bool = False
    ) -> None:
        self._av = _require("av", "video")
        self._rate = rate or _DEFAULT_RATE
        self._stack = contextlib.ExitStack()
        self._path = Path(path)
        self._overwrite = overwrite
        if self._path.suffix.lower() not in VIDEO_SUFFIXES:
            raise VideoError(f"Cannot write {path}; known: {', '.join(VIDEO_SUFFIXES)}.")
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        try:
            target = atomic_path(self._path, overwrite=self._overwrite)
            temporary = self._stack.enter_context(target)
            self._container = self._av.open(str(temporary), "w")
        except (OSError, ValueError, self._av.FFmpegError) as error:
            self._stack.close()
            raise VideoError(f"Cannot write {self._path}: {error}.") from error
        return self

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append one frame.

        Args:
            image: (H, W, 3) RGB; every frame must have the size of the first. An odd last row or
                column is cut off, since the codec stores colours for pairs of pixels.
        """
        height, width = (side // 2 * 2 for side in image.shape[:2])
        if self._stream is None:
            self._stream = self._container.add_stream("mpeg4", rate=self._rate)
            self._stream.width, self._stream.height = width, height
            self._stream.pix_fmt = "yuv420p"
            self._stream.bit_rate = max(1_000_000, width * height * 8)
        pixels = np.ascontiguousarray(image[:height, :width])
        frame = self._av.VideoFrame.from_ndarray(pixels, format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._stream is not None and kind is None:
            self._container.mux(self._stream.encode())
        self._container.close()
        self._stack.__exit__(kind, error, trace)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _video(name: str, max_pixels: int) -> Iterator[Frame]:
    av = _require("av", "video")
    if "://" not in name and not Path(name).is_file():
        raise VideoError(f"There is no video {name!r}.")
    try:
        with av.open(name, timeout=_OPEN_TIMEOUT_SECONDS) as container:
            if not container.streams.video:
                raise VideoError(f"{name!r} holds no pictures.")
            stream = container.streams.video[0]
            _check_size(stream.codec_context, name, max_pixels)
            for index, frame in enumerate(container.decode(stream)):
                _check_size(frame, name, max_pixels)
                yield Frame(frame.to_ndarray(format="rgb24"), name, index, stream.average_rate)
    except av.FFmpegError as error:
        raise VideoError(f"Cannot read {name!r}: {error}.") from error


def _camera(index: int, max_pixels: int) -> Iterator[Frame]:
    cv2 = _require("cv2", "opencv")
    capture = cv2.VideoCapture(index)
    try:
        if not capture.isOpened():
            raise VideoError(f"There is no camera {index}.")
        for number in range(2**63):
            good, image = capture.read()
            if not good:
                raise VideoError(f"Camera {index} stopped after {number} frames.")
            size = (image.shape[1], image.shape[0])
            _check_limits(size, f"camera {index}", max_pixels)
            yield Frame(np.ascontiguousarray(image[:, :, ::-1]), str(index), number)
    finally:
        capture.release()


def _check_size(sized: Any, name: str, max_pixels: int) -> None:
    _check_limits((sized.width, sized.height), name, max_pixels)


def _check_limits(size: tuple[int, int], name: str, max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise VideoError(f"{name!r} claims {size[0]} x {size[1]} pixels; limit: {max_pixels}.")


def _require(module: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FrameworkNotInstalledError(
            f"This source needs {module!r}, which is not installed. "
            f"Run: pip install 'facemask-zoo[{extra}]'"
        ) from error
