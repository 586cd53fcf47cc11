"""Events: somebody is bare-faced in a zone for so many seconds."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from facemask_zoo.arguments import check_number
from facemask_zoo.datasets.labels import NO_MASK
from facemask_zoo.detections import Detections
from facemask_zoo.errors import UnknownNameError
from facemask_zoo.tracking.checks import ids_of, time_of
from facemask_zoo.tracking.tracker import MAX_GAP_SECONDS
from facemask_zoo.tracking.zones import Zone, check_names

_DIGITS = 3


@dataclasses.dataclass(frozen=True)
class Event:
    """Somebody has stayed too long.

    Attributes:
        id: Unlike that of any other event, so that one that is delivered twice counts once.
        source: The video or camera.
        zone: Name of the zone; None for the whole picture.
        track_id: Who it is.
        label: What they wear: that of the rule.
        since: When the stay began, in seconds from the start of the video.
        time: When it had lasted long enough.
        frame: Number of the frame then.
        box: Where the face is then, xyxy pixels.
        score: Of the face then.
        clock: The time of day, ISO 8601 in UTC, of what is live; None for a file.
    """

    id: str
    source: str | None
    zone: str | None
    track_id: int
    label: str
    since: float
    time: float
    frame: int | None
    box: tuple[float, float, float, float]
    score: float
    clock: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values; what is None is left out."""
        values = {key: value for key, value in vars(self).items() if value is not None}
        for key in ("since", "time", "score"):
            values[key] = round(values[key], _DIGITS)
        values["seconds"] = round(self.time - self.since, _DIGITS)
        values["box"] = [round(value, _DIGITS) for value in self.box]
        return values

    def to_json(self) -> str:
        """One line of JSON, in ASCII alone, with the values of :meth:`to_dict`."""
        return json.dumps(self.to_dict())


@dataclasses.dataclass
class _Stay:
    """From when to when, and whether it was reported."""

    since: float
    last: float
    reported: bool = False


class _Place(NamedTuple):
    """Where a stay may be: a zone, or the whole picture."""

    zone: Zone | None

    def rows(self, result: Detections) -> list[int]:
        """Which faces are there."""
        if self.zone is None:
            return list(range(len(result)))
        inside: list[int] = np.flatnonzero(self.zone.contains(result.boxes)).tolist()
        return inside


class StayRule:
    """Raises one event for each stay of somebody with a label in a zone.

    A stay goes on through short gaps: a face that is hidden, that is taken for masked, or that
    steps over the line, for less than `max_gap`. It ends after that, and a new one may begin.

    Args:
        seconds: How long a stay is allowed to last.
        zones: Where it counts; the whole picture if there are none.
        label: Of the faces that count.
        max_gap: Longest gap in a stay, in seconds.

    Raises:
        InvalidArgumentError: A number makes no sense, or two zones have one name.
    """

    def __init__(
        self,
        seconds: float,
        *,
        zones: Sequence[Zone] = (),
        label: str = NO_MASK,
        max_gap: float = MAX_GAP_SECONDS,
    ) -> None:
        self.seconds = check_number("seconds", seconds, 0)
        self.max_gap = check_number("max_gap", max_gap, 0)
        self.label = label
        check_names(zones)
        self._places = [_Place(zone) for zone in zones] or [_Place(None)]
        self._stays: dict[tuple[int, str | None], _Stay] = {}
        self._size: tuple[int, int] | None = None

    def check(self, classes: Sequence[str]) -> None:
        """Make sure that the model knows the label.

        Raises:
            UnknownNameError: It does not.
        """
        if self.label not in classes:
            raise UnknownNameError.among("label", self.label, classes)

    def update(self, result: Detections) -> list[Event]:
        """Look at the next frame.

        Args:
            result: What :meth:`Tracker.update` gave.

        Returns:
            The stays that have now lasted long enough, each once.

        Raises:
            InvalidArgumentError: The result was not tracked, or a zone lies outside the picture.
            UnknownNameError: The model does not know the label.
        """
        time, ids = time_of(result), ids_of(result)
        self._check_frame(result)
        self._expire(time)
        labels = result.labels
        return [
            _event(result, row, ids[row], place, stay)
            for place in self._places
            for row in place.rows(result)
            if labels[row] == self.label
            for stay in self._overdue(ids[row], place, time)
        ]

    def _check_frame(self, result: Detections) -> None:
        if result.image_size == self._size:
            return
        self._size = result.image_size
        self.check(result.classes)
        for place in self._places:
            if place.zone:
                place.zone.check_inside(result.image_size)

    def _expire(self, time: float) -> None:
        over = [key for key, stay in self._stays.items() if time - stay.last > self.max_gap]
        for key in over:
            del self._stays[key]

    def _overdue(self, track_id: int, place: _Place, time: float) -> Iterator[_Stay]:
        """The stay, if this is the frame in which it is to be reported."""
        key = (track_id, place.zone.name if place.zone else None)
        stay = self._stays.setdefault(key, _Stay(time, time))
        stay.last = time
        if not stay.reported and time - stay.since >= self.seconds:
            stay.reported = True
            yield stay


def _event(result: Detections, row: int, track_id: int, place: _Place, stay: _Stay) -> Event:
    x1, y1, x2, y2 = result.boxes[row].tolist()
    return Event(
        id=str(uuid.uuid4()),
        source=result.source,
        zone=place.zone.name if place.zone else None,
        track_id=track_id,
        label=result.labels[row],
        since=stay.since,
        time=stay.last,
        frame=result.frame,
        box=(x1, y1, x2, y2),
        score=float(result.scores[row]),
    )
