"""From the network's two outputs to boxes in pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.ssd.anchors import anchors
from facemask_zoo.ssd.boxes import BLEND_FLOOR, blend, decode, nms
from facemask_zoo.ssd.grid import AnchoredDetector

CONF = 0.5
"""Score above which a face counts, unless the caller says otherwise."""

IOU = 0.4
"""Overlap above which a box is a duplicate, unless the caller says otherwise."""

WHOLE = (0.0, 0.0, 1.0, 1.0)
"""Where a picture lies that fills the input."""

Found = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


def postprocess(
    loc: NDArray[np.float32],
    scores: NDArray[np.float32],
    network: AnchoredDetector,
    image_size: tuple[int, int],
    *,
    conf: float,
    iou: float,
    kind: str = "standard",
    region: tuple[float, float, float, float] = WHOLE,
) -> Found:
    """Decode the outputs for one picture and suppress duplicates.

    Args:
        loc: (A, 4) raw box offsets.
        scores: (A, C) scores, 0..1.
        network: Gives anchors and variances.
        image_size: Width and height of the picture, in pixels.
        conf: Only scores above this count.
        iou: A box that overlaps a better one by more than this is dropped.
        kind: ``"standard"``; ``"blended"`` to average every box with those that agree with it; or
            ``"aizoo"`` for AIZOO's overlaps and truncated pixels.
        region: Part of the input that the picture fills: left, top, right, bottom, 0..1.

    Returns:
        Boxes (N, 4) as xyxy pixels inside the picture, scores (N,) and class ids (N,), best first.
        Boxes without area inside the picture are left out.
    """
    # Boxes below the threshold suppress none above it. But they have a say in a blend, whatever
    # the threshold, so that it moves no box.
    least = min(conf, BLEND_FLOOR) if kind == "blended" else conf
    candidates = _scoring_above(scores, least)
    best = scores[candidates].max(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        boxes = decode(loc[candidates], anchors(network)[candidates], network.variances)
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(best)
    candidates, boxes, best = candidates[finite], boxes[finite], best[finite]
    counting = np.flatnonzero(best > conf)
    kept = counting[nms(boxes[counting], best[counting], iou, kind)]
    chosen = blend(boxes, best, kept) if kind == "blended" else boxes[kept]
    pixels = to_pixels(within(chosen, region), image_size, truncate=kind == "aizoo")
    visible = (pixels[:, 2:] > pixels[:, :2]).all(axis=1)
    class_ids = scores[candidates[kept][visible]].argmax(axis=1).astype(np.int64)
    return pixels[visible], best[kept][visible].astype(np.float32), class_ids


def _scoring_above(scores: NDArray[np.float32], least: float) -> NDArray[np.intp]:
    """Rows of (A, C) scores of which any is above a number.

    One comparison of all scores in memory's order is faster than a maximum over a short axis.
    """
    rows = np.flatnonzero(scores > least) // scores.shape[1]
    first = np.ones(len(rows), np.bool_)
    first[1:] = rows[1:] != rows[:-1]
    return rows[first]


def within(
    boxes: NDArray[np.float64], region: tuple[float, float, float, float]
) -> NDArray[np.float64]:
    """Corners relative to the input as corners relative to a part of it.

    Args:
        boxes: (N, 4) normalised corners.
        region: The part: left, top, right, bottom, 0..1.
    """
    left, top, right, bottom = region
    offset = np.array([left, top, left, top])
    return np.asarray((boxes - offset) / np.array([right - left, bottom - top] * 2))


def to_pixels(
    boxes: NDArray[np.float64], image_size: tuple[int, int], *, truncate: bool
) -> NDArray[np.float32]:
    """Scale normalised corners to the picture and clip them to it.

    Args:
        boxes: (N, 4) normalised corners.
        image_size: Width and height, in pixels.
        truncate: Drop the fraction of a pixel first, as AIZOO does.

    Returns:
        (N, 4) xyxy pixels.
    """
    limits = np.array(image_size * 2, dtype=np.float64)
    pixels = boxes * limits
    if truncate:
        pixels = np.trunc(pixels)
    return np.asarray(np.clip(pixels, 0, limits), dtype=np.float32)
