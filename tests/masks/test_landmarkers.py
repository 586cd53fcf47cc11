"""Landmarks from files, functions and other people's models."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from facemask_zoo.datasets.landmarks import face_box
from facemask_zoo.errors import DatasetError, FrameworkNotInstalledError, InvalidArgumentError
from facemask_zoo.masks import (
    FfhqLandmarker,
    FunctionLandmarker,
    MediaPipeLandmarker,
    PtsLandmarker,
    ZooLandmarker,
)
from facemask_zoo.masks.landmarkers import MEDIAPIPE_PYTHON
from facemask_zoo.masks.mesh_points import MESH_TO_IBUG


def as_pts(points):
    """As 300-W writes them, counted from 1."""
    lines = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in points)
    return f"version: 1\nn_points:  68\n{{\n{lines}\n}}\n"


def test_pts_files_lie_beside_the_picture(head, points, tmp_path):
    picture = tmp_path / "a[1].png"
    (tmp_path / "a[1].pts").write_text(as_pts(points))
    (found,) = PtsLandmarker().find(head, path=picture)
    np.testing.assert_allclose(found, points, atol=1e-3)


def test_several_faces_have_numbered_files_in_a_folder(head, points, tmp_path):
    for number in (1, 2):
        (tmp_path / f"crowd_{number}.pts").write_text(as_pts(points + number))
    (tmp_path / "crowded_1.pts").write_text(as_pts(points))
    found = PtsLandmarker(tmp_path).find(head, path=tmp_path / "elsewhere" / "crowd.jpg")
    np.testing.assert_allclose(found, [points + 1, points + 2], atol=1e-3)


@pytest.mark.parametrize(
    "text", ["", "{}", "{1 2 3}", "{" + "1 2 " * 67 + "}", "{a b}", "{" + "nan 1 " * 68 + "}", "é"]
)
def test_other_files_are_refused(head, tmp_path, text):
    (tmp_path / "a.pts").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"a\.pts"):
        PtsLandmarker().find(head, path=tmp_path / "a.jpg")


def test_a_missing_file_is_said(head, tmp_path):
    with pytest.raises(DatasetError, match=r"b\.pts"):
        PtsLandmarker().find(head, path=tmp_path / "b.jpg")
    with pytest.raises(InvalidArgumentError, match="path"):
        PtsLandmarker().find(head)


@pytest.fixture
def ffhq(tmp_path, points):
    path = tmp_path / "ffhq-dataset-v2.json"
    landmarks = (points / 300 * 1024).tolist()
    path.write_text(json.dumps({"41192": {"image": {"face_landmarks": landmarks}}}))
    return path


def test_ffhq_is_found_by_number_and_scaled(head, points, ffhq, tmp_path):
    landmarker = FfhqLandmarker(ffhq)
    for name in ("41192.png", "41192_Mask.jpg"):
        (found,) = landmarker.find(head, path=tmp_path / name)
        np.testing.assert_allclose(found, points, atol=1e-9)
    for name in ("41193.png", "portrait.png"):
        with pytest.raises(DatasetError, match="no entry"):
            landmarker.find(head, path=tmp_path / name)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}}", '{"1": {}}', '{"1": {"image": {"face_landmarks": [[1, 2]]}}}', "[" * 9999],
)
def test_other_metadata_is_refused(tmp_path, text):
    path = tmp_path / "ffhq.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match=r"ffhq\.json"):
        FfhqLandmarker(path)


def test_the_zoos_own_network_needs_boxes_and_finds_a_face_for_each(head, points):
    landmarker = ZooLandmarker()
    size = (head.shape[1], head.shape[0])
    boxes = [face_box(points, size), (10.0, 20.0, 60.0, 80.0)]
    found = landmarker.find(head, boxes=boxes)
    assert [each.shape for each in found] == [(68, 2), (68, 2)]
    with pytest.raises(InvalidArgumentError, match="boxes"):
        landmarker.find(head)


def test_a_function_gives_one_face_or_several(head, points):
    assert len(FunctionLandmarker(lambda _: points).find(head)) == 1
    assert len(FunctionLandmarker(lambda _: [points, points]).find(head)) == 2
    assert FunctionLandmarker(lambda _: []).find(head) == []
    with pytest.raises(InvalidArgumentError, match="shape"):
        FunctionLandmarker(lambda _: points[:5]).find(head)


def test_the_mesh_has_a_point_for_each_landmark():
    assert len(MESH_TO_IBUG) == len(set(MESH_TO_IBUG)) == 68
    assert 0 <= min(MESH_TO_IBUG) <= max(MESH_TO_IBUG) < 468


def test_mediapipe_has_an_environment_of_its_own(head, monkeypatch):
    monkeypatch.delenv(MEDIAPIPE_PYTHON, raising=False)
    with pytest.raises(FrameworkNotInstalledError, match="pip install 'mediapipe"):
        MediaPipeLandmarker()
    with pytest.raises(FrameworkNotInstalledError, match="nowhere"):
        MediaPipeLandmarker("/nowhere/python").find(head)


def test_an_interpreter_without_mediapipe_is_refused(head, tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(FrameworkNotInstalledError, match="does not run"):
        MediaPipeLandmarker(bare).find(head)


def test_boxes_outside_the_picture_are_refused(head):
    with pytest.raises(InvalidArgumentError, match="overlap"):
        MediaPipeLandmarker(sys.executable).find(head, boxes=[(900, 900, 950, 950)])
