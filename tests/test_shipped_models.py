"""Detectors that ship give one answer, whatever runs them."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from facemask_zoo import Detections, Detector

REFERENCE = "onnx"
MODELS = ["zoo-260", "zoo-416", "zoo-m", "zoo-m@256x384"]


@functools.cache
def found(model: str, framework: str, picture) -> Detections:
    return Detector.load(model, framework=framework, conf=0.2).detect(picture)


@pytest.mark.parametrize("model", MODELS)
def test_every_framework_gives_the_same_faces(model, framework, demo_picture):
    result, reference = (found(model, name, demo_picture) for name in (framework, REFERENCE))
    assert result.labels == reference.labels
    np.testing.assert_allclose(result.boxes, reference.boxes, rtol=0, atol=0.05)
    np.testing.assert_allclose(result.scores, reference.scores, rtol=0, atol=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_the_demonstration_has_a_bare_and_a_masked_face(model, demo_picture):
    result = Detector.load(model, framework=REFERENCE).detect(demo_picture)
    assert sorted(result.labels) == ["mask", "no_mask"]
    left, right = sorted(zip(result.boxes[:, 0], result.labels, strict=True))
    assert (left[1], right[1]) == ("no_mask", "mask")
