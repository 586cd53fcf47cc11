"""Put a mask on a face in a picture."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.datasets.landmarks import Points, Pose, check_points, face_box, pose_of
from facemask_zoo.datasets.types import Box
from facemask_zoo.datasets.wearing import Wearing
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.extras import require
from facemask_zoo.images import load_image
from facemask_zoo.masks.light import Light, measure
from facemask_zoo.masks.template import LANDMARKS, Template, chart_points, load_template
from facemask_zoo.masks.warp import ThinPlate, draw_mesh, grid
from facemask_zoo.masks.wearing import move

MIN_FACE = 16.0
"""Narrowest jaw, in pixels, that a mask is put on."""

_SIZES = (128, 1024)
_STEP = 128  # few sizes, so that drawings are used again
_OVERSAMPLING = 2
_MAX_WORK = 1400
_HIDDEN_FROM = 0.45
_SHADOW = 0.38


@dataclasses.dataclass(frozen=True, eq=False)
class Masked:
    """A picture of a face that wears a drawn mask.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        box: The face from forehead to chin, as corners in pixels.
        label: ``"mask"`` or ``"incorrect"``.
        wearing: How the mask is worn.
        landmarks: (68, 2) pixels; those of the bare face.
        template: Name of the template.
        alpha: (H, W) float32, 0..1: how far each pixel shows the mask.
    """

    image: NDArray[np.uint8]
    box: Box
    label: str
    wearing: Wearing
    landmarks: Points
    template: str
    alpha: NDArray[np.float32]


def put_on(
    image: NDArray[np.uint8],
    landmarks: Any,
    *,
    template: str | Template = "surgical-blue",
    wearing: Wearing | str = Wearing.CORRECT,
    seed: int = 0,
    matte: NDArray[Any] | None = None,
) -> Masked:
    """Put a mask on one face.

    Args:
        image: (H, W, 3) uint8 RGB; it is not changed.
        landmarks: (68, 2) pixels in iBUG's order; some may lie outside the picture.
        template: A template, its name, or its path.
        wearing: What is left bare.
        seed: Of the grain, and of small irregularities in how the mask sits.
        matte: (H, W), 0..1 or bool or 0..255 integers: what lies in front of the mask, such as
            hands or hair.

    Returns:
        The picture with the mask, and what was done.

    Raises:
        InvalidArgumentError: The landmarks, the matte or the template are no good, the face is
            narrower than :data:`MIN_FACE`, or it lies outside the picture.
        UnknownNameError: There is no such template or way of wearing.
    """
    image = load_image(image)
    points = check_points(landmarks)
    wearing = Wearing.named(wearing)
    template = load_template(template) if isinstance(template, str) else template
    pose = pose_of(points)
    front = _check_matte(matte, image.shape)
    left, top, right, bottom = _region(image, points, pose)
    random = np.random.default_rng(seed)
    region = image[top:bottom, left:right]
    local = points - (left, top)
    layer = _layer(template, local, pose, wearing, region.shape, random)
    layer *= 1 - front[top:bottom, left:right, None]
    light = measure(region, local, pose.width)
    result = image.copy()
    result[top:bottom, left:right] = _compose(region, layer, light, pose, random)
    alpha = np.zeros(image.shape[:2], np.float32)
    alpha[top:bottom, left:right] = layer[..., 3]
    box = face_box(points, (image.shape[1], image.shape[0]))
    return Masked(result, box, wearing.label, wearing, points, template.name, alpha)


def _check_matte(matte: NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if matte is None:
        return np.zeros(shape[:2], np.float32)
    matte = np.asarray(matte)
    if matte.shape != shape[:2]:
        raise InvalidArgumentError(f"matte: expected shape {shape[:2]}, but got {matte.shape}.")
    scale = 255 if np.issubdtype(matte.dtype, np.integer) else 1
    return np.clip(np.nan_to_num(matte.astype(np.float32)) / scale, 0, 1)


def _region(image: NDArray[np.uint8], points: Points, pose: Pose) -> tuple[int, int, int, int]:
    """The part of the picture that can change: left, top, right, bottom."""
    if pose.width < MIN_FACE or pose.height < MIN_FACE / 2:
        raise InvalidArgumentError(
            f"The face is {pose.width:.0f} pixels wide; masks need {MIN_FACE:.0f}."
        )
    margin = 0.45 * max(pose.width, pose.height)
    left, top = np.maximum(points.min(axis=0) - margin, 0).astype(int)
    right, bottom = np.ceil(points.max(axis=0) + margin).astype(int)
    right, bottom = min(int(right), image.shape[1]), min(int(bottom), image.shape[0])
    if right - left < 2 or bottom - top < 2:
        raise InvalidArgumentError("The landmarks lie outside the picture.")
    return int(left), int(top), right, bottom


def _layer(
    template: Template,
    points: Points,
    pose: Pose,
    wearing: Wearing,
    shape: tuple[int, ...],
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """The warped mask: (H, W, 4), colours multiplied by alpha."""
    cv2 = require("cv2", "masks")
    height, width = shape[:2]
    zoom = max(1.0, min(float(_OVERSAMPLING), _MAX_WORK / max(height, width)))
    side = int(np.clip(np.ceil(pose.width * 1.65 * zoom / _STEP) * _STEP, *_SIZES))
    hidden = "" if abs(pose.side) < _HIDDEN_FROM else "left" if pose.side < 0 else "right"
    texture = template.render(side, hidden=hidden)
    units = grid(*template.size)
    target = to_face(template, points, units, wearing, random) * zoom
    source = units * (side / template.size[0])
    large = draw_mesh(texture, source, target, (round(width * zoom), round(height * zoom)))
    return np.asarray(cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA))


def to_face(
    template: Template,
    points: Points,
    places: NDArray[np.float64],
    wearing: Wearing,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Where places of a template come to lie in the picture.

    Args:
        template: The template.
        points: (68, 2) landmarks.
        places: (N, 2) in units of the template.
        wearing: How it is worn.
        random: For how exactly it sits.
    """
    chart = chart_points()
    names = list(template.points)
    own = np.array([template.points[name] for name in names])
    common = np.array([chart[name] for name in names])
    edges = np.array([[template.size[0] / 2, edge] for edge in template.extent])
    on_chart = np.concatenate([places, edges])
    if not np.array_equal(own, common):
        on_chart = ThinPlate.fit(own, common)(on_chart)
    upper, lower = on_chart[-2:, 1]
    shift = random.normal(0, (3.0, 5.0))
    worn = move(on_chart[:-2], wearing, (upper, lower)) + shift
    chosen = list(chart)
    source = np.array([chart[name] for name in chosen])
    target = points[[LANDMARKS[name] for name in chosen]]
    return ThinPlate.fit(source, target)(worn)


def _compose(
    region: NDArray[np.uint8],
    layer: NDArray[np.float32],
    light: Light,
    pose: Pose,
    random: np.random.Generator,
) -> NDArray[np.uint8]:
    cv2 = require("cv2", "masks")
    if light.blur > 0.2:
        layer[:] = cv2.GaussianBlur(layer, (0, 0), light.blur)
    colour, alpha = layer[..., :3], layer[..., 3:]
    lit = np.minimum(colour * light.shade[..., None] * light.gain, 255 * alpha)
    noise = random.normal(0, 1, alpha.shape).astype(np.float32) * light.grain
    shadow = _shadow(alpha[..., 0], pose)[..., None]
    mixed = region * (1 - shadow) * (1 - alpha) + lit + noise * alpha
    # What the mask does not touch stays as it is, bit for bit.
    touched = (alpha > 1e-3) | (shadow > 4e-3)
    return np.where(touched, np.clip(np.round(mixed), 0, 255), region).astype(np.uint8)


def _shadow(alpha: NDArray[np.float32], pose: Pose) -> NDArray[np.float32]:
    """What the mask keeps of the light from the skin beside it, more below than above."""
    cv2 = require("cv2", "masks")
    near = cv2.GaussianBlur(alpha, (0, 0), max(pose.width * 0.018, 0.6))
    down = (-np.sin(pose.roll), np.cos(pose.roll))
    offset = pose.width * 0.02
    matrix = np.array([[1, 0, down[0] * offset], [0, 1, down[1] * offset]], np.float32)
    moved = cv2.warpAffine(near, matrix, alpha.shape[::-1])
    return np.asarray(_SHADOW * np.clip(0.45 * near + 0.55 * moved, 0, 1) * (alpha < 0.999))
