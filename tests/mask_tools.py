"""How the tests find landmarks; spawned processes import this by name."""

from __future__ import annotations

from facemask_zoo.datasets import Face
from facemask_zoo.masks import PtsLandmarker


def tool() -> tuple[PtsLandmarker, None]:
    """Landmarks from the file beside a picture, and no detector."""
    return PtsLandmarker(), None


def tool_that_sees_others():
    """The same, with a detector that finds the face and two that have no landmarks."""
    seen = [
        Face((60.0, 40.0, 240.0, 250.0), "no_mask"),
        Face((2.0, 3.0, 40.0, 50.0), "no_mask"),
        Face((260.0, 10.0, 290.0, 45.0), "mask"),
    ]
    return PtsLandmarker(), lambda image: seen
