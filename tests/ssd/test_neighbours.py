"""Pairs that may overlap: none is missed, and suppression by pairs is suppression box by box."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemask_zoo.ssd import blend, iou, nms
from facemask_zoo.ssd import boxes as module
from facemask_zoo.ssd.neighbours import LEAST_OVERLAP, close_pairs

SPREADS = {"photograph": (0.02, 0.4), "tiny": (1e-5, 1e-3), "huge": (0.5, 5.0), "all": (1e-6, 50.0)}


def random_boxes(seed: int, count: int, spread: str) -> np.ndarray:
    """Sizes spread evenly over their logarithms, some boxes empty, inverted or not finite."""
    random = np.random.default_rng(seed)
    centre = random.random((count, 2)) * random.choice([0.05, 1.0, 3.0]) - 0.5
    size = np.exp(random.uniform(*np.log(SPREADS[spread]), (count, 2)))
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    boxes[::17] = boxes[:1]
    boxes[1::41, 2] = boxes[1::41, 0]
    boxes[2::43] = boxes[2::43][:, [2, 1, 0, 3]]
    return boxes


def by_blocks(boxes, scores, threshold, kind, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module, "close_pairs", lambda *_: None)
        kept = nms(boxes, scores, threshold, kind)
        return kept, blend(boxes, scores, kept)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 300),
    st.sampled_from(list(SPREADS)),
    st.floats(LEAST_OVERLAP, 1),
)
@settings(max_examples=100, deadline=None)
def test_no_pair_that_overlaps_is_missed(seed, count, spread, threshold):
    boxes = random_boxes(seed, count, spread)
    pairs = close_pairs(boxes, threshold)
    if pairs is None:  # all are at one place
        return
    found = {frozenset(pair) for pair in zip(*(each.tolist() for each in pairs), strict=True)}
    assert len(found) == len(pairs[0])
    expected = np.argwhere(np.triu(iou(boxes, boxes) > threshold, 1))
    assert {frozenset(pair) for pair in expected.tolist()} <= found


@pytest.mark.parametrize("kind", ["standard", "aizoo"])
@pytest.mark.parametrize("threshold", [0.2, 0.4, 0.5, 0.9])
@pytest.mark.parametrize("spread", SPREADS)
def test_by_pairs_as_by_blocks(spread, threshold, kind, monkeypatch):
    boxes = random_boxes(1, 1500, spread)
    scores = np.random.default_rng(2).integers(1, 400, 1500) / 400  # with ties
    expected, blended = by_blocks(boxes, scores, threshold, kind, monkeypatch)
    kept = nms(boxes, scores, threshold, kind)
    np.testing.assert_array_equal(kept, expected)
    np.testing.assert_allclose(blend(boxes, scores, kept), blended, rtol=1e-9, atol=1e-12)


def test_boxes_without_an_area_or_a_place_overlap_nothing():
    good = [0.1, 0.1, 0.2, 0.2]
    strange = [
        [0.1, 0.1, 0.1, 0.2],
        [0.2, 0.2, 0.1, 0.1],
        [np.nan, 0, 1, 1],
        [-1e200, -1e200, 1e200, 1e200],
    ]
    first, second = close_pairs(np.array([good, *strange, good]), 0.4)
    assert sorted((int(first[0]), int(second[0]))) == [0, 5]
    assert len(first) == 1


def test_a_crowd_at_one_place_takes_no_more_memory_than_before():
    boxes = np.tile([[0.1, 0.1, 0.2, 0.2]], (5000, 1))
    assert close_pairs(boxes, 0.4) is None
    assert nms(boxes, np.ones(5000), 0.4).tolist() == [0]


def test_pairs_are_few_where_boxes_are_spread():
    """A grid of 70 x 70 boxes: only near neighbours, not 12 million pairs."""
    y, x = np.mgrid[0:70, 0:70].reshape(2, -1) / 70
    boxes = np.stack([x, y, x + 0.02, y + 0.02], axis=1)
    first, _ = close_pairs(boxes, 0.4)
    assert len(first) < 20 * len(boxes)
