"""Pictures in a letterbox, and boxes back out of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemask_zoo import UnknownNameError
from facemask_zoo.ssd.postprocess import WHOLE, to_pixels, within
from facemask_zoo.ssd.preprocess import preprocess
from facemask_zoo.structuring import structure
from facemask_zoo.tasks.letterbox import GREY, letterbox
from facemask_zoo.tasks.preprocessing import LETTERBOX, Preprocessing

sides = st.integers(1, 700)
multiples = st.integers(1, 12).map(lambda count: 32 * count)


def pixels_of(region, height, width):
    left, top, right, bottom = region
    return tuple(round(v) for v in (left * width, top * height, right * width, bottom * height))


@settings(max_examples=60, deadline=None)
@given(sides, sides, multiples, multiples)
def test_the_picture_lies_in_its_region_and_nowhere_else(rows, columns, height, width):
    canvas, region = letterbox(np.full((rows, columns, 3), 200, np.uint8), height, width)
    left, top, right, bottom = pixels_of(region, height, width)
    expected = np.full((height, width, 3), GREY, np.uint8)
    expected[top:bottom, left:right] = 200
    np.testing.assert_array_equal(canvas, expected)
    assert right - left == width or bottom - top == height
    scale = min(width / columns, height / rows)
    assert abs((right - left) - columns * scale) <= max(0.5, 1 - columns * scale) + 1e-9
    assert abs((bottom - top) - rows * scale) <= max(0.5, 1 - rows * scale) + 1e-9


@settings(max_examples=100, deadline=None)
@given(sides, sides, multiples, multiples, st.integers(0, 2**32 - 1))
def test_boxes_come_back_to_where_they_were(rows, columns, height, width, seed):
    _, (left, top, right, bottom) = letterbox(np.zeros((rows, columns, 3), np.uint8), height, width)
    corners = np.random.default_rng(seed).random((5, 2, 2))
    boxes = np.sort(corners, axis=1).reshape(5, 4)
    inside = boxes * np.array([right - left, bottom - top] * 2) + np.array([left, top] * 2)
    region = (left, top, right, bottom)
    found = to_pixels(within(inside, region), (columns, rows), truncate=False)
    np.testing.assert_allclose(found, boxes * np.array([columns, rows] * 2), atol=1e-3)


@pytest.mark.parametrize("shape", [(20_000, 1), (1, 20_000)])
def test_the_thinnest_picture_keeps_a_pixel(shape):
    canvas, region = letterbox(np.full((*shape, 3), 255, np.uint8), 480, 640)
    left, top, right, bottom = pixels_of(region, 480, 640)
    assert min(right - left, bottom - top) == 1
    assert (canvas[top:bottom, left:right] == 255).all()


def test_nothing_of_a_large_picture_is_skipped():
    """Stripes of one pixel become grey, however often they are repeated."""
    for count in (640, 1300, 2700, 4000):
        stripes = np.zeros((count, count, 3), np.uint8)
        stripes[:, ::2] = 255
        canvas, _ = letterbox(stripes, 320, 320)
        assert np.abs(canvas.astype(int) - 127).max() < 24, count


def test_a_picture_of_the_right_size_is_untouched():
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    canvas, region = letterbox(image, 64, 96)
    np.testing.assert_array_equal(canvas, image)
    assert region == WHOLE


def test_squeezing_is_still_what_it_was():
    image = np.random.default_rng(0).integers(0, 256, (300, 401, 3), dtype=np.uint8)
    found = np.empty((3, 260, 260), np.float32)
    assert Preprocessing().place(image, found) == WHOLE
    np.testing.assert_array_equal(found, preprocess(image, 260))


def test_boxes_in_the_whole_input_do_not_move():
    boxes = np.random.default_rng(0).random((50, 4)) * 3 - 1
    assert (within(boxes, WHOLE) == boxes).all()


def test_it_is_recorded_and_read():
    values = {"mean": [0.0] * 3, "std": [255.0] * 3, "channels": "RGB", "fit": "letterbox"}
    assert structure(values, Preprocessing, "preprocessing") == Preprocessing(fit=LETTERBOX)
    with pytest.raises(UnknownNameError, match="fit"):
        Preprocessing(fit="crop")
