"""What follows from 68 points: their mirror image, and how the head is turned."""

from __future__ import annotations

import numpy as np
import pytest

from facemask_zoo.datasets.landmarks import COUNT, MIRRORED, eye_distance, head_angles


def turned(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """A symmetric head whose eyes and mouth lie in one plane, turned by degrees."""
    rng = np.random.default_rng(4)
    half = rng.normal(size=(COUNT, 3)) * (10, 30, 8)
    half[:, 0] = -np.abs(half[:, 0]) - 20
    points = np.where((np.arange(COUNT) <= MIRRORED)[:, None], half, half[MIRRORED] * (-1, 1, 1))
    for eye, mouth in ((36, 48), (45, 54)):
        points[mouth] = points[eye] + (0, 50, 0)
    a, b, c = np.radians([yaw, pitch, roll])
    around_y = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    around_x = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    around_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return points @ (around_z @ around_y @ around_x).T


def test_the_mirror_image_of_the_mirror_image_is_the_face():
    assert sorted(MIRRORED) == list(range(COUNT))
    np.testing.assert_array_equal(MIRRORED[MIRRORED], np.arange(COUNT))
    assert MIRRORED[[0, 8, 17, 30, 36, 41, 48, 60, 67]].tolist() == [
        *(16, 8, 26, 30, 45, 46, 54, 64, 65)
    ]


@pytest.mark.parametrize("angles", [(0, 0, 0), (30, 0, 0), (0, -25, 0), (0, 0, 40), (-50, 20, -35)])
def test_the_angles_of_a_turned_head(angles):
    np.testing.assert_allclose(head_angles(turned(*angles)), angles, atol=1e-6)


def test_a_mirrored_head_is_turned_the_other_way():
    points = turned(20, 10, 15)[MIRRORED] * (-1, 1, 1)
    np.testing.assert_allclose(head_angles(points), (-20, 10, -15), atol=1e-6)


def test_the_eyes_distance_is_that_of_the_outer_corners():
    points = np.zeros((2, COUNT, 2))
    points[:, 45] = (3, 4)
    assert eye_distance(points).tolist() == [5, 5]
