from __future__ import annotations

import needs
import pytest

from facemask_zoo import Detector


@pytest.fixture(autouse=True, scope="session")
def _extra() -> None:
    """Skip all of this where the extra is not installed: a conftest that skips ends the run."""
    for name in ("edgefirst.tracker", "shapely", "matplotlib.figure", "av"):
        needs.module(name)


@pytest.fixture(scope="session")
def detector():
    return Detector.load(framework="onnx")
