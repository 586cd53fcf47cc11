from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded import FULL

from facemask_zoo.errors import UnknownNameError
from facemask_zoo.ssd import anchors, blend, decode, encode, iou, nms

VARIANCES = FULL.variances


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    low = rng.random((count, 2))
    return np.concatenate([low, low + rng.random((count, 2)) * 0.3 + 1e-3], axis=1)


def test_decode_by_hand():
    """Centre moved by 1 x 0.1 of the width and 2 x 0.1 of the height; size times exp(0.2)."""
    box = decode(np.array([[1.0, 2.0, 1.0, 0.0]]), np.array([[0.2, 0.2, 0.4, 0.6]]), VARIANCES)
    width = 0.2 * np.exp(0.2)
    np.testing.assert_allclose(box, [[0.32 - width / 2, 0.28, 0.32 + width / 2, 0.68]])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_encode_is_the_inverse_of_decode(seed):
    rng = np.random.default_rng(seed)
    chosen = anchors(FULL)[rng.integers(0, FULL.anchor_count, 20)]
    boxes = random_boxes(rng, 20)
    np.testing.assert_allclose(decode(encode(boxes, chosen, VARIANCES), chosen, VARIANCES), boxes)


def test_iou_by_hand():
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6], [0, 0, 0, 0]])
    expected = [[1, 1 / 7, 0, 0], [1 / 7, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(iou(boxes, boxes), expected)


@pytest.mark.parametrize(("side", "expected"), [(0.05, 0.925), (0.01, 0.704)])
def test_aizoo_overlap_of_a_box_with_itself(side, expected):
    box = np.array([[0.1, 0.1, 0.1 + side, 0.1 + side]])
    assert iou(box, box, epsilon=1e-3)[0, 0] == pytest.approx(expected, abs=1e-3)


def aizoo_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """AIZOO's procedure, step by step: the best is the last of an ascending sort."""
    left, kept = list(np.argsort(scores, kind="stable")), []
    while left:
        best = left.pop()
        kept.append(int(best))
        survivors = []
        for other in left:
            a, b = boxes[best], boxes[other]
            width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
            height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
            areas = [(c[2] - c[0] + 1e-3) * (c[3] - c[1] + 1e-3) for c in (a, b)]
            if width * height / (sum(areas) - width * height) <= threshold:
                survivors.append(other)
        left = survivors
    return kept


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
@settings(max_examples=50, deadline=None)
def test_nms_equals_aizoo_step_by_step(seed, threshold):
    rng = np.random.default_rng(seed)
    boxes, scores = random_boxes(rng, 40), rng.permutation(40) / 40
    assert nms(boxes, scores, threshold, "aizoo").tolist() == aizoo_nms(boxes, scores, threshold)


def test_the_two_kinds_differ_on_small_faces():
    """True overlap .43 of two 2 % boxes: AIZOO computes less than .4 and keeps both."""
    boxes = np.array([[0.1, 0.1, 0.12, 0.12], [0.108, 0.1, 0.128, 0.12]])
    scores = np.array([0.9, 0.8])
    assert iou(boxes[:1], boxes[1:])[0, 0] == pytest.approx(0.4286, abs=1e-3)
    assert nms(boxes, scores, 0.4, "standard").tolist() == [0]
    assert nms(boxes, scores, 0.4, "aizoo").tolist() == [0, 1]


def test_nms_keeps_the_best_first_and_ties_in_order():
    boxes = np.array([[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]], dtype=float)
    assert nms(boxes, np.array([0.5, 0.9, 0.5]), 0.4).tolist() == [1, 0, 2]
    assert nms(boxes[:0], np.array([]), 0.4).tolist() == []


def test_blend_by_hand():
    """Two boxes agree (.82) and are weighted 3 : 1; one is apart, one scores too little to vote."""
    boxes = np.array(
        [[0, 0, 0.10, 0.1], [0.01, 0, 0.11, 0.1], [0.5, 0.5, 0.6, 0.6], [0, 0, 0.09, 0.1]]
    )
    scores = np.array([0.9, 0.3, 0.04, 0.04])
    blended = blend(boxes, scores, np.array([0, 2]))
    np.testing.assert_allclose(blended, [[0.0025, 0, 0.1025, 0.1], boxes[2]])


def test_blending_many_boxes_is_blending_one_by_one():
    rng = np.random.default_rng(5)
    boxes, scores = random_boxes(rng, 300), rng.random(300)
    kept = nms(boxes, scores, 0.4)
    assert len(kept) > 128
    alone = [blend(boxes, scores, kept[[i]])[0] for i in range(len(kept))]
    np.testing.assert_allclose(blend(boxes, scores, kept), alone)


def test_a_box_without_area_is_left_as_it_is():
    box = np.array([[0.3, 0.3, 0.3, 0.3]])
    np.testing.assert_array_equal(blend(box, np.array([0.9]), np.array([0])), box)
    assert blend(box, np.array([0.9]), np.array([], np.int64)).shape == (0, 4)


def test_an_unknown_kind_is_refused():
    with pytest.raises(UnknownNameError, match="standard"):
        nms(np.zeros((1, 4)), np.zeros(1), 0.5, "standrad")
