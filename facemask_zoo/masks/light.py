"""What the camera and the light did to a face, so that the same can be done to a mask."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.datasets.landmarks import BRIDGE, JAW, Points
from facemask_zoo.extras import require

Map = NDArray[np.float32]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_SHARPEST_SHARE = 0.02
_MAX_GRAIN = 12.0
_NOISE_FILTER = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
_SHADE_RANGE = (0.55, 1.3)
_EXPOSURE_RANGE = (0.42, 1.02)


@dataclasses.dataclass(frozen=True)
class Light:
    """How a face was lit and taken.

    Attributes:
        shade: (H, W) factor for each pixel: where the light falls on the face.
        gain: (3,) factor for red, green and blue: exposure and colour temperature.
        blur: Standard deviation of the blur, in pixels.
        grain: Standard deviation of the noise, in grey levels.
    """

    shade: Map
    gain: NDArray[np.float32]
    blur: float
    grain: float


def measure(region: NDArray[np.uint8], points: Points, width: float) -> Light:
    """Measure light, blur and grain of a face.

    Args:
        region: (H, W, 3) RGB, the face and its surroundings.
        points: (68, 2) landmarks in the region.
        width: Of the face, in pixels.
    """
    pixels = region.astype(np.float32)
    grey = pixels @ _LUMA
    skin = _skin(points, grey.shape)
    return Light(
        shade=_shade(grey, skin, width),
        gain=_gain(pixels),
        blur=_blur(grey, width),
        grain=_grain(grey, skin),
    )


def _skin(points: Points, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    cv2 = require("cv2", "masks")
    canvas = np.zeros(shape, np.uint8)
    outline = np.concatenate([points[JAW], points[BRIDGE][:1]])
    cv2.fillConvexPoly(canvas, cv2.convexHull(np.round(outline).astype(np.int32)), 1)
    found = canvas.astype(bool)
    return found if found.any() else np.ones(shape, bool)


def _shade(grey: Map, skin: NDArray[np.bool_], width: float) -> Map:
    """Brightness of the skin, smoothed over what lies around it, against its median."""
    cv2 = require("cv2", "masks")
    sigma = max(width * 0.11, 1.0)
    weight = cv2.GaussianBlur(skin.astype(np.float32), (0, 0), sigma)
    smooth = cv2.GaussianBlur(grey * skin, (0, 0), sigma) / np.maximum(weight, 1e-3)
    middle = max(float(np.median(grey[skin])), 4.0)
    trust = np.clip(weight * 3, 0, 1)
    factor = np.where(weight > 1e-3, smooth / middle, 1.0) * trust + (1 - trust)
    return np.asarray(np.clip(factor, *_SHADE_RANGE), np.float32)


def _gain(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Exposure from the brightest parts, colour from all of it; skin alone would mislead."""
    white = np.power(np.mean(np.power(pixels + 1, 6), axis=(0, 1)), 1 / 6)
    colour = np.sqrt(white / max(float(white.mean()), 1.0))
    bright = float(np.percentile(pixels @ _LUMA, 96)) / 225
    exposure = np.clip(0.25 + 0.75 * bright, *_EXPOSURE_RANGE)
    return np.asarray(np.clip(colour, 0.75, 1.25) * exposure, np.float32)


def _blur(grey: Map, width: float) -> float:
    """From how much the sharpest edges lose when they are blurred once more."""
    cv2 = require("cv2", "masks")
    known = 1.0
    again = cv2.GaussianBlur(grey, (0, 0), known)
    before, after = _slope(grey), _slope(again)
    edge = np.quantile(before, 1 - _SHARPEST_SHARE)
    sharpest = before >= max(float(edge), 1.0)
    if not sharpest.any():
        return 0.0
    ratio = float(np.median(before[sharpest] / np.maximum(after[sharpest], 1e-3)))
    sigma = known / np.sqrt(max(ratio**2 - 1, 1e-3))
    return float(np.clip(sigma - 0.45, 0, 0.03 * width))


def _slope(grey: Map) -> Map:
    dy, dx = np.gradient(grey)
    return np.asarray(np.hypot(dx, dy), np.float32)


def _grain(grey: Map, skin: NDArray[np.bool_]) -> float:
    """From the median of what is left of the smoother half of the skin without its features.

    The filter is the difference of two Laplacians (Immerkaer, 1996): edges and slopes cancel out,
    and noise keeps its strength.
    """
    cv2 = require("cv2", "masks")
    rest = np.abs(cv2.filter2D(grey, -1, _NOISE_FILTER))[skin]
    smooth = _slope(cv2.GaussianBlur(grey, (0, 0), 2.0))[skin]
    calm = rest[smooth <= np.median(smooth)]
    return float(min(np.median(calm) / 0.6745, _MAX_GRAIN))
