"""Squares around faces, and what is no box."""

from __future__ import annotations

import numpy as np
import pytest

from facemask_zoo import InvalidArgumentError
from facemask_zoo.tasks.landmarks import MARGIN, Square, check_boxes
from facemask_zoo.tasks.letterbox import GREY


def ramp(width: int, height: int) -> np.ndarray:
    """A picture whose red is the column and whose green is the row."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width)
    image[..., 1] = np.arange(height)[:, None]
    return image


def test_the_square_has_the_middle_of_the_box():
    square = Square.around(np.array([10, 20, 30, 60]))
    assert square.side == pytest.approx(40 * MARGIN)
    assert square.left + square.side / 2 == pytest.approx(20)
    assert square.top + square.side / 2 == pytest.approx(40)


def test_points_come_back():
    square = Square(3.5, -7, 40)
    points = np.array([[[0, 0], [12.5, 88]]])
    np.testing.assert_allclose(square.to_picture(square.from_picture(points)), points)
    np.testing.assert_allclose(square.from_picture(np.array([23.5, 13])), [0.5, 0.5])


@pytest.mark.parametrize("side", [16.0, 32.0, 60.0])
def test_a_pixel_of_the_crop_shows_its_place_in_the_picture(side):
    square, size = Square(20.25, 30.5, side), 32
    crop = square.cut(ramp(200, 150), size).astype(float)
    middles = (np.arange(size) + 0.5) / size * side - 0.5
    np.testing.assert_allclose(crop[0, 2:-2, 0], 20.25 + middles[2:-2], atol=1)
    np.testing.assert_allclose(crop[2:-2, 0, 1], 30.5 + middles[2:-2], atol=1)


def test_beside_the_picture_it_is_grey_and_the_rest_stays_in_place():
    image = ramp(100, 100)
    whole = Square(20, 20, 64).cut(np.pad(image, ((40, 40), (40, 40), (0, 0))), 64)
    crop = Square(-20, -20, 64).cut(image, 64)
    assert (crop[:20] == GREY).all()
    assert (crop[:, :20] == GREY).all()
    np.testing.assert_array_equal(crop[20:, 20:], whole[20:, 20:])


def test_a_square_far_larger_than_the_picture_costs_no_memory():
    crop = Square(-5e5, -5e5, 1e6).cut(ramp(50, 50), 64)
    assert (crop == GREY).all()
    assert Square(200, 200, 10).cut(ramp(50, 50), 64).shape == (64, 64, 3)


def test_boxes_of_any_kind():
    assert check_boxes([], (10, 10)).shape == (0, 4)
    assert check_boxes(np.empty((0, 4)), (10, 10)).shape == (0, 4)
    assert check_boxes([(0, 0, 1, 1)], (10, 10)).tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize(
    "boxes",
    [
        [(0, 0, np.nan, 5)],
        [(0, 0, np.inf, 5)],
        [(5, 5, 5, 9)],
        [(9, 9, 5, 5)],
        [(10, 0, 20, 5)],
        [(-9, -9, 0, 5)],
        [(0, 0, 1e9, 5)],
        (0, 0, 5, 5),
        [(0, 0, 5)],
        [("a", 0, 5, 5)],
        "face",
        [[(0, 0, 5, 5)]],
        None,
    ],
)
def test_other_boxes_are_refused(boxes):
    with pytest.raises(InvalidArgumentError, match="boxes"):
        check_boxes(boxes, (10, 10))
