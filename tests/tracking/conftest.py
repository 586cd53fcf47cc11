from __future__ import annotations

import needs
import pytest

from facemask_zoo import Detector

for name in ("edgefirst.tracker", "shapely", "matplotlib", "av"):
    needs.module(name)


@pytest.fixture(scope="session")
def detector():
    return Detector.load(framework="onnx")
