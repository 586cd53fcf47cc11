"""The recorded configuration of a landmark network's training."""

from __future__ import annotations

import dataclasses
from typing import Any

from facemask_zoo.architectures.landmarks import LandmarkNetwork
from facemask_zoo.structuring import structure
from facemask_zoo.training.config import ScheduleConfig

ARCHITECTURE = "landmarks"


@dataclasses.dataclass(frozen=True)
class CropsConfig:
    """What to learn from.

    Attributes:
        file: Crops that ``python -m facemask_zoo.masks.face_crops`` made.
        margin: Side of the crops, in longer sides of a face's box.
        held_out: Share of the groups of pictures that is only measured.
    """

    file: str
    margin: float = 1.75
    held_out: float = 0.06


@dataclasses.dataclass(frozen=True)
class FaceAugmentConfig:
    """How faces are varied.

    Attributes:
        masked: Share of the samples that wear a mask.
        rotation: Standard deviation of the rotation, in degrees.
        scale: Smallest and largest size of a face, as factors.
        shift: Largest shift along each axis, in sides of the input.
        light: Largest change of brightness, contrast and each colour.
        blur: Share of the samples that are shrunk and enlarged again.
        smallest: Least side that these are shrunk to, in pixels.
        noise: Largest standard deviation of the noise, 0..1.
        hide: Share of the samples in which a rectangle hides a part.
    """

    masked: float = 0.5
    rotation: float = 16.0
    scale: tuple[float, ...] = (0.82, 1.2)
    shift: float = 0.07
    light: float = 0.25
    blur: float = 0.3
    smallest: int = 18
    noise: float = 0.05
    hide: float = 0.2


@dataclasses.dataclass(frozen=True)
class LandmarkLossConfig:
    """What is minimised.

    Attributes:
        knee: Where the loss of a point turns from square to linear, in distances of the eyes.
        least_eyes: Least distance of the eyes to divide by, in sides of the input: in profile they
            come together.
        pose: Weight of the pose, in radians, beside the points.
    """

    knee: float = 0.03
    least_eyes: float = 0.2
    pose: float = 0.3


@dataclasses.dataclass(frozen=True)
class LandmarkTrainingConfig:
    """A training run of a landmark network.

    Attributes:
        name: Name of the model.
        summary: What it is, in a sentence.
        network: What to train.
        data: What to train it on.
        schedule: How long and how fast.
        augment: How faces are varied.
        loss: What is minimised.
        seed: Seed of everything random.
        architecture: Name of the network's architecture.
    """

    name: str
    summary: str
    network: LandmarkNetwork
    data: CropsConfig
    schedule: ScheduleConfig
    augment: FaceAugmentConfig = dataclasses.field(default_factory=FaceAugmentConfig)
    loss: LandmarkLossConfig = dataclasses.field(default_factory=LandmarkLossConfig)
    seed: int = 0
    architecture: str = ARCHITECTURE

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> LandmarkTrainingConfig:
        """Read what :meth:`to_dict` wrote, or a TOML table of the same form.

        Raises:
            InvalidArgumentError: A field is missing, of the wrong type or out of range.
            UnknownNameError: There is no such field.
        """
        return structure(values, cls, "configuration")
