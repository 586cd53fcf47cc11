"""Crops of faces to learn from: what the teacher agrees with itself on, bare and masked."""

from __future__ import annotations

import numpy as np
import pytest

from facemask_zoo.datasets.landmarks import MIRRORED, HeadAngles, face_box
from facemask_zoo.datasets.types import Face, Picture
from facemask_zoo.errors import DatasetError
from facemask_zoo.images import save_image
from facemask_zoo.masks.face_crops import SIDE, make_crops, teach
from facemask_zoo.tasks.landmarks import Square


class DrawnTeacher:
    """Knows where the points of the drawn head are, for it was told; sees them `off` pixels off."""

    def __init__(self, head, points, off=0.0):
        self._head = head
        self._points = points
        self._off = off

    def find_posed(self, image, box):
        if np.array_equal(image, self._head):
            return self._points + self._off, HeadAngles(10, 5, 2)
        if np.array_equal(image, self._head[:, ::-1]):
            mirrored = self._points[MIRRORED] * (-1, 1) + (image.shape[1], 0)
            return mirrored + self._off, HeadAngles(-12, 7, -4)
        return None


@pytest.fixture
def box(head, points):
    return face_box(points, (head.shape[1], head.shape[0]))


def test_the_picture_and_its_mirror_image_are_averaged(head, points, box):
    found, angles = teach(DrawnTeacher(head, points, 1.0), head, box)
    np.testing.assert_allclose(found, points + np.array([0, 1]))
    np.testing.assert_allclose(angles, (11, 6, 3))


def test_faces_on_which_the_teacher_disagrees_are_left_out(head, points, box):
    assert teach(DrawnTeacher(head, points, 30.0), head, box) is None
    assert teach(DrawnTeacher(head, points), np.zeros_like(head), box) is None
    elsewhere = (0.0, 0.0, 20.0, 20.0)
    assert teach(DrawnTeacher(head, points), head, elsewhere) is None


def test_each_face_is_cut_out_bare_and_masked(head, points, box, tmp_path):
    path = tmp_path / "head.png"
    save_image(head, path)
    size = (head.shape[1], head.shape[0])
    faces = (
        Face(box, "no_mask"),
        Face(box, "mask"),
        Face(box, "no_mask", ignore=True),
        Face((0.0, 0.0, 9.0, 9.0), "no_mask"),
    )
    picture = Picture(path, size, faces, group="heads")
    first, again = (
        make_crops([picture], DrawnTeacher(head, points), copies=2, seed=3) for _ in range(2)
    )
    assert first.masked.shape == (1, 2, SIDE, SIDE, 3)
    assert list(first.groups) == ["heads"]
    np.testing.assert_array_equal(first.masked, again.masked)
    assert (first.masked[0] != first.bare[0]).any(axis=(1, 2, 3)).all()
    square = Square.around(np.array(box), 1.75)
    np.testing.assert_allclose(square.to_picture(first.points[0]), points, atol=1e-3)
    with pytest.raises(DatasetError, match="none"):
        make_crops([Picture(path, size, faces[1:])], DrawnTeacher(head, points))
