"""How the tests find landmarks; spawned processes import this by name."""

from __future__ import annotations

from facemask_zoo.masks import PtsLandmarker


def tool() -> tuple[PtsLandmarker, None]:
    """Landmarks from the file beside a picture, and no detector."""
    return PtsLandmarker(), None
