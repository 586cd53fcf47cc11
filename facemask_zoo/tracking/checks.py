"""Numbers and results that tracking is given."""

from __future__ import annotations

import math

import numpy as np

from facemask_zoo.detections import Detections
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.exports import TRACK_ID

EXTRA = "tracking"
"""The extra that installs what this package needs."""


def check_number(name: str, value: object, least: float, most: float = math.inf) -> float:
    """A finite number within limits.

    Args:
        name: Of the argument, for the error.
        value: What was given.
        least: Smallest value accepted.
        most: Largest value accepted.

    Raises:
        InvalidArgumentError: It is no number, not finite, or outside.
    """
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most:  # type: ignore[arg-type, operator]
        limit = f"from {least:g}" + ("" if most == math.inf else f" to {most:g}")
        raise InvalidArgumentError(f"{name}: expected a number {limit}, but got {value!r}.")
    return float(value)  # type: ignore[arg-type]


def time_of(result: Detections) -> float:
    """When a frame is shown, in seconds.

    Raises:
        InvalidArgumentError: It is a picture, which has no time.
    """
    if result.time is None:
        raise InvalidArgumentError(
            f"Expected a frame of a video or camera, but {result.source or 'the result'} has no "
            "time."
        )
    return result.time


def ids_of(result: Detections) -> list[int]:
    """Whose faces they are.

    Raises:
        InvalidArgumentError: The result was not tracked.
    """
    if TRACK_ID not in result.attributes:
        raise InvalidArgumentError("Expected a result of Tracker.update, but it has no track_id.")
    return [int(number) for number in result.attributes[TRACK_ID]]
