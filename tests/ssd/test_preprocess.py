from __future__ import annotations

import sys

import needs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemask_zoo.ssd import preprocess
from facemask_zoo.ssd.preprocess import _equal_opencv, resize, resize_in_numpy


@given(
    st.integers(1, 700), st.integers(1, 700), st.sampled_from([260, 360, 17, 1]), st.integers(0, 99)
)
@settings(max_examples=60, deadline=None)
def test_resize_equals_opencv_in_every_bit(height, width, size, seed):
    cv2 = needs.module("cv2")
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = cv2.resize(image, (size, size))
    np.testing.assert_array_equal(resize_in_numpy(image, size, size), expected)
    np.testing.assert_array_equal(resize(image, size, size), expected)


@pytest.mark.parametrize("shape", [(520, 520), (260, 260), (1, 1), (260, 520)])
def test_resize_equals_opencv_at_whole_factors(shape):
    cv2 = needs.module("cv2")
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    expected = cv2.resize(image, (260, 260))
    np.testing.assert_array_equal(resize_in_numpy(image, 260, 260), expected)
    np.testing.assert_array_equal(resize(image, 260, 260), expected)


@pytest.mark.parametrize("absent", [True, False])
def test_an_opencv_that_is_missing_or_differs_is_not_used(absent, monkeypatch):
    class Other:
        @staticmethod
        def resize(image, size):
            return np.zeros((size[1], size[0], 3), np.uint8)

    monkeypatch.setitem(sys.modules, "cv2", None if absent else Other)
    _equal_opencv.cache_clear()
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    try:
        np.testing.assert_array_equal(resize(image, 26, 26), resize_in_numpy(image, 26, 26))
        assert _equal_opencv() is None
    finally:
        _equal_opencv.cache_clear()


def test_resize_by_hand():
    """Two pixels to four: the centres lie at -.25, .25, .75 and 1.25 pixels."""
    image = np.array([[[0], [100]]], dtype=np.uint8)
    assert resize(image, 4, 1)[0, :, 0].tolist() == [0, 25, 75, 100]


def test_preprocess_gives_channels_first_and_unit_range(rng):
    image = np.zeros((10, 20, 3), np.uint8)
    image[:, :, 0] = 255
    tensor = preprocess(image, 16)
    assert tensor.shape == (3, 16, 16)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert tensor[0].min() == tensor[0].max() == 1
    assert tensor[1:].max() == 0


def test_the_callers_picture_is_not_changed(rng):
    image = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    before = image.copy()
    preprocess(image, 16)[:] = 0
    np.testing.assert_array_equal(image, before)
