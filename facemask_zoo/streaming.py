"""Streams: reading, detecting and using the results overlap, in bounded memory.

Each source is read by a thread of its own into a queue that holds a few frames. One thread takes
them in turn and detects; what it finds waits in another short queue for whoever iterates. A file is
read no faster than its frames are used. A camera does not wait: its newest frame takes the place of
one that nobody has taken yet, and that one is counted as dropped.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from facemask_zoo.detections import Detections
from facemask_zoo.errors import FaceMaskZooError
from facemask_zoo.on_error import OnError, handled
from facemask_zoo.video import Frame, StreamSource, arrives_by_itself, frames, name_of

log = logging.getLogger(__name__)

Detect = Callable[[Sequence[Frame]], list[Detections]]
"""Finds the faces in several frames."""

_CLOSE_SECONDS = 2.0
"""So long it is waited for a thread that reads; a camera that says nothing may hold it longer."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much may wait, and for how long.

    Attributes:
        buffer: Frames of each file, and results, that wait for the next stage.
        batch: Frames that are detected at once, of those that wait.
        reconnect: Seconds after which a camera that went away is opened again; None ends its
            stream.
    """

    buffer: int
    batch: int
    reconnect: float | None


@dataclasses.dataclass(frozen=True)
class _Problem:
    """What could not be read, in its place among the frames.

    Attributes:
        name: Of the picture, video or camera.
        error: Why.
    """

    name: str
    error: BaseException


class _Source:
    """A source, and its frames that wait to be detected."""

    def __init__(self, place: StreamSource) -> None:
        self.place = place
        self.name = str(place)
        self.is_camera = False
        self.waiting: collections.deque[Frame | _Problem] = collections.deque()
        self.began = time.monotonic()
        self.frames = 0
        self.time = 0.0
        self.dropped = 0
        self.is_read = False


class _State:
    """What the threads of a stream share; all of it is changed under `changed` alone."""

    def __init__(self, places: Sequence[StreamSource], max_pixels: int, limits: Limits) -> None:
        self.changed = threading.Condition()
        self.sources = [_Source(place) for place in places]
        self.max_pixels = max_pixels
        self.limits = limits
        self.results: collections.deque[Detections | _Problem] = collections.deque()
        self.is_detected = False
        self.is_stopped = False

    def stop(self) -> None:
        """Let all threads end."""
        with self.changed:
            self.is_stopped = True
            for source in self.sources:
                source.waiting.clear()
            self.results.clear()
            self.changed.notify_all()


class Stream(Iterator[Detections]):
    """Results, one after the other; those of each source in the order of its frames.

    A stream ends with its sources, with an error that nobody handles, or when it is closed: by
    :meth:`close`, at the end of a ``with`` block, or when it is no longer used.

    Args:
        detect: Finds the faces in several frames.
        places: The sources.
        max_pixels: Largest width x height of a frame.
        on_error: See :meth:`Detector.stream`.
        limits: How much may wait.
    """

    def __init__(
        self,
        detect: Detect,
        places: Sequence[StreamSource],
        max_pixels: int,
        on_error: OnError,
        limits: Limits,
    ) -> None:
        self._state = _State(places, max_pixels, limits)
        self._on_error = on_error
        self._threads = [
            threading.Thread(target=_read, args=(self._state, source), daemon=True)
            for source in self._state.sources
        ]
        self._threads.append(
            threading.Thread(target=_detect, args=(self._state, detect), daemon=True)
        )
        self._is_started = False
        # The threads know the state alone, so that they do not keep alive what nobody uses.
        self._finalizer = weakref.finalize(self, self._state.stop)

    @property
    def dropped(self) -> int:
        """Frames of cameras that were not looked at, since newer ones came first."""
        with self._state.changed:
            return sum(source.dropped for source in self._state.sources)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Detections:
        """The next result.

        Raises:
            StopIteration: All sources have ended, or the stream was closed.
            FaceMaskZooError: A source cannot be read, and `on_error` is ``"raise"``.
        """
        if not self._is_started:
            self._start()
        while True:
            item = self._next_item()
            if item is None:
                self.close()
                raise StopIteration
            if isinstance(item, Detections):
                return item
            self._handle(item)

    def close(self) -> None:
        """Stop reading, and let go of the sources."""
        self._finalizer()
        for thread in self._threads if self._is_started else ():
            if thread is not threading.current_thread():
                thread.join(_CLOSE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        self._is_started = True
        for thread in self._threads:
            thread.start()

    def _next_item(self) -> Detections | _Problem | None:
        state = self._state
        with state.changed:
            while not (state.results or state.is_detected or state.is_stopped):
                state.changed.wait()
            if not state.results:
                return None
            item = state.results.popleft()
            state.changed.notify_all()
            return item

    def _handle(self, problem: _Problem) -> None:
        try:
            if not isinstance(problem.error, FaceMaskZooError):
                raise problem.error
            with handled(problem.name, self._on_error):
                raise problem.error
        except BaseException:
            self.close()
            raise


def _read(state: _State, source: _Source) -> None:
    """What the thread of a source does."""
    try:
        source.name = name_of(source.place)
        source.is_camera = arrives_by_itself(source.name)
        source.began = time.monotonic()
        _read_once(state, source)
        while source.is_camera and _shall_return(state):
            _read_once(state, source)
    except BaseException as error:  # it is raised where the results are used
        _put(state, source, _Problem(source.name, error))
    finally:
        with state.changed:
            source.is_read = True
            state.changed.notify_all()


def _shall_return(state: _State) -> bool:
    """Whether a camera that went away is to be opened again, after a while."""
    seconds = state.limits.reconnect
    with state.changed:
        return seconds is not None and not state.changed.wait_for(lambda: state.is_stopped, seconds)


def _read_once(state: _State, source: _Source) -> None:
    """Read until the source ends."""
    first = source.frames
    passed = max(source.time, time.monotonic() - source.began)

    def problem(name: str, error: FaceMaskZooError) -> None:
        if source.is_camera and state.limits.reconnect is not None:
            log.warning("%s It is tried again in %g s.", error, state.limits.reconnect)
        else:
            _put(state, source, _Problem(name, error))

    with contextlib.closing(frames(source.name, state.max_pixels, problem)) as reader:
        for frame in reader:
            if first and frame.index is not None:  # it came back: numbers and times go on
                later = passed + (frame.time or 0.0)
                frame = dataclasses.replace(frame, index=frame.index + first, time=later)
            if not _put(state, source, frame):
                return
            source.frames += 1
            source.time = frame.time or 0.0


def _put(state: _State, source: _Source, item: Frame | _Problem) -> bool:
    """Let a frame wait to be detected; False if the stream was stopped."""
    waiting, most = source.waiting, state.limits.buffer
    with state.changed:
        if source.is_camera:
            if waiting and isinstance(waiting[-1], Frame):
                waiting.pop()
                source.dropped += 1
        else:
            state.changed.wait_for(lambda: state.is_stopped or len(waiting) < most)
        if state.is_stopped:
            return False
        waiting.append(item)
        state.changed.notify_all()
        return True


def _detect(state: _State, detect: Detect) -> None:
    """What the thread that detects does."""
    try:
        while items := _take(state):
            found = iter(detect([item for item in items if isinstance(item, Frame)]))
            for item in items:
                if not _emit(state, next(found) if isinstance(item, Frame) else item):
                    return
    except BaseException as error:  # it is raised where the results are used
        _emit(state, _Problem("", error))
    finally:
        with state.changed:
            state.is_detected = True
            state.changed.notify_all()


def _take(state: _State) -> list[Frame | _Problem]:
    """What waits, from each source in turn; nothing if nothing will come any more."""
    items: list[Frame | _Problem] = []
    with state.changed:
        state.changed.wait_for(
            lambda: (
                state.is_stopped
                or any(source.waiting for source in state.sources)
                or all(source.is_read for source in state.sources)
            )
        )
        while len(items) < state.limits.batch and not state.is_stopped:
            source = next((source for source in state.sources if source.waiting), None)
            if source is None:
                break
            items.append(source.waiting.popleft())
            state.sources.remove(source)  # the others are first now
            state.sources.append(source)
        state.changed.notify_all()
    return items


def _emit(state: _State, item: Detections | _Problem) -> bool:
    """Let a result wait to be used; False if the stream was stopped."""
    with state.changed:
        state.changed.wait_for(lambda: state.is_stopped or len(state.results) < state.limits.buffer)
        if state.is_stopped:
            return False
        state.results.append(item)
        state.changed.notify_all()
        return True
