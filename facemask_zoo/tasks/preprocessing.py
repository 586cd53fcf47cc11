"""From a picture to a network's input."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.arguments import look_up
from facemask_zoo.errors import InvalidArgumentError, UnknownNameError
from facemask_zoo.ssd.postprocess import WHOLE
from facemask_zoo.ssd.preprocess import resize
from facemask_zoo.tasks.letterbox import Region, letterbox

SQUEEZE, LETTERBOX = "squeeze", "letterbox"
FITS = (SQUEEZE, LETTERBOX)

_MAX_NUMBER = 1e6


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From an RGB picture of bytes to a network's input: resized, then ``(x - mean) / std``.

    Attributes:
        mean: Of each channel, 0..255, in the order of `channels`.
        std: What each channel is divided by, likewise.
        channels: ``"RGB"`` or ``"BGR"``, the order that the network expects.
        fit: ``"squeeze"`` to fill the input, whatever the aspect ratio, as AIZOO does;
            ``"letterbox"`` to keep it, see :func:`facemask_zoo.tasks.letterbox.letterbox`.
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    channels: str = "RGB"
    fit: str = SQUEEZE

    def __post_init__(self) -> None:
        for what, values, least in (("mean", self.mean, -_MAX_NUMBER), ("std", self.std, 1e-6)):
            good = len(values) == 3 and all(
                isinstance(v, int | float) and least <= v <= _MAX_NUMBER for v in values
            )
            if not good:
                raise InvalidArgumentError(f"{what}: expected three numbers, but got {values!r}.")
        if self.channels not in ("RGB", "BGR"):
            raise UnknownNameError.among("channels", self.channels, ("RGB", "BGR"))
        if self.fit not in FITS:
            raise UnknownNameError.among("fit", self.fit, FITS)

    def __call__(self, image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
        """Prepare one picture.

        Args:
            image: (H, W, 3) RGB.
            height: Height of the network's input, in pixels.
            width: Its width.

        Returns:
            (3, height, width) contiguous array.
        """
        prepared = np.empty((3, height, width), np.float32)
        self.place(image, prepared)
        return prepared

    def place(self, image: NDArray[np.uint8], target: NDArray[np.float32]) -> Region:
        """Prepare one picture within a batch, and say where in its input it lies.

        Args:
            image: (H, W, 3) RGB.
            target: (3, height, width) array to fill, of any memory layout.

        Returns:
            The part of the input that the picture fills.
        """
        _, height, width = target.shape
        if self.fit == LETTERBOX:
            resized, region = letterbox(image, height, width)
        else:
            resized, region = resize(image, width, height), WHOLE
        ordered = resized if self.channels == "RGB" else resized[:, :, ::-1]
        if len({*self.mean}) == len({*self.std}) == 1:  # in one step, which is faster
            _normalise(ordered.transpose(2, 0, 1), target, self.mean[0], self.std[0])
        else:
            for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
                _normalise(ordered[:, :, channel], target[channel], mean, std)
        return region


def _normalise(
    values: NDArray[np.uint8], target: NDArray[np.float32], mean: float, std: float
) -> None:
    """``(values - mean) / std`` in float32, into `target`."""
    if mean == 0:
        np.divide(values, np.float32(std), out=target, dtype=np.float32)
        return
    np.subtract(values, np.float32(mean), out=target, dtype=np.float32)
    np.divide(target, np.float32(std), out=target)


PREPROCESSING: dict[str, Preprocessing] = {
    "0..1": Preprocessing(),
    "-1..1": Preprocessing((127.5,) * 3, (127.5,) * 3),
    "0..255": Preprocessing(std=(1.0,) * 3),
    "imagenet": Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": Preprocessing((103.939, 116.779, 123.68), (1.0,) * 3, "BGR"),
}
"""Usual conventions by name: Keras's MobileNets use -1..1, torchvision's networks imagenet."""


def find_preprocessing(name: str | Preprocessing) -> Preprocessing:
    """A convention by name; one that is given comes back.

    Raises:
        UnknownNameError: There is no such convention.
    """
    if isinstance(name, Preprocessing):
        return name
    return look_up("preprocessing", name, PREPROCESSING)
