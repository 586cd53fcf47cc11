"""Batches of faces for a landmark network, varied in PyTorch, all of a batch at once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facemask_zoo.datasets.face_crops import FaceCrops
from facemask_zoo.datasets.landmarks import MIRRORED
from facemask_zoo.tasks.landmarks import MARGIN
from facemask_zoo.tasks.letterbox import GREY
from facemask_zoo.training.landmark_config import FaceAugmentConfig

_HIDING = (0.1, 0.4)


@dataclasses.dataclass(frozen=True)
class FaceBatch:
    """Inputs and what is to be said of them.

    Attributes:
        images: (N, 3, S, S) float32 RGB, 0..1.
        points: (N, 68, 2) in sides of the input, from its middle.
        poses: (N, 3) yaw, pitch and roll in radians.
    """

    images: Tensor
    points: Tensor
    poses: Tensor


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where in its crop each input lies: turned by `angle`, `side` of the crop wide.

    Attributes:
        middle: (N, 2) in sides of the crop.
        side: (N,) in sides of the crop.
        angle: (N,) radians; the face turns clockwise.
    """

    middle: Tensor
    side: Tensor
    angle: Tensor

    def sample(self, crops: Tensor, size: int) -> Tensor:
        """(N, 3, C, C) pictures, 0..1, to (N, 3, size, size); grey beside the crop."""
        cosine, sine = torch.cos(self.angle) * self.side, torch.sin(self.angle) * self.side
        shift = 2 * self.middle - 1
        rows = [cosine, sine, shift[:, 0], -sine, cosine, shift[:, 1]]
        matrix = torch.stack(rows, dim=1).reshape(-1, 2, 3)
        grid = functional.affine_grid(matrix, [len(crops), 3, size, size], align_corners=False)
        grey = GREY / 255
        seen = functional.grid_sample(crops - grey, grid, align_corners=False)
        return seen + grey

    def place(self, points: Tensor) -> Tensor:
        """(N, P, 2) points in sides of the crop, to sides of the input from its middle."""
        x, y = ((points - self.middle[:, None]) / self.side[:, None, None]).unbind(-1)
        cosine, sine = torch.cos(self.angle)[:, None], torch.sin(self.angle)[:, None]
        return torch.stack([cosine * x - sine * y, sine * x + cosine * y], dim=-1)


class FaceBatches:
    """Draws batches; the same number gives the same batch.

    Args:
        crops: What to draw from.
        size: Side of the network's input, in pixels.
        batch_size: Faces per batch.
        augment: How they are varied.
        margin: Side of the crops, in longer sides of a face's box.
        seed: Of everything random.
    """

    def __init__(
        self,
        crops: FaceCrops,
        size: int,
        batch_size: int,
        augment: FaceAugmentConfig,
        margin: float,
        seed: int,
    ) -> None:
        self._crops = crops
        self._size = size
        self._batch_size = batch_size
        self._augment = augment
        self._side = MARGIN / margin
        self._seed = seed

    def __getitem__(self, step: int) -> FaceBatch:
        """The batch of one step; every face comes up once before any comes again."""
        count = len(self._crops)
        places = np.arange(step * self._batch_size, (step + 1) * self._batch_size)
        chosen = np.array([self._order(place // count)[place % count] for place in places])
        random = np.random.default_rng([self._seed, 1, step])
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        masked = random.random(len(chosen)) < self._augment.masked
        copies = random.integers(self._crops.masked.shape[1], size=len(chosen))
        pixels = [
            self._crops.masked[face, copy] if mask else self._crops.bare[face]
            for face, mask, copy in zip(chosen, masked, copies, strict=True)
        ]
        batch = as_batch(np.stack(pixels), self._crops.points[chosen], self._crops.poses[chosen])
        batch = _mirror(batch, random.random(len(chosen)) < 0.5)
        return self._vary(batch, generator)

    def plain(self, masked: bool) -> Iterator[FaceBatch]:
        """Every face as the network sees it in use, unvaried."""
        crops = self._crops.masked[:, 0] if masked else self._crops.bare
        for start in range(0, len(crops), self._batch_size):
            part = slice(start, start + self._batch_size)
            batch = as_batch(crops[part], self._crops.points[part], self._crops.poses[part])
            count = len(batch.images)
            middle, side = torch.full((count, 2), 0.5), torch.full((count,), self._side)
            yield _placed(batch, Placement(middle, side, torch.zeros(count)), self._size)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self._seed, 0, int(epoch)]).permutation(len(self._crops))

    def _vary(self, batch: FaceBatch, generator: torch.Generator) -> FaceBatch:
        config, count = self._augment, len(batch.images)
        low, high = (self._side / factor for factor in reversed(config.scale))
        side = low + (high - low) * torch.rand(count, generator=generator)
        shift = (2 * torch.rand(count, 2, generator=generator) - 1) * config.shift
        angle = torch.randn(count, generator=generator) * math.radians(config.rotation)
        placement = Placement(0.5 + shift * side[:, None], side, angle.clamp(-1.2, 1.2))
        placed = _placed(batch, placement, self._size)
        images = _hidden(_lit(placed.images, config, generator), config, generator)
        images = _blurred(images, config, generator)
        strength = config.noise * torch.rand(count, 1, 1, 1, generator=generator) ** 2
        images = images + strength * torch.randn(images.shape, generator=generator)
        return dataclasses.replace(placed, images=images.clamp(0, 1))


def as_batch(
    pixels: NDArray[np.uint8], points: NDArray[np.float32], poses: NDArray[np.float32]
) -> FaceBatch:
    """Crops as they are stored, as tensors; points stay in sides of the crop."""
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
    return FaceBatch(images, torch.from_numpy(points), torch.deg2rad(torch.from_numpy(poses)))


def _placed(batch: FaceBatch, placement: Placement, size: int) -> FaceBatch:
    turned = torch.stack([torch.zeros_like(placement.angle)] * 2 + [placement.angle], dim=1)
    return FaceBatch(
        placement.sample(batch.images, size), placement.place(batch.points), batch.poses + turned
    )


def _mirror(batch: FaceBatch, chosen: NDArray[np.bool_]) -> FaceBatch:
    which = torch.from_numpy(chosen)
    images, points, poses = batch.images.clone(), batch.points.clone(), batch.poses.clone()
    images[which] = images[which].flip(3)
    order = torch.from_numpy(MIRRORED)
    points[which] = points[which][:, order] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    poses[which] *= torch.tensor([-1.0, 1.0, -1.0])
    return FaceBatch(images, points, poses)


def _lit(images: Tensor, config: FaceAugmentConfig, generator: torch.Generator) -> Tensor:
    """Other contrast, brightness and colours, and some in grey."""
    count = len(images)

    def factor(channels: int, share: float) -> Tensor:
        random = 2 * torch.rand(count, channels, 1, 1, generator=generator) - 1
        return 1 + random * config.light * share

    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - middle) * factor(1, 1.4) + middle * factor(1, 1.4) * factor(3, 0.4)
    grey = torch.rand(count, 1, 1, 1, generator=generator) < 0.1
    return torch.where(grey, images.mean(dim=1, keepdim=True), images)


def _hidden(images: Tensor, config: FaceAugmentConfig, generator: torch.Generator) -> Tensor:
    """A rectangle of one colour over some of the faces."""
    count, _, height, width = images.shape
    least, most = _HIDING
    size = least + (most - least) * torch.rand(count, 2, generator=generator)
    corner = torch.rand(count, 2, generator=generator) * (1 - size)
    y = (torch.arange(height) + 0.5)[None, :] / height
    x = (torch.arange(width) + 0.5)[None, :] / width
    rows = (y >= corner[:, :1]) & (y < (corner + size)[:, :1])
    columns = (x >= corner[:, 1:]) & (x < (corner + size)[:, 1:])
    chosen = torch.rand(count, 1, 1, generator=generator) < config.hide
    inside = (rows[:, :, None] & columns[:, None, :] & chosen)[:, None]
    return torch.where(inside, torch.rand(count, 3, 1, 1, generator=generator), images)


def _blurred(images: Tensor, config: FaceAugmentConfig, generator: torch.Generator) -> Tensor:
    """Some of the faces as if they had been small: shrunk to one size and enlarged again."""
    size = images.shape[-1]
    small = int(torch.randint(config.smallest, size, (), generator=generator))
    chosen = torch.rand(len(images), generator=generator) < config.blur
    if not chosen.any():
        return images
    shrunk = functional.interpolate(images[chosen], small, mode="bilinear", antialias=True)
    images = images.clone()
    images[chosen] = functional.interpolate(shrunk, size, mode="bilinear")
    return images
