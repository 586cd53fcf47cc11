"""What a written file is tried on: the same numbers every time, and a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.images import ImageSource, load_image
from facemask_zoo.model import Model

_NOISE_SEED = 1
_DRAWING_HEIGHT, _DRAWING_WIDTH = 300, 400


@dataclasses.dataclass(frozen=True)
class Sample:
    """One input of the network.

    Attributes:
        name: What it is.
        values: (...) float32 in the shape of the network's input, 0..1.
        image_size: Width and height of the picture it was made from, in pixels.
    """

    name: str
    values: NDArray[np.float32]
    image_size: tuple[int, int]

    @property
    def has_detail(self) -> bool:
        """Whether not all its pixels are equal; else neighbours score the same but for rounding."""
        return bool(self.values.std() > 0)


def make_samples(model: Model, pictures: Iterable[ImageSource] = ()) -> list[Sample]:
    """Zeros, a half, noise, and pictures where the network sees such.

    Args:
        model: What they are for.
        pictures: Any form that :func:`facemask_zoo.images.load_image` takes; a drawing if empty.

    Raises:
        ImageError: A picture cannot be read.
        InvalidArgumentError: The network sees no pictures, but some are given.
    """
    shape = model.graph.input_shape
    pictures = list(pictures)
    noise = np.random.Generator(np.random.PCG64(_NOISE_SEED)).random(shape)
    plain = {
        "zeros": np.zeros(shape),
        "half": np.full(shape, 0.5),
        "noise": noise,
    }
    size = (shape[-1], shape[-2]) if len(shape) == 3 else (1, 1)
    samples = [Sample(name, values.astype(np.float32), size) for name, values in plain.items()]
    if len(shape) != 3 or shape[0] != 3:
        if pictures:
            raise InvalidArgumentError(
                f"pictures: the network's input is {shape}, and no picture of three channels."
            )
        return samples
    images = {_name(picture, index): load_image(picture) for index, picture in enumerate(pictures)}
    prepare = model.card.preprocessing
    for name, image in (images or {"drawing": drawing()}).items():
        height, width = image.shape[:2]
        samples.append(Sample(name, prepare(image, *shape[1:]), (width, height)))
    return samples


def check_pictures(pictures: NDArray[np.float32]) -> None:
    """See that there is something to find the ranges of 8-bit integers with.

    Raises:
        InvalidArgumentError: There is no picture.
    """
    if not len(pictures):
        raise InvalidArgumentError("8-bit integers need pictures to find their ranges with.")


def drawing() -> NDArray[np.uint8]:
    """(300, 400, 3) RGB: a masked face in front of a wall, for where there is no photograph."""
    y, x = np.mgrid[:_DRAWING_HEIGHT, :_DRAWING_WIDTH]
    image = np.stack([90 + y // 4, 110 + x // 8, 140 + (x + y) // 10], axis=2)

    def paint(center: tuple[int, int], radii: tuple[int, int], colour: tuple[int, ...]) -> None:
        inside = ((x - center[0]) / radii[0]) ** 2 + ((y - center[1]) / radii[1]) ** 2 <= 1
        image[inside] = colour

    paint((200, 145), (72, 95), (60, 40, 30))  # hair
    paint((200, 160), (62, 82), (224, 178, 150))  # face
    for eye in (174, 226):
        paint((eye, 140), (12, 6), (250, 250, 250))
        paint((eye, 140), (5, 5), (50, 35, 30))
    paint((200, 200), (50, 38), (150, 200, 225))  # mask
    return np.asarray(image, np.uint8)


def _name(picture: ImageSource, index: int) -> str:
    return Path(picture).name if isinstance(picture, str | Path) else f"picture {index + 1}"
