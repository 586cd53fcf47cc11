"""Pictures that are there twice, or nearly: by their bytes and by perceptual hash."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facemask_zoo.datasets.collector import PICTURE_SKIPPED
from facemask_zoo.datasets.types import Dataset, Picture, Problem
from facemask_zoo.errors import ImageError
from facemask_zoo.extras import require
from facemask_zoo.files import sha256_of
from facemask_zoo.images import load_image

DISTANCE = 6
"""Bits, of 64, in which the hashes of near-duplicates may differ."""

_HASH_SIDE = 8
_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two pictures that look alike.

    Attributes:
        first: One of them.
        second: The other, of the other set where two were compared.
        distance: Bits in which their hashes differ; 0 for copies.
    """

    first: Picture
    second: Picture
    distance: int


def find_copies(dataset: Dataset) -> list[Problem]:
    """Files that hold the same bytes as one before them, and files that are listed twice."""
    by_size: dict[int, list[Picture]] = defaultdict(list)
    for picture in dataset.pictures:
        by_size[picture.path.stat().st_size].append(picture)
    candidates = {id(p) for same in by_size.values() if len(same) > 1 for p in same}
    first: dict[str, Picture] = {}
    problems = []
    for picture in dataset.pictures:
        if id(picture) not in candidates:
            continue
        other = first.setdefault(sha256_of(picture.path), picture)
        if other is not picture:
            detail = f"the same file as {other.path}"
            problems.append(Problem("doubled picture", str(picture.path), detail, "kept"))
    return problems


def hash_pictures(
    pictures: Iterable[Picture], problems: list[Problem]
) -> tuple[list[Picture], NDArray[np.bool_]]:
    """Perceptual hashes (imagehash's `phash`) of all pictures that can be read.

    Args:
        pictures: What to hash.
        problems: Where the others are listed.

    Returns:
        The pictures, and (N, 64) bits.

    Raises:
        FrameworkNotInstalledError: imagehash is not installed.
    """
    imagehash = require("imagehash", "data")
    read, bits = [], []
    for picture in pictures:
        try:
            image = Image.fromarray(load_image(picture.path))
        except ImageError as error:
            place = str(picture.path)
            problems.append(Problem("corrupt picture", place, str(error), PICTURE_SKIPPED))
            continue
        read.append(picture)
        bits.append(imagehash.phash(image, hash_size=_HASH_SIDE).hash.ravel())
    return read, np.array(bits, np.bool_).reshape(-1, _HASH_SIDE**2)


def find_pairs(
    first: Sequence[Picture],
    first_bits: NDArray[np.bool_],
    second: Sequence[Picture] | None = None,
    second_bits: NDArray[np.bool_] | None = None,
    *,
    distance: int = DISTANCE,
) -> Iterator[Pair]:
    """Pictures that look alike, of one set, or one of each of two sets.

    Args:
        first: The pictures of one set.
        first_bits: (N, 64) their hashes.
        second: Those of the other.
        second_bits: (M, 64) their hashes.
        distance: Bits that may differ.

    Yields:
        The pairs; of one set, each once.
    """
    within = second is None or second_bits is None
    others, other_bits = (first, first_bits) if second is None else (second, second_bits)
    assert other_bits is not None
    right = other_bits.astype(np.float32)
    for start in range(0, len(first), _BLOCK):
        left = first_bits[start : start + _BLOCK].astype(np.float32)
        # Bits that are set on one side alone: a + b - 2ab.
        apart = left.sum(1)[:, None] + right.sum(1)[None, :] - 2 * left @ right.T
        for row, column in np.argwhere(apart <= distance + 0.5):
            if not within or start + row < column:
                bits = round(float(apart[row, column]))
                yield Pair(first[start + row], others[column], bits)
