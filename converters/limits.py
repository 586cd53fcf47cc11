"""Bounds on what a file from a stranger may cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from facemask_zoo.errors import WeightsError

Array = NDArray[Any]

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Of one file, and of all its tensors together: sixteen times the largest published weights."""

MAX_TEXT_BYTES = 2 * 1024 * 1024
"""Of a description, such as JSON or a prototxt; parsed, it may take 50 times as much."""


class Budget:
    """Bytes that the tensors of one file may still take.

    Many tensors can be made of the same few bytes: a file's size does not bound theirs.
    """

    what = "The tensors of the file"

    def __init__(self) -> None:
        self._left = MAX_FILE_BYTES

    def spend(self, size: int) -> None:
        """Account for a tensor before its memory is taken.

        Args:
            size: Bytes; any number that a file may claim.

        Raises:
            WeightsError: There is not so much left.
        """
        if not 0 <= size <= self._left:
            raise WeightsError(f"{self.what} take over {MAX_FILE_BYTES} bytes.")
        self._left -= size


class Computed(Budget):
    """Bytes that constants which a reader computes of a file's may still take, and what does so.

    A few nodes can double a constant again and again, or copy it a thousand times.
    """

    what = "Constants that the file computes"

    def cast(self, values: Array, kind: DTypeLike) -> Array:
        """An array of another type; itself if it is of that type already."""
        wanted = np.dtype(kind)
        if values.dtype != wanted:
            self.spend(values.size * wanted.itemsize)
        return values.astype(wanted, copy=False)

    def joined(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        """Arrays side by side; what is a number counts as a list of one."""
        itemsize = np.result_type(*arrays).itemsize
        self.spend(sum(each.size for each in arrays) * itemsize)
        return np.asarray(np.concatenate([np.atleast_1d(each) for each in arrays], axis))

    def reshaped(self, values: Array, shape: Sequence[int]) -> Array:
        """The same numbers in another shape; a copy if they do not lie in this order."""
        if not values.flags.c_contiguous:
            self.spend(values.nbytes)
        return values.reshape(tuple(shape))

    def taken(self, values: Array, places: Array) -> Array:
        """Those of a list of numbers that are at these places."""
        self.spend(places.size * values.itemsize)
        return np.asarray(values[places])

    def broadcast(
        self, function: Callable[..., Array], arrays: Sequence[Array], kind: DTypeLike
    ) -> Array:
        """A function of each number of some arrays and those at its place in the others."""
        shape = np.broadcast_shapes(*(each.shape for each in arrays))
        self.spend(math.prod(shape) * np.result_type(*arrays, kind).itemsize)
        with np.errstate(all="ignore"):
            return np.asarray(function(*arrays), kind)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read; a pipe might never say anything, and a device never end.

    Raises:
        WeightsError: It is neither a file nor a folder.
        OSError: There is no such file, or it cannot be opened.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise WeightsError(f"Cannot read {path}: it is no regular file.")
    return path.open("rb")


def read_bytes(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """The content of a file of bounded size.

    Raises:
        WeightsError: There is no such file, it cannot be read, or it is over the limit.
    """
    try:
        with open_regular(path) as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:  # a zero byte in a name is a ValueError
        raise WeightsError(f"Cannot read {path}: {error}.") from error
    if len(data) > limit:
        raise WeightsError(f"{path} is larger than the {limit} bytes that weights may have.")
    return data
