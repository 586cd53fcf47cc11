"""One number and one steady label for each person in a video."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.arguments import check_number
from facemask_zoo.detections import Detections
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.exports import TRACK_ID
from facemask_zoo.extras import require
from facemask_zoo.tracking.checks import EXTRA, time_of

SEEN_CLASS_ID = "seen_class_id"
"""The attribute with the class of a face in this frame alone."""

MAX_GAP_SECONDS = 1.0
"""For how long somebody may be out of sight and still be the same person."""

_MIN_OVERLAP = 0.1  # of a face with where it is expected: people walk, cameras drop frames
_KALMAN_GAIN = 0.5  # less, and a face that starts to move is lost after a few frames
_MIN_SIDE = 1.0  # pixels: the filter cannot follow boxes without area
_NANOSECONDS = 1_000_000_000
_MAX_TIME_SECONDS = 1e9


@dataclasses.dataclass
class _Sighted:
    """What is known of somebody.

    Attributes:
        votes: (C,) sum of the scores for each class, older ones worth less.
        time: When they were last seen, in seconds.
        frame: Number of the frame in which they were last seen.
        frames: In how many they were seen without a gap.
        class_id: The class that has most votes.
        number: Their number; None until they were seen often enough.
    """

    votes: NDArray[np.float64]
    time: float
    frame: int = 0
    frames: int = 0
    class_id: int = 0
    number: int | None = None


class Tracker:
    """Follows people through one video or camera (ByteTrack).

    Args:
        start_score: Least score with which somebody new is noticed, 0..1. Weaker faces only
            continue the track of somebody who is there already.
        min_frames: In how many frames, one after the other, somebody must be seen before they
            count; so a single wrong detection makes nobody.
        max_gap: Seconds for which somebody may be out of sight and still be the same person.
        memory: Seconds after which a vote for a label counts for about a third. Labels change
            more slowly, and flicker less, the more there are.

    Raises:
        InvalidArgumentError: A number makes no sense.
        FrameworkNotInstalledError: The extra ``tracking`` is not installed.
    """

    def __init__(
        self,
        *,
        start_score: float = 0.5,
        min_frames: int = 3,
        max_gap: float = MAX_GAP_SECONDS,
        memory: float = 1.0,
    ) -> None:
        self._min_frames = check_number("min_frames", min_frames, 1)
        self._max_gap = check_number("max_gap", max_gap, 0.01, _MAX_TIME_SECONDS)
        self._memory = check_number("memory", memory, 0.001)
        self._tracks: Any = require("edgefirst.tracker", EXTRA).ByteTrack(
            high_conf=check_number("start_score", start_score, 0, 1),
            iou=_MIN_OVERLAP,
            update=_KALMAN_GAIN,
            lifespan_ns=round(self._max_gap * _NANOSECONDS),
        )
        self._people: dict[str, _Sighted] = {}
        self._count = self._frame = 0
        self._source: str | None = None
        self._time = self._before = 0.0

    def follow(self, results: Iterable[Detections]) -> Iterator[Detections]:
        """Track what :meth:`Detector.stream` finds, frame by frame; see :meth:`update`."""
        return map(self.update, results)

    def update(self, result: Detections) -> Detections:
        """Say who is who in the next frame.

        Args:
            result: What was found in it. Frames come in order, and from one video.

        Returns:
            The faces that belong to somebody who was seen often enough. Their `class_ids` are
            steady over time; `attributes` has ``"track_id"``, (N,) int64 from 1, and
            ``"seen_class_id"``, the class in this frame alone.

        Raises:
            InvalidArgumentError: It is a picture, or comes from another video.
        """
        time = self._advance(result)
        self._frame += 1
        people = [
            None if key is None else self._sight(key, face, time)
            for key, face in zip(self._keys(result, time), result, strict=True)
        ]
        self._forget(time)
        known = [(row, person) for row, person in enumerate(people) if person and person.number]
        chosen = result[[row for row, _ in known]]
        numbers = np.array([person.number for _, person in known], np.int64)
        steady = np.array([person.class_id for _, person in known], np.int64)
        own = {TRACK_ID: numbers, SEEN_CLASS_ID: chosen.class_ids}
        return dataclasses.replace(
            chosen, class_ids=steady, attributes={**chosen.attributes, **own}
        )

    def _advance(self, result: Detections) -> float:
        """The time of the frame; never earlier than that of the one before."""
        time = time_of(result)
        if not 0 <= time <= _MAX_TIME_SECONDS:
            raise InvalidArgumentError(f"time: expected seconds from 0, but got {time}.")
        if self._source is None:
            self._source = result.source
        elif result.source != self._source:
            raise InvalidArgumentError(
                f"Expected frames of {self._source!r} alone, but got one of {result.source!r}: "
                "make a tracker for each video."
            )
        self._time = max(self._time, time)
        return self._time

    def _keys(self, result: Detections, time: float) -> list[str | None]:
        """ByteTrack's name for whom each face belongs to."""
        boxes = np.nan_to_num(result.boxes, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float64)
        rows = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= _MIN_SIDE).all(axis=1))
        found = self._associate(result.boxes[rows], result.scores[rows], time)
        keys: list[str | None] = [None] * len(result)
        for row, track in zip(rows, found, strict=True):
            keys[row] = None if track is None else track.uuid
        return keys

    def _associate(
        self, boxes: NDArray[np.float32], scores: NDArray[np.float32], time: float
    ) -> list[Any]:
        """What ByteTrack says about each box."""
        # Labels are not compared: somebody who takes the mask off stays the same person.
        labels = np.zeros(len(boxes), np.uintp)
        stamp = round(time * _NANOSECONDS)
        if time - self._before > self._max_gap:  # else tracks end only after the boxes are matched
            self._tracks.update(boxes[:0], scores[:0], labels[:0], stamp)
        self._before = time
        found: list[Any] = self._tracks.update(boxes, scores, labels, stamp)
        return found

    def _sight(self, key: str, face: Detections, time: float) -> _Sighted:
        """Somebody is seen once more."""
        nobody = _Sighted(np.zeros(len(face.classes)), time)
        person = self._people.setdefault(key, nobody)
        person.votes *= math.exp((person.time - time) / self._memory)
        person.votes[face.class_ids[0]] += face.scores[0]
        person.class_id = int(person.votes.argmax())
        person.time = time
        person.frames = person.frames + 1 if person.frame == self._frame - 1 else 1
        person.frame = self._frame
        if person.number is None and person.frames >= self._min_frames:
            self._count += 1
            person.number = self._count
        return person

    def _forget(self, time: float) -> None:
        """Drop those who will not come back, so that memory stays flat for days."""
        latest = time - 2 * self._max_gap
        gone = [key for key, person in self._people.items() if person.time < latest]
        for key in gone:
            del self._people[key]
