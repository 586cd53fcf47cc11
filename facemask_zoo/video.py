"""Pictures one after the other: from files, folders, videos and cameras, in bounded memory."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import itertools
import os
import time as clock
from collections.abc import Callable, Generator, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.addresses import is_image_address
from facemask_zoo.arguments import check_count, check_number, path_text
from facemask_zoo.errors import (
    ImageError,
    InvalidArgumentError,
    TruncatedVideoError,
    VideoError,
)
from facemask_zoo.extras import require
from facemask_zoo.images import ADDRESS_SCHEMES, IMAGE_SUFFIXES, MAX_PIXELS, load_image
from facemask_zoo.on_error import OnError, handled

StreamSource = str | os.PathLike[str] | int

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv")
"""Suffixes of the videos that are read and written."""

_STREAM_SCHEMES = tuple(
    f"{name}://" for name in ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "tcp", "udp")
)
_ANY_FOLDERS = "**"
_CAMERA = "camera:"
_OPEN_TIMEOUT_SECONDS = 15.0
_MICROSECONDS = 1_000_000
_TOLERANCE_SECONDS = 0.5  # that a video may be shorter than its header says

# A file that is called a video may be a playlist that leads to other files, or to servers.
_FILE_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,matroska,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg",
}


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


@dataclasses.dataclass(frozen=True)
class Clip:
    """Which frames of a video to read.

    Attributes:
        every: Only each so-manieth frame.
        start: Seconds to leave out at the start.
        end: Where to stop, in seconds from the start; None reads to the end.

    Raises:
        InvalidArgumentError: A number makes no sense.
    """

    every: int = 1
    start: float = 0.0
    end: float | None = None

    def __post_init__(self) -> None:
        check_count("every", self.every)
        check_number("start", self.start, 0)
        if self.end is not None:
            check_number("end", self.end, 0)
            if not self.end > self.start:
                raise InvalidArgumentError(
                    f"end: expected more than start, {self.start} s, but got {self.end}."
                )

    def has(self, index: int, time: float) -> bool:
        """Whether a frame is to be read."""
        return time >= self.start and index % self.every == 0

    def is_over(self, time: float) -> bool:
        """Whether no frame is to be read any more."""
        return self.end is not None and time >= self.end


WHOLE = Clip()
"""Every frame."""


def frames(
    source: StreamSource,
    max_pixels: int = MAX_PIXELS,
    on_error: OnError = "raise",
    *,
    clip: Clip = WHOLE,
    fetch: Callable[[str], bytes] | None = None,
) -> Generator[Frame, None, None]:
    """Read a source frame by frame.

    Videos are turned upright as their display matrix says, and each frame keeps its own time.

    Args:
        source: Picture, video, folder of pictures or glob (sorted by name), camera (its index, or
            ``"camera:0"``; digits alone are a file if there is one of that name), or the address
            of a stream.
        max_pixels: Largest width x height accepted.
        on_error: What to do about a picture, video or folder that cannot be read: ``"raise"``,
            ``"skip"`` it (the rest of it, for a video), or a function that is called with its name
            and the error.
        clip: Which frames of videos and cameras to read.
        fetch: Fetches the pictures whose addresses are given; they are refused if it is None.

    Yields:
        Frames in order; the end of a video ends the iteration.

    Raises:
        ImageError: A picture cannot be read, or a folder or glob holds none.
        VideoError: A video or camera cannot be opened or read.
        TruncatedVideoError: A video breaks off, after the frames that could be read.
        FrameworkNotInstalledError: PyAV (videos) or OpenCV (cameras) is not installed.
    """
    check_count("max_pixels", max_pixels)
    name = name_of(source)
    items: list[str] = []
    with handled(name, on_error):
        items = expand(name)
    for item in items:
        # Written out: an error of whoever uses the frames must not be taken for one of the reader.
        reader = _read(item, max_pixels, clip, fetch)
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
    if is_live(source) or os.path.isfile(source):
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
    name = name_of(source)
    return not is_image_address(name) and (is_live(name) or _is_video(Path(name)))


def camera_index(source: StreamSource) -> int | None:
    """Number of the camera that a source stands for; None for anything else."""
    name = name_of(source)
    digits = name.removeprefix(_CAMERA)
    is_file = digits == name and os.path.lexists(name)
    return int(digits) if digits.isascii() and digits.isdecimal() and not is_file else None


def name_of(source: StreamSource) -> str:
    """What a source is called: its path or address, or ``"camera:0"``.

    Raises:
        InvalidArgumentError: It is neither a path nor the number of a camera.
    """
    is_camera = isinstance(source, int) and not isinstance(source, bool)
    return f"{_CAMERA}{source}" if is_camera else path_text("source", source)


def is_live(name: str) -> bool:
    """Whether it is a camera or an address, and so no file, folder or glob."""
    return camera_index(name) is not None or name.lower().startswith(_STREAM_SCHEMES)


def arrives_by_itself(name: str) -> bool:
    """Whether frames come at their own pace, as of a camera, and not when they are asked for."""
    on_a_server = name.lower().startswith(ADDRESS_SCHEMES)
    is_file = is_image_address(name) or _is_video(Path(urlsplit(name).path))
    return is_live(name) and not (on_a_server and is_file)


def _read(
    name: str, max_pixels: int, clip: Clip, fetch: Callable[[str], bytes] | None
) -> Iterator[Frame]:
    camera = camera_index(name)
    if camera is not None:
        yield from _camera(camera, max_pixels, clip)
    elif is_video(name):
        yield from _video(name, max_pixels, clip)
    else:
        source = fetch(name) if fetch and is_image_address(name) else name
        yield Frame(load_image(source, max_pixels), name)


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


def _video(name: str, max_pixels: int, clip: Clip) -> Iterator[Frame]:
    with open_video(name) as container:
        stream = _pictures_of(container, name)
        _check_size(stream.codec_context, name, max_pixels)
        # The header may say less than the frames do; the decoder must not take memory for those.
        stream.codec_context.options = {"max_pixels": str(max_pixels)}
        ends: float | None = None
        for index, frame, time in _decoded(container, stream, name):
            _check_size(frame, name, max_pixels)
            if clip.is_over(time):
                return
            if clip.has(index, time):
                yield Frame(_upright(frame), name, index, stream.average_rate, time)
            ends = time + _frame_seconds(stream)
        if ends is None:
            raise VideoError(f"{name!r} holds no frames.")
        _check_length(container, stream, name, ends)


def _pictures_of(container: Any, name: str) -> Any:
    """The stream of pictures; PyAV has no codec for one that FFmpeg does not know."""
    streams = container.streams.video
    if not streams:
        raise VideoError(f"{name!r} holds no pictures.")
    if streams[0].codec_context is None:
        raise VideoError(f"{name!r} holds pictures of a kind that cannot be decoded.")
    return streams[0]


@contextlib.contextmanager
def open_video(name: str) -> Iterator[Any]:
    """A PyAV container of a file or address, opened to be read.

    Raises:
        VideoError: It is missing or damaged.
        FrameworkNotInstalledError: PyAV is not installed.
    """
    av = require("av", "video")
    is_file = "://" not in name
    if is_file and not os.path.isfile(name):
        raise VideoError(f"There is no video {name!r}.")
    place = os.path.abspath(name) if is_file else name  # else "concat:..." would be a protocol
    options = _FILE_OPTIONS if is_file else {}
    try:
        with av.open(place, options=options, timeout=_OPEN_TIMEOUT_SECONDS) as container:
            yield container
    except (av.FFmpegError, UnicodeError) as error:
        raise VideoError(f"Cannot read {name!r}: {error}.") from error


def start_of(container: Any) -> float:
    """Time stamp of a container's start, in seconds: of pictures and sound alike."""
    return float(container.start_time or 0) / _MICROSECONDS


def frame_count(name: str) -> int | None:
    """Number of frames that a video's header claims; None if it does not say, or for a stream.

    Raises:
        VideoError: It is missing or damaged.
        FrameworkNotInstalledError: PyAV is not installed.
    """
    if is_live(name) or not os.path.isfile(name):
        return None
    with open_video(name) as container:
        streams = container.streams.video
        if not streams:
            return None
        if streams[0].frames:
            return int(streams[0].frames)
        if container.duration and streams[0].average_rate:
            seconds = float(container.duration) / _MICROSECONDS
            return round(seconds * float(streams[0].average_rate))
    return None


def _decoded(container: Any, stream: Any, name: str) -> Iterator[tuple[int, Any, float]]:
    """Number, frame and time of each frame, until the video ends or breaks off."""
    av = require("av", "video")
    start, time = start_of(container), 0.0
    reader = enumerate(container.decode(stream))
    for count in itertools.count():
        try:
            index, frame = next(reader)
        except StopIteration:
            return
        except av.FFmpegError as error:
            if count == 0:
                raise
            raise TruncatedVideoError(
                f"{name!r} breaks off after {count} frames, {time:.1f} s: {error}."
            ) from error
        if frame.time is not None:
            time = max(0.0, frame.time - start)
        elif index:
            time += _frame_seconds(stream)
        yield index, frame, time


def _upright(frame: Any) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB, turned as the display matrix says."""
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _frame_seconds(stream: Any) -> float:
    return float(1 / stream.average_rate) if stream.average_rate else 0.0


def _check_length(container: Any, stream: Any, name: str, ends: float) -> None:
    """Report a video that is clearly shorter than its header says."""
    if stream.duration is not None:
        declared = float(stream.duration * stream.time_base)
    elif container.duration is not None and len(container.streams) == 1:
        declared = float(container.duration) / _MICROSECONDS
    else:  # the length of the whole may be that of the sound
        return
    if ends < declared - max(_TOLERANCE_SECONDS, 2 * _frame_seconds(stream)):
        raise TruncatedVideoError(
            f"{name!r} breaks off after {ends:.1f} s; its header says {declared:.1f} s."
        )


def _camera(index: int, max_pixels: int, clip: Clip) -> Iterator[Frame]:
    cv2 = require("cv2", "opencv")
    capture = cv2.VideoCapture(index)
    try:
        if not capture.isOpened():
            raise VideoError(f"There is no camera {index}.")
        start = clock.monotonic()
        for number in itertools.count():
            good, image = capture.read()
            time = clock.monotonic() - start
            if not good:
                raise VideoError(f"Camera {index} stopped after {number} frames.")
            if clip.is_over(time):
                return
            size = (image.shape[1], image.shape[0])
            _check_limits(size, f"camera {index}", max_pixels)
            if clip.has(number, time):
                pixels = np.ascontiguousarray(image[:, :, ::-1])
                yield Frame(pixels, name_of(index), number, None, time)
    finally:
        capture.release()


def _check_size(sized: Any, name: str, max_pixels: int) -> None:
    _check_limits((sized.width, sized.height), name, max_pixels)


def _check_limits(size: tuple[int, int], name: str, max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise VideoError(f"{name!r} claims {size[0]} x {size[1]} pixels; limit: {max_pixels}.")
