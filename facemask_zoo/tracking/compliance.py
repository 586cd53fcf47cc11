"""How many people there were, and for how much of the time they were masked."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from facemask_zoo.arguments import check_number
from facemask_zoo.datasets.labels import MASK
from facemask_zoo.detections import Detections
from facemask_zoo.errors import ImageError, OutputError, UnknownNameError
from facemask_zoo.extras import require
from facemask_zoo.files import Sources, atomic_path
from facemask_zoo.sinks import text_file
from facemask_zoo.tracking.checks import EXTRA, ids_of, time_of
from facemask_zoo.tracking.tracker import MAX_GAP_SECONDS

_DIGITS = 3
_WIDTH, _HEIGHT, _DPI = 8.0, 4.5, 110
_PLOT_FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}


@dataclasses.dataclass
class _Times:
    """Seconds for which people were seen with each label."""

    seconds: dict[str, float]

    @property
    def total(self) -> float:
        """Seconds with any label."""
        return sum(self.seconds.values())

    @property
    def share_masked(self) -> float | None:
        """Masked seconds as a share of all, 0..1; None if there are none."""
        return self.seconds.get(MASK, 0.0) / self.total if self.total else None


@dataclasses.dataclass
class Person(_Times):
    """Somebody, from when to when.

    Attributes:
        track_id: Who it is.
        first: When they were first seen, in seconds from the start.
        last: When they were last seen.
        seconds: How long they were seen with each label.
    """

    track_id: int
    first: float
    last: float


@dataclasses.dataclass
class Interval(_Times):
    """A part of the video.

    Attributes:
        start: In seconds from the start.
        end: Where the next one starts.
        people: How many were seen.
        seconds: How long they were seen with each label, all people together.
    """

    start: float
    end: float
    people: int


class Compliance:
    """Counts people and masked time, over everybody and for each interval.

    A face counts for the time since the frame before it, but for `max_gap` at most: somebody who is
    seen in every frame of a minute counts for a minute, whatever the frame rate.

    Args:
        interval: Length of the parts of the video that are counted apart, in seconds.
        max_gap: Longest time that one frame stands for, in seconds.

    Raises:
        InvalidArgumentError: A number makes no sense.
    """

    def __init__(self, *, interval: float = 60.0, max_gap: float = MAX_GAP_SECONDS) -> None:
        self._length = check_number("interval", interval, 0.1, 1e9)
        self._max_gap = check_number("max_gap", max_gap, 0)
        self._people: dict[int, Person] = {}
        self._intervals: dict[int, Interval] = {}
        self._present: tuple[int, set[int]] = (-1, set())
        self._time: float | None = None
        self._classes: tuple[str, ...] = ()

    def update(self, result: Detections) -> None:
        """Count the next frame.

        Args:
            result: What :meth:`Tracker.update` gave.

        Raises:
            InvalidArgumentError: The result was not tracked.
            UnknownNameError: The model does not know masks.
        """
        time, ids = time_of(result), ids_of(result)
        if MASK not in result.classes:
            raise UnknownNameError.among("label", MASK, result.classes)
        self._classes = result.classes
        passed = 0.0 if self._time is None else max(0.0, min(time - self._time, self._max_gap))
        self._time = time
        interval = self._interval(time, ids)
        for track_id, label in zip(ids, result.labels, strict=True):
            nobody = Person(self._no_seconds(), track_id, time, time)
            person = self._people.setdefault(track_id, nobody)
            person.last = time
            person.seconds[label] += passed
            interval.seconds[label] += passed

    def _interval(self, time: float, ids: Iterable[int]) -> Interval:
        number = int(time // self._length)
        if self._present[0] != number:
            self._present = (number, set())
        new = set(ids) - self._present[1]
        self._present[1].update(new)
        start = number * self._length
        empty = Interval(self._no_seconds(), start, start + self._length, 0)
        interval = self._intervals.setdefault(number, empty)
        interval.people += len(new)
        return interval

    def _no_seconds(self) -> dict[str, float]:
        return dict.fromkeys(self._classes, 0.0)

    @property
    def people(self) -> list[Person]:
        """Everybody, in the order in which they came."""
        return list(self._people.values())

    @property
    def intervals(self) -> list[Interval]:
        """Every interval of which frames were seen, in order."""
        return [self._intervals[number] for number in sorted(self._intervals)]

    @property
    def share_masked(self) -> float | None:
        """Masked time as a share of all the time that people were seen; None if nobody was."""
        total = _Times(self._no_seconds())
        for person in self._people.values():
            for label, seconds in person.seconds.items():
                total.seconds[label] += seconds
        return total.share_masked

    def write_intervals(
        self, path: Path | str, *, sources: Sources | None = None, overwrite: bool = False
    ) -> None:
        """Write a table (CSV) with a row for each interval.

        Args:
            path: File to write.
            sources: Files that are never written to.
            overwrite: Replace a file that exists.

        Raises:
            OutputError: The file is in the way or cannot be written.
        """
        rows = [
            {"start": row.start, "end": row.end, "people": row.people} for row in self.intervals
        ]
        self._write(path, rows, self.intervals, sources, overwrite)

    def write_people(
        self, path: Path | str, *, sources: Sources | None = None, overwrite: bool = False
    ) -> None:
        """Write a table (CSV) with a row for each person.

        Args and errors are those of :meth:`write_intervals`.
        """
        rows = [
            {"track_id": row.track_id, "first": row.first, "last": row.last} for row in self.people
        ]
        self._write(path, rows, self.people, sources, overwrite)

    def _write(
        self,
        path: Path | str,
        rows: Sequence[Mapping[str, float]],
        times: Sequence[_Times],
        sources: Sources | None,
        overwrite: bool,
    ) -> None:
        own = list(rows[0]) if rows else []
        labels = [f"seconds_{label}" for label in self._classes]
        with text_file(Path(path), sources or Sources([]), overwrite=overwrite) as file:
            writer = csv.writer(file)
            writer.writerow([*own, *labels, "share_masked"])
            for row, time in zip(rows, times, strict=True):
                values = [*row.values(), *time.seconds.values(), time.share_masked]
                writer.writerow([_rounded(value) for value in values])

    def write_plot(
        self, path: Path | str, *, sources: Sources | None = None, overwrite: bool = False
    ) -> None:
        """Plot people and the share of masked time over the intervals.

        Args:
            path: File to write: ``.png``, ``.svg`` or ``.pdf``.
            sources: Files that are never written to.
            overwrite: Replace a file that exists.

        Raises:
            ImageError: The suffix is unknown.
            OutputError: The file is in the way or cannot be written.
            FrameworkNotInstalledError: matplotlib is not installed.
        """
        path = Path(path)
        check_plot_suffix(path)
        (sources or Sources([])).check(path)
        data = io.BytesIO()
        _plot(self.intervals).savefig(data, format=_PLOT_FORMATS[path.suffix.lower()])
        try:
            with atomic_path(path, overwrite=overwrite) as temporary:
                temporary.write_bytes(data.getvalue())
        except OSError as error:
            raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error


def check_plot_suffix(path: Path) -> None:
    """Make sure that a plot can be written to a file of that name.

    Raises:
        ImageError: It cannot.
    """
    if path.suffix.lower() not in _PLOT_FORMATS:
        raise ImageError(f"Cannot plot to {path}; known: {', '.join(_PLOT_FORMATS)}.")


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, _DIGITS)


def _plot(intervals: Sequence[Interval]) -> Any:
    figure = require("matplotlib.figure", EXTRA).Figure(
        figsize=(_WIDTH, _HEIGHT), dpi=_DPI, layout="constrained"
    )
    upper, lower = figure.subplots(2, 1, sharex=True)
    starts = [interval.start for interval in intervals]
    widths = [interval.end - interval.start for interval in intervals]
    shares = [100 * (interval.share_masked or 0.0) for interval in intervals]
    upper.bar(starts, shares, widths, align="edge", color="#0072b2", edgecolor="white")
    upper.set(ylabel="masked time (%)", ylim=(0, 100))
    people = [interval.people for interval in intervals]
    lower.bar(starts, people, widths, align="edge", color="#999999", edgecolor="white")
    lower.set(ylabel="people", xlabel="seconds from the start")
    lower.yaxis.get_major_locator().set_params(integer=True)
    for axes in (upper, lower):
        axes.grid(axis="y", linewidth=0.4)
        axes.set_axisbelow(True)
    return figure
