"""The 68 landmarks of the iBUG scheme: their order, their checks, and what follows from them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.datasets.types import Box
from facemask_zoo.errors import DatasetError, InvalidArgumentError

Points = NDArray[np.float64]
"""(68, 2) x and y in pixels of the picture. "Left" is the left of the picture throughout."""

COUNT = 68
JAW = slice(0, 17)
BROWS = slice(17, 27)
BRIDGE = slice(27, 31)
NOSE = slice(27, 36)
EYES = slice(36, 48)
MOUTH = slice(48, 68)
CHIN, NOSE_TIP, NOSE_BASE = 8, 30, 33
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)
UPPER_LIP, LOWER_LIP = 51, 57
EYE_CORNERS, MOUTH_CORNERS = [36, 45], [48, 54]

MIRRORED = np.array(
    (
        *(*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)),
        *(*range(45, 41, -1), 47, 46, *range(39, 35, -1), 41, 40),
        *(*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)),
    )
)
"""Which landmark each one is in the mirrored picture."""

# Of the distance from brows to chin, how far above the brows a face box begins.
_FOREHEAD = 0.38


def check_points(points: Any) -> Points:
    """Make sure that an array is one face's landmarks.

    Args:
        points: Anything that NumPy turns into (68, 2) numbers.

    Raises:
        InvalidArgumentError: It has another shape, is not finite, or all points coincide.
    """
    try:
        array = np.asarray(points, np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"landmarks: expected numbers, but got {error}.") from error
    if array.shape != (COUNT, 2):
        raise InvalidArgumentError(
            f"landmarks: expected shape {(COUNT, 2)}, but got {array.shape}."
        )
    if not np.isfinite(array).all() or np.abs(array).max() > 1e6:
        raise InvalidArgumentError("landmarks: expected finite pixel coordinates.")
    if np.ptp(array[JAW], axis=0).min() < 1:
        raise InvalidArgumentError("landmarks: expected a face, but the jaw is a line or a point.")
    return array


@dataclasses.dataclass(frozen=True)
class Pose:
    """How a head is held, as far as the landmarks of one picture tell.

    Attributes:
        roll: Rotation in the picture, in radians, clockwise.
        side: From -1 (the left cheek is hidden) over 0 (frontal) to 1 (the right one is).
        width: Of the jaw, in pixels, along the line of the eyes.
        height: From between the eyes to the chin, in pixels.
    """

    roll: float
    side: float
    width: float
    height: float


def pose_of(points: Points) -> Pose:
    """Estimate the pose from the eyes, the nose and the jaw."""
    eyes = points[RIGHT_EYE].mean(axis=0) - points[LEFT_EYE].mean(axis=0)
    # The eyes come together in profile; the line from nose bridge to chin does not.
    down = points[CHIN] - points[27]
    across = eyes + np.array([down[1], -down[0]]) * 0.25
    across /= max(float(np.hypot(*across)), 1e-9)
    along = points @ across
    nose = along[NOSE_TIP]
    left, right = nose - along[1:4].mean(), along[13:16].mean() - nose
    width = max(float(np.ptp(along[JAW])), 1.0)
    side = float(np.clip((right - left) / max(abs(left) + abs(right), 1.0), -1, 1))
    roll = float(np.arctan2(across[1], across[0]))
    return Pose(roll, -side, width, float(np.hypot(*down)))


def eye_distance(points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Distance of the outer corners of the eyes.

    Args:
        points: (..., 68, 2) landmarks.
    """
    left, right = EYE_CORNERS
    return np.asarray(np.linalg.norm(points[..., right, :] - points[..., left, :], axis=-1))


def head_angles(points: NDArray[np.float64]) -> HeadAngles:
    """How a head is turned, from landmarks with depth.

    A head is upright and frontal where both its sides are equally far, and so are the outer corners
    of the eyes and those of the mouth.

    Args:
        points: (68, 3) x, y and depth in pixels; less depth is nearer to the camera.
    """
    outer = slice(0, 7), slice(17, 22), slice(36, 40)
    pairs = [points[MIRRORED[part]] - points[part] for part in outer]
    across = np.concatenate(pairs).mean(axis=0)
    across /= max(float(np.linalg.norm(across)), 1e-9)
    down = points[MOUTH_CORNERS].mean(axis=0) - points[EYE_CORNERS].mean(axis=0)
    down = down - across * (down @ across)
    down /= max(float(np.linalg.norm(down)), 1e-9)
    away = np.cross(across, down)
    yaw = np.arcsin(np.clip(across[2], -1, 1))
    pitch, roll = np.arctan2(-down[2], away[2]), np.arctan2(across[1], across[0])
    return HeadAngles(*(float(np.degrees(angle)) for angle in (yaw, pitch, roll)))


class HeadAngles(NamedTuple):
    """How a head is turned, in degrees, as the viewer sees it.

    Attributes:
        yaw: To the right of the picture.
        pitch: Upwards.
        roll: Clockwise, in the plane of the picture.
    """

    yaw: float
    pitch: float
    roll: float


def face_box(points: Points, size: tuple[int, int]) -> Box:
    """The box from forehead to chin around the landmarks, inside the picture.

    Args:
        points: (68, 2) pixels.
        size: Width and height of the picture.
    """
    brows, chin = points[BROWS].mean(axis=0), points[CHIN]
    forehead = points[BROWS] + (brows - chin) * _FOREHEAD
    outline = np.concatenate([points, forehead])
    (x1, y1), (x2, y2) = outline.min(axis=0), outline.max(axis=0)
    width, height = size
    x1, x2 = np.clip([x1, x2], 0, width)
    y1, y2 = np.clip([y1, y2], 0, height)
    return (float(x1), float(y1), float(x2), float(y2))


FFHQ_SIDE = 1024
"""Side in pixels of the pictures whose landmarks FFHQ's metadata holds."""


def read_ffhq(path: Path) -> Mapping[int, Points]:
    """Landmarks by FFHQ's number, in pixels of the 1024 x 1024 pictures.

    Raises:
        DatasetError: The file is missing or not FFHQ's metadata.
    """
    try:
        content = json.loads(path.read_bytes())
        return {
            int(number): check_points(entry["image"]["face_landmarks"])
            for number, entry in content.items()
        }
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} is not FFHQ's metadata: {error!r}") from error
