"""Boxes: offsets to corners and back, overlaps, and non-maximum suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import UnknownNameError

Floats = NDArray[np.floating[Any]]

NMS_KINDS = ("standard", "aizoo")

# Overlaps are computed for this many boxes at once: few calls, and a bounded table.
_NMS_BLOCK = 64

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
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = np.prod(np.maximum(high - low, 0), axis=-1)
    area_1 = np.prod(first[:, 2:] - first[:, :2] + epsilon, axis=-1)
    area_2 = np.prod(second[:, 2:] - second[:, :2] + epsilon, axis=-1)
    union = area_1[:, None] + area_2[None, :] - intersection
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
        kind: ``"standard"`` for the true IoU, ``"aizoo"`` for AIZOO's.

    Returns:
        Indices of the boxes that stay, best score first; equal scores keep their order.

    Raises:
        UnknownNameError: `kind` is neither of the two.
    """
    if kind not in NMS_KINDS:
        raise UnknownNameError.among("nms", kind, NMS_KINDS)
    epsilon = _AIZOO_EPSILON if kind == "aizoo" else 0.0
    order = np.argsort(-np.asarray(scores), kind="stable")
    kept: list[int] = []
    while order.size:
        block = order[:_NMS_BLOCK]
        duplicates = iou(boxes[block], boxes[order], epsilon) > threshold
        alive = np.ones(order.size, dtype=bool)
        for row, index in enumerate(block):
            if alive[row]:
                kept.append(int(index))
                alive &= ~duplicates[row]
        order = order[_NMS_BLOCK:][alive[_NMS_BLOCK:]]
    return np.asarray(kept, dtype=np.int64)


def _centre_and_size(boxes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low
