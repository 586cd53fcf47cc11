"""From a picture to the network's input: one function for all frameworks."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

# The fixed-point arithmetic of OpenCV's bilinear resize of bytes, kept to the bit so that scores
# do not depend on whether OpenCV is installed.
_COEFFICIENT_BITS = 11
_COEFFICIENT_ONE = 1 << _COEFFICIENT_BITS

# Of OpenCV's own limits; larger pictures are beyond its 16-bit coordinates.
_OPENCV_SIDE = 32_000


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

    OpenCV does it where it is installed and proves equal here, in a fraction of the time.

    Args:
        image: (H, W, C).
        width: New width, in pixels.
        height: New height, in pixels.

    Returns:
        (height, width, C).
    """
    if image.shape[:2] == (height, width):
        return image
    opencv = _equal_opencv() if max(*image.shape, width, height) <= _OPENCV_SIDE else None
    if opencv is None:
        return resize_in_numpy(image, width, height)
    resized = np.asarray(opencv.resize(image, (width, height)), np.uint8)
    return resized.reshape(height, width, image.shape[2])


def resize_in_numpy(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """What :func:`resize` does, without OpenCV."""
    channels = image.shape[2]
    *lines, weights_y = _taps(image.shape[0], height, clamp_weight=False)
    left, right, weights_x = _taps(image.shape[1], width, clamp_weight=True)
    # Channel by channel along one axis: single bytes are gathered far faster than pixels of three.
    columns = [_spread(index, channels) for index in (left, right)]
    weights = [np.repeat(weight, channels) for weight in weights_x]
    total = np.full((height, width * channels), 2, np.int32)
    for index, weight in zip(lines, weights_y, strict=True):
        rows = np.take(image, index, axis=0).reshape(height, -1)
        total += (weight[:, None] * (_blend_columns(rows, columns, weights) >> 4)) >> 16
    return (total >> 2).astype(np.uint8).reshape(height, width, channels)


@functools.cache
def _equal_opencv() -> ModuleType | None:
    """OpenCV, if it is installed and gives the same bytes as NumPy on this machine."""
    try:
        opencv = importlib.import_module("cv2")
    except ImportError:
        return None
    noise = np.random.Generator(np.random.PCG64(0))
    for height, width in ((37, 53), (120, 90), (480, 640)):
        image = (noise.random((height, width, 3)) * 256).astype(np.uint8)
        if not np.array_equal(opencv.resize(image, (64, 48)), resize_in_numpy(image, 64, 48)):
            return None
    return opencv


def _blend_columns(
    rows: NDArray[np.uint8],
    columns: Sequence[NDArray[np.intp]],
    weights: Sequence[NDArray[np.int32]],
) -> NDArray[np.int32]:
    """Two columns of each row, weighted and added."""
    first, second = (
        np.multiply(np.take(rows, index, axis=1), weight, dtype=np.int32)
        for index, weight in zip(columns, weights, strict=True)
    )
    first += second
    return first


def _spread(index: NDArray[np.intp], channels: int) -> NDArray[np.intp]:
    """Positions of pixels as those of their channels, side by side."""
    return np.asarray((index[:, None] * channels + np.arange(channels)).ravel())


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
