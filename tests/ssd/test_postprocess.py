from __future__ import annotations

import numpy as np
import pytest
from seeded import FULL

from facemask_zoo.ssd import anchors, encode, postprocess

SIZE = (200, 100)


def outputs(boxes: dict[int, tuple[float, ...]], scores: dict[int, tuple[float, float]]):
    """Network outputs that put the given normalised boxes at the given anchors."""
    loc = np.zeros((FULL.anchor_count, 4), np.float32)
    all_scores = np.zeros((FULL.anchor_count, 2), np.float32)
    for index, box in boxes.items():
        loc[index] = encode(np.array([box]), anchors(FULL)[[index]], FULL.variances)[0]
        all_scores[index] = scores[index]
    return loc, all_scores


def run(boxes, scores, **options):
    loc, all_scores = outputs(boxes, scores)
    settings = {"conf": 0.5, "iou": 0.4} | options
    return postprocess(loc, all_scores, FULL, SIZE, **settings)


def test_boxes_are_scaled_and_sorted():
    boxes, scores, class_ids = run(
        {10: (0.1, 0.2, 0.3, 0.4), 4000: (0.5, 0.5, 0.9, 0.9)}, {10: (0.6, 0.1), 4000: (0.2, 0.8)}
    )
    np.testing.assert_allclose(boxes, [[100, 50, 180, 90], [20, 20, 60, 40]], atol=1e-3)
    np.testing.assert_allclose(scores, [0.8, 0.6])
    assert class_ids.tolist() == [1, 0]
    assert (boxes.dtype, scores.dtype, class_ids.dtype) == (np.float32, np.float32, np.int64)


def test_boxes_are_clipped_and_outside_ones_dropped():
    boxes, scores, _ = run(
        {10: (-0.2, -0.1, 0.3, 0.4), 4000: (0.5, 0.5, 1.9, 1.2), 5000: (1.1, 0.1, 1.3, 0.3)},
        {10: (0.9, 0), 4000: (0.8, 0), 5000: (0.7, 0)},
    )
    np.testing.assert_allclose(boxes, [[0, 0, 60, 40], [100, 50, 200, 100]], atol=1e-3)
    assert len(scores) == 2


def test_aizoo_truncates_towards_zero():
    boxes, _, _ = run({10: (0.1049, 0.209, 0.3049, 0.409)}, {10: (0.9, 0)}, kind="aizoo")
    assert boxes.tolist() == [[20, 20, 60, 40]]


def test_the_threshold_itself_does_not_count():
    assert len(run({10: (0.1, 0.1, 0.2, 0.2)}, {10: (0.5, 0.5)})[1]) == 0


def test_a_tie_is_the_first_class():
    assert run({10: (0.1, 0.1, 0.2, 0.2)}, {10: (0.75, 0.75)})[2].tolist() == [0]


def test_a_box_suppresses_across_classes():
    same = (0.1, 0.1, 0.3, 0.3)
    _, scores, class_ids = run({10: same, 11: same}, {10: (0.9, 0), 11: (0, 0.8)})
    np.testing.assert_allclose(scores, [0.9])
    assert class_ids.tolist() == [0]


def test_a_threshold_moves_no_blended_box():
    faces = {10: (0.1, 0.1, 0.3, 0.3), 11: (0.1, 0.1, 0.32, 0.3), 12: (0.1, 0.1, 0.28, 0.3)}
    scores = {10: (0.9, 0), 11: (0.3, 0), 12: (0, 0.1)}
    high, low = (run(faces, scores, conf=conf, kind="blended") for conf in (0.5, 0.01))
    mean = (0.9 * 0.3 + 0.3 * 0.32 + 0.1 * 0.28) / 1.3
    np.testing.assert_allclose(high[0], [[20, 10, 200 * mean, 30]], rtol=1e-5)
    for one, other in zip(high, low, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_outputs_that_are_not_finite_give_no_boxes(value):
    loc, scores = outputs({10: (0.1, 0.1, 0.2, 0.2)}, {10: (0.9, 0)})
    loc[10, 2:] = value
    boxes, _, _ = postprocess(loc, scores, FULL, SIZE, conf=0.5, iou=0.4)
    assert np.isfinite(boxes).all()
    scores[10] = np.nan
    assert len(postprocess(loc, scores, FULL, SIZE, conf=0.5, iou=0.4)[1]) == 0


def test_nothing_found_gives_empty_arrays():
    boxes, scores, class_ids = run({}, {})
    assert boxes.shape == (0, 4)
    assert scores.shape == class_ids.shape == (0,)
