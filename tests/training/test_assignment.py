from __future__ import annotations

import pytest
import torch
from training.rows import ANCHORS, CELLS, make_faces

from facemask_zoo.training.assignment import AssignmentConfig, Faces, assign, overlaps

CONFIG = AssignmentConfig(candidates=2)


def assign_anchors(faces: Faces, scores: torch.Tensor | None = None, config=CONFIG):
    scores = torch.full((1, 4, 2), 0.5) if scores is None else scores
    return assign(scores, ANCHORS[None].expand(len(scores), -1, -1), faces, ANCHORS, CELLS, config)


def test_overlaps_of_known_boxes():
    unit = torch.tensor([0.0, 0.0, 1.0, 1.0])
    others = torch.tensor([[0.0, 0, 1, 1], [0.5, 0, 1.5, 1], [2.0, 2, 3, 3], [0.0, 0, 0, 0]])
    assert overlaps(unit, others).tolist() == pytest.approx([1, 1 / 3, 0, 0])


def test_the_anchor_on_the_face_answers():
    result = assign_anchors(make_faces([[0.28, 0.4, 0.48, 0.6]], [1]))
    assert result.face[0].tolist() == [-1, 0, -1, -1]
    assert result.target[0, 1] == pytest.approx(1)  # an overlap above full_overlap counts as 1
    assert not result.ignored.any()


def test_target_falls_with_the_best_overlap():
    result = assign_anchors(make_faces([[0.335, 0.4, 0.535, 0.6]], [0]))
    overlap = 0.14 / 0.26
    assert result.target[0, 1] == pytest.approx(overlap / CONFIG.full_overlap, rel=1e-4)


def test_the_better_score_wins_among_equal_boxes():
    scores = torch.full((1, 4, 2), 0.1)
    scores[0, 2, 0] = 0.9
    face = make_faces([[0.4, 0.4, 0.6, 0.6]], [0])  # midway between anchors 1 and 2
    result = assign_anchors(face, scores)
    assert result.face[0].tolist() == [-1, 0, 0, -1]
    assert result.target[0, 2] == pytest.approx(
        3 * float(result.target[0, 1]), rel=1e-4
    )  # (0.9 / 0.1) ** 0.5


def test_two_faces_on_one_anchor_leave_it_to_the_better_overlap():
    faces = make_faces([[0.3, 0.4, 0.5, 0.6], [0.28, 0.4, 0.48, 0.6]], [0, 1])
    assert assign_anchors(faces).face[0, 1] == 1


def test_faces_of_other_sizes_get_no_anchor():
    faces = make_faces([[0.36, 0.48, 0.39, 0.52], [0.0, 0.0, 1.0, 1.0]], [0, 0])
    assert (assign_anchors(faces).face == -1).all()


def test_pictures_do_not_mix():
    faces = make_faces([[0.28, 0.4, 0.48, 0.6]], [0], pictures=[1])
    result = assign_anchors(faces, torch.full((2, 4, 2), 0.5))
    assert (result.face[0] == -1).all()
    assert result.face[1, 1] == 0


def test_ignored_faces_are_neither_found_nor_background():
    result = assign_anchors(make_faces([[0.28, 0.4, 0.48, 0.6]], [0], ignored=[True]))
    assert (result.face == -1).all()
    assert result.ignored[0].tolist() == [False, True, False, False]


def test_no_faces_at_all():
    result = assign_anchors(make_faces([], []))
    assert (result.face == -1).all()
    assert (result.target == 0).all()


def test_indices_refer_to_all_faces_also_after_ignored_ones():
    faces = make_faces(
        [[0.03, 0.4, 0.23, 0.6], [0.78, 0.4, 0.98, 0.6]], [0, 0], ignored=[True, False]
    )
    assert assign_anchors(faces).face[0].tolist() == [-1, -1, -1, 1]
