"""From photographs in memory to batches: each batch is a function of the seed and its number."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from facemask_zoo.backends.threads import end_threads_at_forks
from facemask_zoo.training.assignment import Faces
from facemask_zoo.training.augment import (
    AugmentConfig,
    Image,
    Labelled,
    Random,
    draw_view,
    vary_colours,
)
from facemask_zoo.training.photographs import Photograph

_PREFETCH = 4

end_threads_at_forks(cv2.getNumThreads, cv2.setNumThreads)


@dataclasses.dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        pictures: (N, S, S, 3) uint8 RGB.
        faces: The faces of all pictures.
    """

    pictures: Tensor
    faces: Faces


class Batches(Dataset[Batch]):
    """Random batches; item `i` is always the same for one seed, on any number of workers.

    Args:
        photographs: What to draw from.
        size: Side of the network's input, in pixels.
        batch_size: Pictures per batch.
        augment: How to vary them.
        seed: Seed of everything random.
        length: Number of batches.
    """

    def __init__(
        self,
        photographs: Sequence[Photograph],
        size: int,
        batch_size: int,
        augment: AugmentConfig,
        seed: int,
        length: int,
    ) -> None:
        self._photographs = photographs
        self._size = size
        self._batch_size = batch_size
        self._augment = augment
        self._seed = seed
        self._length = length
        weights = np.array([p.weight for p in photographs], np.float64)
        self._cumulative = np.cumsum(weights / weights.sum())

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Batch:
        random = np.random.default_rng([self._seed, index])
        return collate([self._picture(random) for _ in range(self._batch_size)])

    def _picture(self, random: Random) -> tuple[Image, Labelled]:
        if random.random() >= self._augment.mosaic:
            image, faces = self._view((self._size, self._size), random)
        else:
            image, faces = self._mosaic(random)
        return vary_colours(image, self._augment, random), faces

    def _view(self, size: tuple[int, int], random: Random) -> tuple[Image, Labelled]:
        chosen = np.searchsorted(self._cumulative, random.random())
        photo = self._photographs[min(int(chosen), len(self._photographs) - 1)]
        return draw_view(photo.image, photo.faces, size, self._augment, random, photo.focus)

    def _mosaic(self, random: Random) -> tuple[Image, Labelled]:
        """Two, four or nine views side by side, in strips of random widths."""
        size = self._size
        canvas = np.empty((size, size, 3), np.uint8)
        dense = random.random() < self._augment.dense
        columns = _strips(size, 3 if dense else 2, random)
        rows = _strips(size, 3 if dense else int(random.integers(1, 3)), random)
        parts = []
        for top, bottom in rows:
            for left, right in columns:
                view, faces = self._view((right - left, bottom - top), random)
                canvas[top:bottom, left:right] = view
                parts.append(faces.replace(boxes=faces.boxes + np.array([left, top, left, top])))
        return canvas, Labelled.join(parts)


def _strips(size: int, count: int, random: Random) -> list[tuple[int, int]]:
    """Start and end of strips that fill a side."""
    inner = [int(size * (i + random.uniform(-0.3, 0.3)) / count) for i in range(1, count)]
    return list(itertools.pairwise([0, *inner, size]))


def collate(pictures: Sequence[tuple[Image, Labelled]]) -> Batch:
    """Put square pictures of one size and their faces into a batch."""
    size = pictures[0][0].shape[0]
    joined = Labelled.join([faces for _, faces in pictures])
    owners = np.repeat(np.arange(len(pictures)), [len(faces) for _, faces in pictures])
    faces = Faces(
        boxes=torch.from_numpy((joined.boxes / size).astype(np.float32)),
        classes=torch.from_numpy(joined.classes),
        pictures=torch.from_numpy(owners),
        ignored=torch.from_numpy(joined.ignored),
        box_weights=torch.from_numpy(joined.box_weights),
        partial=torch.from_numpy(joined.partial),
    )
    return Batch(torch.from_numpy(np.stack([image for image, _ in pictures])), faces)


def iterate(batches: Batches, first: int, workers: int) -> Iterator[Batch]:
    """The batches from number `first` on, in order.

    Args:
        batches: What to iterate over.
        first: Number of the first batch.
        workers: Processes that draw ahead; 0 draws in this one.
    """
    loader: DataLoader[Batch] = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, len(batches)),
        num_workers=workers,
        prefetch_factor=_PREFETCH if workers else None,
        worker_init_fn=_use_one_thread,
        # The pictures are shared with the workers, not copied.
        multiprocessing_context="fork" if workers else None,
    )
    return iter(loader)


def as_input(pictures: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(N, S, S, 3) uint8 pictures as the network's input, (N, 3, S, S) 0..1, channels last."""
    return pictures.to(device).permute(0, 3, 1, 2).to(torch.float32).div_(255).to(dtype)


def _use_one_thread(_: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
