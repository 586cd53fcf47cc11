"""From a picture to the network's input: one function for all frameworks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The fixed-point arithmetic of OpenCV's bilinear resize of bytes, kept to the bit so that scores
# do not depend on whether OpenCV is installed.
_COEFFICIENT_BITS = 11
_COEFFICIENT_ONE = 1 << _COEFFICIENT_BITS


def preprocess(image: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Resize to a square without keeping the aspect ratio, and scale to 0..1.

    Args:
        image: (H, W, 3) RGB.
        size: Height and width of the network's input, in pixels.

    Returns:
        (3, size, size) contiguous RGB array.
    """
    channels_first = resize(image, size, size).transpose(2, 0, 1)
    return np.ascontiguousarray(channels_first, dtype=np.float32) / np.float32(255)


def resize(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Bilinear resize, equal to ``cv2.resize(image, (width, height))`` in every bit.

    Args:
        image: (H, W, C).
        width: New width, in pixels.
        height: New height, in pixels.

    Returns:
        (height, width, C).
    """
    if image.shape[:2] == (height, width):
        return image
    top, bottom, weights_y = _taps(image.shape[0], height, clamp_weight=False)
    left, right, weights_x = _taps(image.shape[1], width, clamp_weight=True)
    rows = [
        _blend_columns(np.take(image, index, axis=0), left, right, weights_x)
        for index in (top, bottom)
    ]
    blended = [
        (weight[:, None, None] * (row >> 4)) >> 16
        for weight, row in zip(weights_y, rows, strict=True)
    ]
    return ((blended[0] + blended[1] + 2) >> 2).astype(np.uint8)


def _blend_columns(
    rows: NDArray[np.uint8],
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    weights: tuple[NDArray[np.int32], NDArray[np.int32]],
) -> NDArray[np.int32]:
    first, second = (weight[None, :, None] for weight in weights)
    return np.asarray(np.take(rows, left, axis=1) * first + np.take(rows, right, axis=1) * second)


def _taps(
    source: int, target: int, clamp_weight: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp], tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """The two source positions of each target position, and their fixed-point weights."""
    position = ((np.arange(target) + 0.5) * (1 / (target / source)) - 0.5).astype(np.float32)
    low = np.floor(position)
    fraction = position - low
    if clamp_weight:
        fraction[(low < 0) | (low >= source - 1)] = 0
    near = np.clip(low, 0, source - 1).astype(np.intp)
    far = np.clip(low + 1, 0, source - 1).astype(np.intp)
    one = np.float32(_COEFFICIENT_ONE)
    weights = (
        np.rint((np.float32(1) - fraction) * one).astype(np.int32),
        np.rint(fraction * one).astype(np.int32),
    )
    return near, far, weights
