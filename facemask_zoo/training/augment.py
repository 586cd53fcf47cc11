"""Augmentation: a training picture is one or more views of photographs, each drawn in one warp."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Boxes = NDArray[np.float64]
Random = np.random.Generator

_GREY = 114
_HALF_AREA = 0.25


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How pictures are varied. Probabilities are 0..1; sizes are pixels of the network's input.

    Attributes:
        whole: Probability that a view shows the whole photograph, squeezed into the square as in
            use, with slight jitter.
        zoom_face: Probability that it is scaled to give a randomly chosen face a random size;
            otherwise the view is zoomed out.
        face_sizes: Range of that size (square root of the area), drawn log-uniformly.
        max_zoom: Photographs are never enlarged by more than this.
        max_zoom_out: A zoomed-out view is at most this many times as wide as the photograph.
        mosaic: Probability of a picture of several views instead of one.
        dense: Probability that those are three by three instead of two or four, which makes small
            faces of large ones.
        stretch: Width and height change against each other by at most this factor.
        rotation: Largest rotation, degrees.
        flip: Probability of mirroring.
        colour: Strength of the brightness, contrast, saturation and hue changes; 0 for none.
        grey: Probability of a grey picture.
        blur: Probability of a blur or of a coarser resolution.
        noise: Probability of sensor noise.
        jpeg: Probability of JPEG artefacts.
        min_face: Faces smaller than this are ignored: neither to be found nor background.
        min_visible: Faces of which less than this part is in view are ignored.
        keep_aspect: Whether views keep the photograph's aspect ratio, but for `stretch`, as a
            letterbox does; otherwise they are squeezed.
    """

    whole: float = 0.4
    zoom_face: float = 0.45
    face_sizes: tuple[float, float] = (9.0, 110.0)
    max_zoom: float = 2.0
    max_zoom_out: float = 1.8
    mosaic: float = 0.3
    dense: float = 0.0
    stretch: float = 1.3
    rotation: float = 8.0
    flip: float = 0.5
    colour: float = 1.0
    grey: float = 0.04
    blur: float = 0.12
    noise: float = 0.08
    jpeg: float = 0.12
    min_face: float = 4.5
    min_visible: float = 0.5
    keep_aspect: bool = False


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Boxes of a picture with the facts that travel with them.

    Attributes:
        boxes: (F, 4) corners in pixels.
        classes: (F,) class ids.
        ignored: (F,) see :class:`~facemask_zoo.training.assignment.Faces`, also for the rest.
        box_weights: (F,)
        partial: (F,)
    """

    boxes: Boxes
    classes: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    box_weights: NDArray[np.float32]
    partial: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.classes)

    def replace(self, **changes: NDArray[np.generic]) -> Labelled:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def where(self, mask: NDArray[np.bool_]) -> Labelled:
        """The faces for which the (F,) `mask` is true."""
        return Labelled(*(getattr(self, f.name)[mask] for f in dataclasses.fields(self)))

    @classmethod
    def join(cls, parts: list[Labelled]) -> Labelled:
        """All faces of several pictures in one list."""
        return cls(
            *(np.concatenate([getattr(p, f.name) for p in parts]) for f in dataclasses.fields(cls))
        )


def draw_view(
    image: Image,
    faces: Labelled,
    size: tuple[int, int],
    config: AugmentConfig,
    random: Random,
    focus: Boxes | None = None,
) -> tuple[Image, Labelled]:
    """Draw one random view of a photograph.

    Args:
        image: (H, W, 3) RGB.
        faces: Its faces, in pixels of the photograph.
        size: Width and height of the view, in pixels.
        config: How to vary it.
        random: Source of randomness.
        focus: (K, 4) corners; if there are any, the view is scaled to give one of them a random
            size.

    Returns:
        The view and its faces in pixels of the view.
    """
    matrix = _random_matrix(image, faces, size, config, random, focus)
    moved = move_faces(faces, matrix, size, config)
    image, matrix = _halved_if_much_larger(image, matrix)
    fill = random.integers(0, 256, 3).tolist() if random.random() < 0.5 else [_GREY] * 3
    view = cv2.warpAffine(
        image, _between_centres(matrix), size, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )
    return np.asarray(view, np.uint8), moved


def whole_view(
    image: Image, faces: Labelled, size: int, config: AugmentConfig
) -> tuple[Image, Labelled]:
    """The photograph as :func:`facemask_zoo.ssd.preprocess` shows it to the network."""
    height, width = image.shape[:2]
    matrix = np.array([[size / width, 0, 0], [0, size / height, 0]])
    view = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(view, np.uint8), move_faces(faces, matrix, (size, size), config)


def move_faces(
    faces: Labelled, matrix: NDArray[np.float64], size: tuple[int, int], config: AugmentConfig
) -> Labelled:
    """Carry boxes over into a view; those hardly in view are dropped or ignored.

    Args:
        faces: Faces in pixels of the photograph.
        matrix: (2, 3) affine map from the photograph to the view.
        size: Width and height of the view, in pixels.
        config: Gives the limits.
    """
    if not len(faces):
        return faces
    x0, y0, x1, y1 = faces.boxes.T
    centre = np.stack([(x0 + x1) / 2, (y0 + y1) / 2], axis=1) @ matrix[:, :2].T + matrix[:, 2]
    # A turned face keeps its size: the hull of the turned box would be too large.
    scale = np.hypot(matrix[0, :2], matrix[1, :2])
    half = np.stack([x1 - x0, y1 - y0], axis=1) * scale / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    clipped = np.clip(boxes, 0, np.array(size * 2, np.float64))
    sides, visible_sides = boxes[:, 2:] - boxes[:, :2], clipped[:, 2:] - clipped[:, :2]
    visible = visible_sides.prod(1) / np.maximum(sides.prod(1), 1e-9)
    small = np.sqrt(visible_sides.prod(1)) < config.min_face
    ignored = faces.ignored | small | (visible < config.min_visible)
    return faces.replace(boxes=clipped, ignored=ignored).where(visible > 0.05)


def vary_colours(image: Image, config: AugmentConfig, random: Random) -> Image:
    """Change colours, sharpness, noise and compression at random.

    Args:
        image: (H, W, 3) RGB.
        config: How strongly and how often.
        random: Source of randomness.
    """
    image = _colour(image, config, random)
    if random.random() < config.blur:
        image = _blur(image, random)
    if random.random() < config.noise:
        noise = random.normal(0, random.uniform(2, 10), image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if random.random() < config.jpeg:
        image = _jpeg(image, int(random.integers(25, 80)))
    return image


def _random_matrix(
    image: Image,
    faces: Labelled,
    size: tuple[int, int],
    config: AugmentConfig,
    random: Random,
    focus: Boxes | None,
) -> NDArray[np.float64]:
    """The (2, 3) affine map of a random view."""
    height, width = image.shape[:2]
    frame = np.array([size[0] / width, size[1] / height])
    if focus is None or not len(focus):
        scale, centre = _random_scale(faces.boxes, (width, height), frame, config, random)
    else:
        scale, centre = _zoomed(focus, (width, height), frame, config, random)
    stretch = config.stretch ** random.uniform(-0.5, 0.5)
    scale = scale * np.array([stretch, 1 / stretch])
    turn = np.deg2rad(random.uniform(-1, 1) * config.rotation) if random.random() < 0.3 else 0.0
    mirror = -1.0 if random.random() < config.flip else 1.0
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = rotation @ np.diag(scale * np.array([mirror, 1.0]))
    offset = np.array(size) / 2 - linear @ centre
    return np.concatenate([linear, offset[:, None]], axis=1)


def _halved_if_much_larger(
    image: Image, matrix: NDArray[np.float64]
) -> tuple[Image, NDArray[np.float64]]:
    """A view reads four pixels for each of its own: much larger photographs are averaged first."""
    if abs(np.linalg.det(matrix[:, :2])) >= _HALF_AREA:
        return image, matrix
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.asarray(half, np.uint8), matrix * np.array([2.0, 2.0, 1.0])


def _between_centres(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same map for OpenCV, which counts from the centre of the first pixel, not its corner."""
    half = np.full(2, 0.5)
    offset = matrix[:, :2] @ half + matrix[:, 2] - half
    return np.concatenate([matrix[:, :2], offset[:, None]], axis=1)


def _random_scale(
    boxes: Boxes,
    photo: tuple[int, int],
    frame: NDArray[np.float64],
    config: AugmentConfig,
    random: Random,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale in x and y, and the point of the photograph at the view's centre."""
    middle, fit = np.array(photo) / 2, _fit(frame, config)
    kind = random.random()
    if kind < config.whole:
        return fit * 2 ** random.uniform(-0.15, 0.3), middle + photo * random.uniform(
            -0.08, 0.08, 2
        )
    if kind < config.whole + config.zoom_face and len(boxes):
        return _zoomed(boxes, photo, frame, config, random)
    return fit / random.uniform(1, config.max_zoom_out), middle + photo * random.uniform(
        -0.3, 0.3, 2
    )


def _zoomed(
    boxes: Boxes,
    photo: tuple[int, int],
    frame: NDArray[np.float64],
    config: AugmentConfig,
    random: Random,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same for a view that gives one of the boxes a random size."""
    fit = _fit(frame, config)
    box = boxes[random.integers(len(boxes))]
    sides = np.maximum(box[2:] - box[:2], 1) * fit
    low, high = config.face_sizes
    zoom = np.exp(random.uniform(np.log(low), np.log(high))) / np.sqrt(sides.prod())
    zoom = np.clip(zoom, 1 / config.max_zoom_out, config.max_zoom / fit.max())
    # Between the common aspect ratio of photographs and an undistorted picture.
    blend = random.uniform(0, 1)
    scale = zoom * fit ** (1 - blend) * np.sqrt(fit.prod()) ** blend
    around = (box[:2] + box[2:]) / 2
    return scale, _keep_inside(around, scale, photo, frame, random)


def _fit(frame: NDArray[np.float64], config: AugmentConfig) -> NDArray[np.float64]:
    """Scale in x and y at which the whole photograph is seen, as in use."""
    return np.full(2, frame.min()) if config.keep_aspect else frame


def _keep_inside(
    around: NDArray[np.float64],
    scale: NDArray[np.float64],
    photo: tuple[int, int],
    frame: NDArray[np.float64],
    random: Random,
) -> NDArray[np.float64]:
    """A view's centre near a point such that the view shows little beyond the photograph."""
    half = np.array(photo) * frame / scale / 2
    centre = around + random.uniform(-0.8, 0.8, 2) * half
    low, high = np.minimum(half, np.array(photo) / 2), np.maximum(photo - half, np.array(photo) / 2)
    return np.clip(centre, low, high)


def _colour(image: Image, config: AugmentConfig, random: Random) -> Image:
    """Gain, offset and gamma by a table; saturation and hue by a matrix."""
    if random.random() < config.grey:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        image = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
    elif random.random() < 0.6:
        image = np.asarray(cv2.transform(image, _saturation(config.colour, random)), np.uint8)
    strength = config.colour
    gain = np.exp(random.uniform(-0.3, 0.3) * strength + random.uniform(-0.08, 0.08, 3) * strength)
    offset = random.uniform(-0.1, 0.1) * strength
    gamma = np.exp(random.uniform(-0.35, 0.35) * strength)
    ramp = (np.linspace(0, 1, 256)[:, None] ** gamma) * gain + offset
    table = np.clip(ramp * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[:, None, :]), np.uint8)


def _saturation(strength: float, random: Random) -> NDArray[np.float64]:
    """A (3, 3) matrix that changes saturation and turns the hue a little."""
    amount = 1 + random.uniform(-0.5, 0.4) * strength
    angle = random.uniform(-0.15, 0.15) * strength
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross
    turn += (1 - np.cos(angle)) * np.outer(axis, axis)
    luma = np.tile([0.299, 0.587, 0.114], (3, 1))
    return np.asarray(turn @ (amount * np.eye(3) + (1 - amount) * luma))


def _blur(image: Image, random: Random) -> Image:
    height, width = image.shape[:2]
    if random.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.3)), np.uint8)
    factor = random.uniform(0.45, 0.9)
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height)), np.uint8)


def _jpeg(image: Image, quality: int) -> Image:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
