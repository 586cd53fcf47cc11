from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from training.rows import ANCHORS, make_faces

from facemask_zoo import ssd
from facemask_zoo.training.assignment import Assignment
from facemask_zoo.training.losses import LossConfig, decode, detection_loss, generalised_iou

HALF = math.log(2)  # cross-entropy of a score of one half


def make_assignment(face: list[int], target: list[float], ignored: list[bool] | None = None):
    return Assignment(
        face=torch.tensor([face]),
        target=torch.tensor([target]),
        ignored=torch.tensor([ignored or [False] * len(face)]),
    )


def test_decode_agrees_with_the_reference(rng):
    loc = rng.normal(size=(2, 4, 4))
    variances = (0.1, 0.1, 0.2, 0.2)
    expected = ssd.decode(loc, ANCHORS.numpy(), variances)
    found = decode(torch.from_numpy(loc), ANCHORS.double(), variances)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_generalised_iou_of_known_boxes():
    unit = torch.tensor([[0.0, 0, 1, 1]]).expand(3, 4)
    others = torch.tensor([[0.0, 0, 1, 1], [0.5, 0, 1.5, 1], [2.0, 0, 3, 1]])
    assert generalised_iou(unit, others).tolist() == pytest.approx([1, 1 / 3, -1 / 3])


def test_background_is_weighted_by_its_score():
    logits = torch.zeros(1, 4, 2)
    losses = detection_loss(
        logits,
        ANCHORS[None],
        make_faces([], []),
        make_assignment([-1] * 4, [0.0] * 4),
        LossConfig(background_weight=3.0),
        None,
    )
    assert float(losses.scores) == pytest.approx(3 * 8 * 0.5**2 * HALF)
    assert float(losses.boxes) == 0


def test_ignored_anchors_cost_nothing():
    losses = detection_loss(
        torch.zeros(1, 4, 2),
        ANCHORS[None],
        make_faces([], []),
        make_assignment([-1] * 4, [0.0] * 4, [True] * 4),
        LossConfig(),
        None,
    )
    assert float(losses.total) == 0


def one_face_loss(partial: bool, partial_class: int | None, **config: object):
    faces = make_faces([[0.275, 0.4, 0.475, 0.6]], [0])
    faces.partial[:] = partial
    boxes = faces.boxes[None].expand(1, 4, 4).clone()
    boxes[0, :, 0] += 0.1  # the left half of the box is missing
    return detection_loss(
        torch.zeros(1, 4, 2),
        boxes,
        faces,
        make_assignment([-1, 0, -1, -1], [0.0, 1.0, 0.0, 0.0], [True, False, True, True]),
        LossConfig(**config),
        partial_class,
    )


def test_a_face_costs_cross_entropy_and_missing_overlap():
    losses = one_face_loss(partial=False, partial_class=1, box_weight=4.0)
    assert float(losses.scores) == pytest.approx(2 * HALF)
    assert float(losses.boxes) == pytest.approx(4.0 * 0.5)


def test_partial_labels_say_nothing_about_the_partial_class():
    assert float(one_face_loss(partial=True, partial_class=1).scores) == pytest.approx(HALF)
    assert float(one_face_loss(partial=True, partial_class=None).scores) == pytest.approx(2 * HALF)


def test_partial_labels_send_no_gradient_to_the_partial_class():
    faces = make_faces([[0.275, 0.4, 0.475, 0.6]], [0])
    faces.partial[:] = True
    logits = torch.zeros(1, 4, 2, requires_grad=True)
    assignment = make_assignment([-1, 0, -1, -1], [0.0, 1.0, 0.0, 0.0])
    detection_loss(logits, ANCHORS[None], faces, assignment, LossConfig(), 1).total.backward()
    assert logits.grad is not None
    assert logits.grad[0, 1, 1] == 0
    assert logits.grad[0, 1, 0] < 0
    assert (logits.grad[0, [0, 2, 3]] > 0).all()


def test_class_weights_shift_the_balance_but_not_the_scale():
    assert float(one_face_loss(False, None, class_weights=(3.0, 1.0)).scores) == pytest.approx(
        2 * HALF
    )


def test_box_weights_spare_untrusted_boxes():
    faces = make_faces([[0.275, 0.4, 0.475, 0.6]], [0])
    faces.box_weights[:] = 0
    losses = detection_loss(
        torch.zeros(1, 4, 2),
        ANCHORS[None],
        faces,
        make_assignment([-1, 0, -1, -1], [0.0, 1.0, 0.0, 0.0]),
        LossConfig(),
        None,
    )
    assert float(losses.boxes) == 0
    assert float(losses.scores) > 0
