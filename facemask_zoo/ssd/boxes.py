"""Boxes: offsets to corners and back, overlaps, and non-maximum suppression."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import UnknownNameError
from facemask_zoo.ssd.neighbours import LEAST_OVERLAP, Indices, Neighbours, Pairs

Floats = NDArray[np.floating[Any]]

NMS_KINDS = ("standard", "blended", "aizoo")

BLEND_FLOOR = 0.05
"""Boxes that score above this have a say in :func:`blend`, whatever the caller's threshold."""

_BLEND_OVERLAP = 0.6

# Overlaps are computed for this many boxes at once: few calls, and a bounded table.
_BLOCK = 64

# From so many boxes on it pays to look first which of them may overlap.
_MANY = 4 * _BLOCK

# Of so many boxes, a part is looked at first, for it suppresses most of the others. From wave to
# wave it grows by the factor.
_MANY_FOR_WAVES = 6 * _MANY
_FIRST_WAVE = 1 / 5
_WAVES_GROW = 4

# AIZOO widens the sides by this much in the areas, but not in the intersection.
_AIZOO_EPSILON = 1e-3


def decode(loc: Floats, anchors: Floats, variances: tuple[float, ...]) -> NDArray[np.float64]:
    """Turn raw box offsets into boxes.

    Args:
        loc: (..., A, 4) raw network output.
        anchors: (A, 4) normalised corners.
        variances: Scales of the four offsets.

    Returns:
        (..., A, 4) normalised corners, not clipped.
    """
    centre, size = _centre_and_size(np.asarray(anchors, np.float64))
    scaled = np.asarray(loc, np.float64) * np.asarray(variances)
    box_centre = scaled[..., :2] * size + centre
    half = np.exp(scaled[..., 2:]) * size / 2
    return np.concatenate([box_centre - half, box_centre + half], axis=-1)


def encode(boxes: Floats, anchors: Floats, variances: tuple[float, ...]) -> NDArray[np.float64]:
    """The inverse of :func:`decode`, for training targets and tests.

    Args:
        boxes: (..., A, 4) normalised corners of positive size.
        anchors: (A, 4) normalised corners.
        variances: Scales of the four offsets.

    Returns:
        (..., A, 4) raw offsets.
    """
    centre, size = _centre_and_size(np.asarray(anchors, np.float64))
    box_centre, box_size = _centre_and_size(np.asarray(boxes, np.float64))
    offsets = np.concatenate([(box_centre - centre) / size, np.log(box_size / size)], axis=-1)
    return np.asarray(offsets / np.asarray(variances))


def iou(first: Floats, second: Floats, epsilon: float = 0.0) -> NDArray[np.float64]:
    """Intersection over union of every pair.

    Args:
        first: (N, 4) corners.
        second: (M, 4) corners.
        epsilon: Added to the sides in the areas alone, as AIZOO does; 0 is the true value.

    Returns:
        (N, M) overlaps; 0 where both boxes are empty.
    """
    # Coordinate by coordinate: products over an axis of two are many times slower.
    one = np.asarray(first, np.float64).T[:, :, None]
    return _overlap(one, np.asarray(second, np.float64).T, epsilon)


def _overlap(
    first: NDArray[np.float64], second: NDArray[np.float64], epsilon: float
) -> NDArray[np.float64]:
    """Intersection over union of boxes whose four coordinates are along the first axis."""
    left, top, right, bottom = first
    others = second
    width = np.minimum(right, others[2]) - np.maximum(left, others[0])
    height = np.minimum(bottom, others[3]) - np.maximum(top, others[1])
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    area_1 = (right - left + epsilon) * (bottom - top + epsilon)
    area_2 = (others[2] - others[0] + epsilon) * (others[3] - others[1] + epsilon)
    union = area_1 + area_2 - intersection
    overlap = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return np.asarray(overlap)


def nms(
    boxes: Floats, scores: Floats, threshold: float, kind: str = "standard"
) -> NDArray[np.int64]:
    """Greedy non-maximum suppression, the same for all classes.

    Args:
        boxes: (N, 4) normalised corners.
        scores: (N,) confidences.
        threshold: A box that overlaps a better one by more than this is dropped.
        kind: ``"standard"`` or ``"blended"`` for the true IoU, ``"aizoo"`` for AIZOO's.

    Returns:
        Indices of the boxes that stay, best score first; equal scores keep their order.

    Raises:
        UnknownNameError: There is no such kind.
    """
    if kind not in NMS_KINDS:
        raise UnknownNameError.among("nms", kind, NMS_KINDS)
    epsilon = _AIZOO_EPSILON if kind == "aizoo" else 0.0
    order = np.argsort(-np.asarray(scores), kind="stable")
    return order[_kept(np.asarray(boxes, np.float64)[order], threshold, epsilon)]


def blend(boxes: Floats, scores: Floats, kept: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average every box that stays with those that agree with it (Gidaris and Komodakis 2015).

    Several anchors see the same face. Their mean, weighted by score, is on average nearer to the
    face than the box of the best score.

    Args:
        boxes: (N, 4) normalised corners before suppression.
        scores: (N,) confidences.
        kept: (K,) indices of the boxes that stay.

    Returns:
        (K, 4) corners; those of a box with which no box above ``BLEND_FLOOR`` agrees are its own.
    """
    boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores)
    voters = np.flatnonzero(scores > BLEND_FLOOR)
    pairs = _agreeing(boxes, kept, voters)
    if pairs is not None:
        return _means(boxes, scores, kept, *pairs)
    result = boxes[kept]
    for start in range(0, len(kept), _BLOCK):
        own = result[start : start + _BLOCK]
        agree = iou(own, boxes[voters]) > _BLEND_OVERLAP
        weights = np.where(agree, scores[voters], 0.0)
        total = weights.sum(axis=1, keepdims=True)
        np.divide(weights @ boxes[voters], total, out=own, where=total > 0)
    return result


def _agreeing(
    boxes: NDArray[np.float64], kept: NDArray[np.int64], voters: NDArray[np.intp]
) -> Pairs | None:
    """Pairs of a box that stays and one that agrees with it; None where comparing all is cheap."""
    if len(kept) * len(voters) < _MANY * _MANY:
        return None
    asked = np.union1d(kept, voters)
    if len(asked) < _MANY:
        return None
    neighbours = Neighbours(boxes[asked], _BLEND_OVERLAP)
    close = neighbours.among(neighbours.real)
    if close is None:
        return None
    stays, votes = (np.isin(asked, each) for each in (kept, voters))
    close = (_where(stays[i] & votes[j] | votes[i] & stays[j], i, j) for i, j in close)
    first, second = _overlapping(boxes[asked], close, _BLEND_OVERLAP, 0.0)
    owner, voter = _where(
        np.concatenate([stays[first] & votes[second], stays[second] & votes[first]]),
        np.concatenate([first, second]),
        np.concatenate([second, first]),
    )
    own = kept[np.isin(kept, voters)]
    return np.concatenate([asked[owner], own]), np.concatenate([asked[voter], own])


def _where(condition: NDArray[np.bool_], first: Indices, second: Indices) -> Pairs:
    chosen = np.flatnonzero(condition)
    return first[chosen], second[chosen]


def _means(
    boxes: NDArray[np.float64],
    scores: Floats,
    kept: NDArray[np.int64],
    owner: NDArray[np.intp],
    voter: NDArray[np.intp],
) -> NDArray[np.float64]:
    """For each box that stays, the mean of its voters, weighted by score."""
    weight = np.asarray(scores, np.float64)[voter]
    count = len(boxes)
    total = np.bincount(owner, weight, count)[kept, None]
    parts = [np.bincount(owner, weight * side[voter], count)[kept] for side in boxes.T]
    result = boxes[kept]
    np.divide(np.stack(parts, axis=1), total, out=result, where=total > 0)
    return result


def _kept(boxes: NDArray[np.float64], threshold: float, epsilon: float) -> NDArray[np.int64]:
    """Greedy suppression of sorted boxes, wave by wave.

    Those of a wave that stay are compared with all that are left, so that boxes which a far better
    one suppresses are never compared with each other.
    """
    if len(boxes) < _MANY or threshold < LEAST_OVERLAP:
        return _kept_by_blocks(boxes, threshold, epsilon)
    neighbours = Neighbours(boxes, threshold)
    dropped = np.zeros(len(boxes), dtype=bool)
    left, share = neighbours.real, 1 if len(boxes) < _MANY_FOR_WAVES else _FIRST_WAVE
    size = max(1, int(len(left) * share))
    while left.size:
        wave, rest = left[:size], left[size:]
        close = neighbours.among(wave)
        if close is None:
            stays = left[_kept_by_blocks(boxes[left], threshold, epsilon)]
            dropped[np.setdiff1d(left, stays)] = True
            break
        _drop_worse(dropped, *_overlapping(boxes, close, threshold, epsilon))
        stays = wave[~dropped[wave]]
        for pairs in neighbours.between(stays, rest) if rest.size else ():
            dropped[_above(boxes, pairs, threshold, epsilon)[1]] = True
        left, size = rest[~dropped[rest]], size * _WAVES_GROW
    return np.flatnonzero(~dropped)


def _overlapping(
    boxes: NDArray[np.float64], close: Iterable[Pairs], threshold: float, epsilon: float
) -> Pairs:
    """Those of the pairs that overlap by more than the threshold."""
    nothing = np.zeros(0, np.intp)
    found = [(nothing, nothing)]
    found += (_above(boxes, pairs, threshold, epsilon) for pairs in close)
    first, second = (np.concatenate(each) for each in zip(*found, strict=True))
    return first, second


def _above(boxes: NDArray[np.float64], pairs: Pairs, threshold: float, epsilon: float) -> Pairs:
    one, other = (np.take(boxes, each, axis=0).T for each in pairs)
    return _where(_overlap(one, other, epsilon) > threshold, *pairs)


def _kept_by_blocks(boxes: Floats, threshold: float, epsilon: float) -> NDArray[np.int64]:
    """Greedy suppression of sorted boxes: each block is compared with all that are left."""
    left = np.arange(len(boxes))
    kept: list[int] = []
    while left.size:
        block = left[:_BLOCK]
        duplicates = iou(boxes[block], boxes[left], epsilon) > threshold
        alive = np.ones(left.size, dtype=bool)
        for row, index in enumerate(block):
            if alive[row]:
                kept.append(int(index))
                alive &= ~duplicates[row]
        left = left[_BLOCK:][alive[_BLOCK:]]
    return np.asarray(kept, dtype=np.int64)


def _drop_worse(dropped: NDArray[np.bool_], first: Indices, second: Indices) -> None:
    """Greedy suppression of sorted boxes, of which these pairs overlap.

    In each round, boxes that no better one is left to suppress stay, and suppress their partners.
    """
    better, worse = np.minimum(first, second), np.maximum(first, second)
    while better.size:
        threatened = np.zeros(len(dropped), dtype=bool)
        threatened[worse] = True
        safe = ~threatened[better]
        dropped[worse[safe]] = True
        left = ~(safe | dropped[better] | dropped[worse])
        better, worse = better[left], worse[left]


def _centre_and_size(boxes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low
