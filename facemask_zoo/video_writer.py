"""Videos that browsers play, each frame at its own time, with the sound of their source."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import VideoError
from facemask_zoo.extras import require
from facemask_zoo.files import atomic_path
from facemask_zoo.video import VIDEO_SUFFIXES, WHOLE, Clip, open_video, start_of

_DEFAULT_RATE = Fraction(25)
_MAX_RATE = 65535  # MPEG-4 counts time in up to so many parts of a second
_TICKS = 90_000  # per second, where frames may come at any time
_MIN_TICKS = 90  # between two frames: Matroska counts milliseconds


class _Codecs(NamedTuple):
    """What a container holds.

    Attributes:
        video: Encoder of the pictures.
        audio: Encoder of sound that the container does not take as it is.
        options: Of the video encoder.
        any_time: Whether frames may come at any time, not only at a constant rate.
    """

    video: str
    audio: str
    options: dict[str, str]
    any_time: bool = True


_H264 = _Codecs("libx264", "aac", {"crf": "21", "preset": "veryfast", "bf": "0"})
_VP9 = _Codecs(
    "libvpx-vp9", "libopus", {"crf": "31", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}
)
_MPEG4 = _Codecs("mpeg4", "mp2", {}, any_time=False)
_CODECS = {
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".mkv", ".ts"), _H264),
    ".webm": _VP9,
}
# The index at the front, so that a browser plays before all is there.
_CONTAINER_OPTIONS = {key: {"movflags": "+faststart"} for key in (".mp4", ".m4v", ".mov")}


class VideoWriter:
    """Writes frames as a video; the file appears when the writer is closed without error.

    Args:
        path: Target; the suffix says which container. MP4, MOV, MKV and TS hold H.264, WebM holds
            VP9: browsers play MP4 and WebM. The others hold MPEG-4 at a constant rate.
        rate: Frames per second, for frames that come without a time.
        overwrite: Replace a file that exists, once the new one is whole.
        sound: A video whose sound is copied; it is encoded anew only where the container does not
            take it. One without sound will do.
        clip: The part of `sound` to copy; its start is the start of this video.

    Raises:
        OutputError: On entry: the file exists and `overwrite` is False, or it is a folder.
        VideoError: The container is unknown or cannot be written.
        FrameworkNotInstalledError: PyAV is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        rate: Fraction | None = None,
        *,
        overwrite: bool = False,
        sound: str | None = None,
        clip: Clip = WHOLE,
    ) -> None:
        self._av = require("av", "video")
        self._path = Path(path)
        self._overwrite = overwrite
        self._suffix = self._path.suffix.lower()
        if self._suffix not in VIDEO_SUFFIXES:
            raise VideoError(f"Cannot write {path}; known: {', '.join(VIDEO_SUFFIXES)}.")
        self._codecs = _CODECS.get(self._suffix, _MPEG4)
        self._rate = _countable(rate) if rate and rate > 0 else _DEFAULT_RATE
        self._sound_source, self._clip = sound, clip
        self._stack = contextlib.ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._sound: _Sound | None = None
        self._held: Any = None
        self._last = -_TICKS

    def __enter__(self) -> VideoWriter:
        with contextlib.ExitStack() as stack, self._errors():
            target = atomic_path(self._path, overwrite=self._overwrite)
            temporary = stack.enter_context(target)
            options = _CONTAINER_OPTIONS.get(self._suffix, {})
            opened = self._av.open(str(temporary), "w", options=options)
            self._container = stack.enter_context(opened)
            self._stack = stack.pop_all()
        return self

    def write(self, image: NDArray[np.uint8], time: float | None = None) -> None:
        """Append one frame.

        Args:
            image: (H, W, 3) RGB. A frame of another size than the first is scaled to it. An odd
                last row or column is cut off, since the codec stores colours for pairs of pixels.
            time: When it is shown, in seconds from the start; one frame after the last if None.

        Raises:
            VideoError: The encoder does not take the frame, or the file cannot be written.
        """
        height, width = (max(1, side // 2) * 2 for side in image.shape[:2])
        with self._errors():
            if self._stream is None:
                self._begin(width, height)
            pixels = np.ascontiguousarray(image[:height, :width])
            frame = self._av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(self._stream.width, self._stream.height, "yuv420p")
            frame.time_base = self._stream.codec_context.time_base
            frame.pts = self._last = self._ticks(time, frame.time_base)
            self._encode_held(frame.pts)
            self._held = frame

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        with self._errors(), self._stack:
            if kind is not None:
                self._stack.__exit__(kind, error, trace)
            elif self._stream is not None:
                self._encode_held(None)
                self._container.mux(self._stream.encode())
                if self._sound:
                    self._sound.copy_until(None)

    def _encode_held(self, until: int | None) -> None:
        """Encode the last frame: how long it is shown is known when the next one comes."""
        frame, self._held = self._held, None
        if frame is None:
            return
        usual = round(1 / (self._rate * frame.time_base))
        frame.duration = usual if until is None else until - frame.pts
        self._container.mux(self._stream.encode(frame))
        if self._sound:
            self._sound.copy_until(float((frame.pts + frame.duration) * frame.time_base))

    def _begin(self, width: int, height: int) -> None:
        stream = self._container.add_stream(self._codecs.video, rate=self._rate)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p"
        stream.options = self._codecs.options
        if self._codecs.any_time:
            stream.codec_context.time_base = Fraction(1, _TICKS)
            stream.bit_rate = 0  # the quality asked for decides
        else:
            stream.codec_context.time_base = 1 / self._rate
            stream.bit_rate = max(1_000_000, width * height * 8)
        self._stream = stream
        if self._sound_source:
            source = self._stack.enter_context(open_video(self._sound_source))
            if any(stream.codec_context for stream in source.streams.audio):
                self._sound = _Sound(source, self._container, self._codecs.audio, self._clip)

    def _ticks(self, time: float | None, time_base: Fraction) -> int:
        """Time stamp of the next frame: later than the last, whatever the source says."""
        step = _MIN_TICKS if self._codecs.any_time else 1
        if time is None:
            following = self._last + max(step, round(1 / (self._rate * time_base)))
            return max(0, following)
        return max(round(time / time_base), self._last + step, 0)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (self._av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(f"Cannot write {self._path}: {error}.") from error


class _Sound:
    """Copies sound from one container to another, as far as the pictures have come.

    Args:
        source: Container to read.
        target: Container to write.
        encoder: For sound that the target does not take as it is.
        clip: Part to copy.
    """

    def __init__(self, source: Any, target: Any, encoder: str, clip: Clip) -> None:
        self._target = target
        self._stream = next(stream for stream in source.streams.audio if stream.codec_context)
        self._offset = start_of(source) + clip.start
        self._end = None if clip.end is None else clip.end - clip.start
        self._encoder: Any = None
        if self._stream.codec_context.name in target.supported_codecs:
            self._output = target.add_stream_from_template(self._stream)
            self._packets = source.demux(self._stream)
        else:
            self._output = self._encoder = target.add_stream(encoder, self._rate(encoder))
            self._packets = source.decode(self._stream)
        self._waiting: Iterator[Any] = iter(self._packets)

    def _rate(self, encoder: str) -> int:
        return 48_000 if encoder == "libopus" else int(self._stream.rate)

    def copy_until(self, time: float | None) -> None:
        """Copy what begins before a time of the new video; all that is left if it is None."""
        for part in self._waiting:
            if part.pts is None:
                continue
            starts = float(part.pts * part.time_base) - self._offset
            if self._end is not None and starts >= self._end:
                self._waiting = iter(())
                break
            if time is not None and starts > time:
                self._waiting = itertools.chain([part], self._waiting)
                return
            if starts >= 0 or self._offset == 0:
                self._put(part)
        if time is None and self._encoder:
            self._target.mux(self._encoder.encode(None))

    def _put(self, part: Any) -> None:
        shift = round(self._offset / part.time_base)
        part.pts -= shift
        if self._encoder:
            self._target.mux(self._encoder.encode(part))
            return
        if part.dts is not None:
            part.dts -= shift
        part.stream = self._output
        self._target.mux(part)


def _countable(rate: Fraction) -> Fraction:
    """The nearest rate whose frames last a whole number of the parts that MPEG-4 counts in."""
    return 1 / (1 / min(rate, Fraction(_MAX_RATE))).limit_denominator(_MAX_RATE)
