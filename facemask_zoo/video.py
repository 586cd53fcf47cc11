"""Pictures one after the other: from files, folders, videos and cameras, in bounded memory."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import itertools
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import ImageError, VideoError
from facemask_zoo.extras import require
from facemask_zoo.files import atomic_path
from facemask_zoo.images import IMAGE_SUFFIXES, MAX_PIXELS, load_image
from facemask_zoo.on_error import OnError, handled

StreamSource = str | os.PathLike[str] | int

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv")

_STREAM_SCHEMES = tuple(
    f"{name}://" for name in ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "tcp", "udp")
)
_ANY_FOLDERS = "**"
_CODECS = {".webm": "libvpx-vp9"}
_DEFAULT_CODEC = "mpeg4"
_DEFAULT_RATE = Fraction(25)
_MAX_RATE = 65535  # MPEG-4 counts time in up to so many parts of a second
_OPEN_TIMEOUT_SECONDS = 15.0


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture of a stream.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        source: File, address or camera that it came from.
        index: Number within a video, from 0; None for a picture of its own.
        rate: Frames per second of the video, if known.
        time: When it is shown, in seconds from the start of the video.
    """

    image: NDArray[np.uint8]
    source: str
    index: int | None = None
    rate: Fraction | None = None
    time: float | None = None


def frames(
    source: StreamSource, max_pixels: int = MAX_PIXELS, on_error: OnError = "raise"
) -> Iterator[Frame]:
    """Read a source frame by frame.

    Args:
        source: Picture, video, folder of pictures or glob (sorted by name), camera index (also as
            a string of digits), or the address of a stream.
        max_pixels: Largest width x height accepted.
        on_error: What to do about a picture, video or folder that cannot be read: ``"raise"``,
            ``"skip"`` it (the rest of it, for a video), or a function that is called with its name
            and the error.

    Yields:
        Frames in order; the end of a video ends the iteration.

    Raises:
        ImageError: A picture cannot be read, or a folder or glob holds none.
        VideoError: A video or camera cannot be opened or read.
        FrameworkNotInstalledError: PyAV (videos) or OpenCV (cameras) is not installed.
    """
    name = os.fspath(source) if not isinstance(source, int) else str(source)
    items: list[str] = []
    with handled(name, on_error):
        items = expand(name)
    for item in items:
        # Written out: an error of whoever uses the frames must not be taken for one of the reader.
        reader = _read(item, max_pixels)
        while True:
            frame = None
            with handled(item, on_error):
                frame = next(reader, None)
            if frame is None:
                break
            yield frame


def expand(source: str) -> list[str]:
    """The pictures of a folder, or the files of a glob, sorted by name; any other source alone.

    A file that can be reached in several ways, by symbolic links, counts once.

    Raises:
        ImageError: The folder or glob holds no pictures, or cannot be read.
    """
    if _is_live(source) or os.path.isfile(source):
        return [source]
    if os.path.isdir(source):
        found = _pictures(source)
    elif glob.has_magic(source) and not os.path.lexists(source):
        found = [path for path in _matches(source) if os.path.isfile(path)]
    else:
        return [source]
    if not found:
        raise ImageError(f"{source!r} holds no pictures ({', '.join(IMAGE_SUFFIXES)}).")
    return _each_once(found)


def is_video(source: StreamSource) -> bool:
    """Whether a source is a video, camera or network stream rather than pictures."""
    name = os.fspath(source) if not isinstance(source, int) else str(source)
    return _is_live(name) or _is_video(Path(name))


class VideoWriter:
    """Writes frames as a video; the file appears when the writer is closed without error.

    Args:
        path: Target; the suffix says which container. WebM holds VP9, the others MPEG-4.
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
        self._av = require("av", "video")
        self._rate = _countable(rate) if rate and rate > 0 else _DEFAULT_RATE
        self._stack = contextlib.ExitStack()
        self._path = Path(path)
        self._overwrite = overwrite
        if self._path.suffix.lower() not in VIDEO_SUFFIXES:
            raise VideoError(f"Cannot write {path}; known: {', '.join(VIDEO_SUFFIXES)}.")
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        with contextlib.ExitStack() as stack, self._errors():
            target = atomic_path(self._path, overwrite=self._overwrite)
            temporary = stack.enter_context(target)
            self._container = stack.enter_context(self._av.open(str(temporary), "w"))
            self._stack = stack.pop_all()
        return self

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append one frame.

        Args:
            image: (H, W, 3) RGB; every frame must have the size of the first. An odd last row or
                column is cut off, since the codec stores colours for pairs of pixels.

        Raises:
            VideoError: The encoder does not take the frame, or the file cannot be written.
        """
        height, width = (side // 2 * 2 for side in image.shape[:2])
        with self._errors():
            if self._stream is None:
                self._stream = self._add_stream(width, height)
            pixels = np.ascontiguousarray(image[:height, :width])
            frame = self._av.VideoFrame.from_ndarray(pixels, format="rgb24")
            self._container.mux(self._stream.encode(frame))

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        with self._errors(), self._stack:
            if kind is not None:
                self._stack.__exit__(kind, error, trace)
            elif self._stream is not None:
                self._container.mux(self._stream.encode())

    def _add_stream(self, width: int, height: int) -> Any:
        codec = _CODECS.get(self._path.suffix.lower(), _DEFAULT_CODEC)
        stream = self._container.add_stream(codec, rate=self._rate)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = max(1_000_000, width * height * 8)
        return stream

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, self._av.FFmpegError) as error:
            raise VideoError(f"Cannot write {self._path}: {error}.") from error


def _countable(rate: Fraction) -> Fraction:
    """The nearest rate whose frames last a whole number of the parts that MPEG-4 counts in."""
    return 1 / (1 / min(rate, Fraction(_MAX_RATE))).limit_denominator(_MAX_RATE)


def _is_live(name: str) -> bool:
    """Whether it is a camera or an address, and so no file, folder or glob."""
    return name.isdecimal() or name.lower().startswith(_STREAM_SCHEMES)


def _read(name: str, max_pixels: int) -> Iterator[Frame]:
    if name.isdecimal():
        yield from _camera(int(name), max_pixels)
    elif is_video(name):
        yield from _video(name, max_pixels)
    else:
        yield Frame(load_image(name, max_pixels), name)


def _pictures(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.path for entry in entries]
    except OSError as error:
        raise ImageError(f"Cannot read the folder {folder!r}: {error.strerror}.") from error
    return [name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES]


def _matches(pattern: str) -> Iterator[str]:
    """What a glob matches; unlike the standard library's, ``**`` enters each folder once."""
    parts = Path(pattern).parts
    if _ANY_FOLDERS not in parts:
        yield from glob.iglob(pattern)
        return
    at = parts.index(_ANY_FOLDERS)
    rest = tuple(itertools.dropwhile(_ANY_FOLDERS.__eq__, parts[at:])) or ("*",)
    for start in glob.glob(os.path.join(*parts[:at])) if at else [os.curdir]:
        for folder in _folders(start):
            yield from _matches(os.path.join(glob.escape(folder), *rest))


def _folders(start: str) -> Iterator[str]:
    """A folder and all below it but hidden ones; links to other places are entered last."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        links: list[str] = []
        for top in waiting:
            for folder, names, _ in os.walk(top):
                real = os.path.realpath(folder)
                if real in seen:
                    names.clear()
                    continue
                seen.add(real)
                yield folder
                names[:] = [name for name in names if not name.startswith(".")]
                below = [os.path.join(folder, name) for name in names]
                links.extend(path for path in below if os.path.islink(path))
        waiting = links


def _each_once(paths: Iterable[str]) -> list[str]:
    """The paths sorted, one for each file: its own rather than that of a link to it."""
    own: dict[str, Path] = {}
    for path in sorted(map(Path, paths)):
        real = os.path.realpath(path)
        if real not in own or real == os.path.abspath(path):
            own[real] = path
    return list(map(str, sorted(own.values())))


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _video(name: str, max_pixels: int) -> Iterator[Frame]:
    av = require("av", "video")
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
    cv2 = require("cv2", "opencv")
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
