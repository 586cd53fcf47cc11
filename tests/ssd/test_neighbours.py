"""Pairs that may overlap: none is missed, and suppression by pairs is suppression box by box."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemask_zoo.ssd import blend, iou, nms
from facemask_zoo.ssd import boxes as module
from facemask_zoo.ssd.neighbours import LEAST_OVERLAP, Neighbours

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


def close_pairs(boxes: np.ndarray, overlap: float) -> list[tuple[int, int]] | None:
    neighbours = Neighbours(boxes, overlap)
    found = neighbours.among(neighbours.real)
    return None if found is None else listed(found)


def listed(found) -> list[tuple[int, int]]:
    """One pair after the other, of chunks of pairs."""
    return [pair for chunk in found for pair in zip(*(e.tolist() for e in chunk), strict=True)]


def by_blocks(boxes, scores, threshold, kind, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Neighbours, "among", lambda *_: None)
        kept = nms(boxes, scores, threshold, kind)
        return kept, blend(boxes, scores, kept)


def one_by_one(boxes, scores, threshold, kind) -> list[int]:
    """Suppression as it is defined: the best that is left stays, and drops what overlaps it."""
    left = sorted(range(len(boxes)), key=lambda index: -scores[index])
    kept = []
    while left:
        best, *others = left
        kept.append(best)
        overlap = iou(boxes[[best]], boxes[others], 1e-3 if kind == "aizoo" else 0.0)[0]
        left = [other for other, value in zip(others, overlap, strict=True) if value <= threshold]
    return kept


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
    found = set(map(frozenset, pairs))
    assert len(found) == len(pairs)
    expected = np.argwhere(np.triu(iou(boxes, boxes) > threshold, 1))
    assert set(map(frozenset, expected.tolist())) <= found


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 300),
    st.sampled_from(list(SPREADS)),
    st.floats(LEAST_OVERLAP, 1),
)
@settings(max_examples=100, deadline=None)
def test_no_pair_between_two_sets_is_missed(seed, count, spread, threshold):
    boxes = random_boxes(seed, count, spread)
    neighbours = Neighbours(boxes, threshold)
    first, second = neighbours.real[::3], neighbours.real[1::3]
    found = listed(neighbours.between(first, second))
    assert len(set(found)) == len(found)
    above = np.argwhere(iou(boxes[first], boxes[second]) > threshold)
    expected = {(int(first[i]), int(second[j])) for i, j in above}
    assert expected <= set(found)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(module._MANY, 700),
    st.sampled_from(list(SPREADS)),
    st.sampled_from(["standard", "aizoo"]),
    st.floats(0.05, 1),
    st.integers(1, 400),
)
@settings(max_examples=60, deadline=None)
def test_wave_by_wave_as_one_by_one(seed, count, spread, kind, threshold, levels):
    """In more waves than there are for so few boxes."""
    boxes = random_boxes(seed, count, spread)
    scores = np.random.default_rng(seed).integers(0, levels, count) / levels  # with ties
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MANY_FOR_WAVES", 0)
        patch.setattr(module, "_FIRST_WAVE", 1 / 30)
        patch.setattr(module, "_WAVES_GROW", 2)
        kept = nms(boxes, scores, threshold, kind)
    assert kept.tolist() == one_by_one(boxes, scores, threshold, kind)


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
    assert close_pairs(np.array([good, *strange, good]), 0.4) == [(0, 5)]


def test_a_crowd_at_one_place_takes_no_more_memory_than_before():
    boxes = np.tile([[0.1, 0.1, 0.2, 0.2]], (5000, 1))
    assert close_pairs(boxes, 0.4) is None
    assert nms(boxes, np.ones(5000), 0.4).tolist() == [0]


def test_pairs_are_few_where_boxes_are_spread():
    """A grid of 70 x 70 boxes: only near neighbours, not 12 million pairs."""
    y, x = np.mgrid[0:70, 0:70].reshape(2, -1) / 70
    boxes = np.stack([x, y, x + 0.02, y + 0.02], axis=1)
    assert len(close_pairs(boxes, 0.4)) < 20 * len(boxes)


def test_memory_grows_no_worse_than_the_boxes():
    """On average, 25 boxes overlap each, however many there are."""

    def peak(count: int) -> int:
        random = np.random.default_rng(count)
        low = random.random((count, 2))
        boxes = np.concatenate([low, low + 2 * count**-0.5], axis=1)
        tracemalloc.start()
        nms(boxes, random.random(count), 0.4)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(20_000) < 1.5 * 4 * peak(5_000)
