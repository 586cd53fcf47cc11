"""Arrays out of HDF5 files from strangers: nothing outside the file, nothing over its size."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.limits import MAX_FILE_BYTES
from facemask_zoo.errors import WeightsError


@contextlib.contextmanager
def open_hdf5(data: bytes) -> Iterator[Any]:
    """The root group of a file in memory.

    Raises:
        WeightsError: The bytes are no HDF5 file, or something in the block failed to read it.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"Not a whole HDF5 file: {error!r}") from error


def find(root: Any, path: str) -> Any:
    """A group or dataset that the file itself holds; links to elsewhere are not followed.

    Args:
        root: A group.
        path: Names from there, joined by ``/``.

    Raises:
        WeightsError: There is none.
    """
    node = root
    for name in path.split("/"):
        if not isinstance(node, h5py.Group) or not isinstance(
            node.get(name, getlink=True), h5py.HardLink
        ):
            raise WeightsError(f"The file holds no dataset or group {path!r}.")
        node = node[name]
    return node


def read_array(root: Any, path: str) -> NDArray[np.float32]:
    """A float32 dataset; see :func:`find`.

    Raises:
        WeightsError: There is none, it is of another type, too large, or lies outside the file.
    """
    node = find(root, path)
    if not isinstance(node, h5py.Dataset) or node.dtype != np.dtype("<f4"):
        raise WeightsError(f"{path}: expected a float32 dataset.")
    if node.external or node.is_virtual or node.nbytes > MAX_FILE_BYTES:
        raise WeightsError(f"{path}: the dataset is too large, or lies outside the file.")
    return np.asarray(node[()])
