"""Results that tracking is given."""

from __future__ import annotations

from facemask_zoo.detections import Detections
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.exports import TRACK_ID

EXTRA = "tracking"
"""The extra that installs what this package needs."""


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
