"""Arrays out of HDF5 files from strangers: nothing outside the file, nothing over its size."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.limits import Budget
from facemask_zoo.errors import WeightsError

# Where HDF5 keeps strings of variable length. Any number of references may share one.
_HEAP = re.compile(rb"GCOL.{4}(.{8})", re.DOTALL)
_MAX_HEAP_BYTES = 512 * 1024
_MAX_NAMES = 512


@contextlib.contextmanager
def open_hdf5(data: bytes) -> Iterator[Any]:
    """The root group of a file in memory.

    Raises:
        WeightsError: The bytes are no HDF5 file, or something in the block failed to read it.
    """
    if any(int.from_bytes(size[1], "little") > _MAX_HEAP_BYTES for size in _HEAP.finditer(data)):
        raise WeightsError("The HDF5 file holds longer strings than weights need.")
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            yield file
    except WeightsError:
        raise
    except Exception as error:  # h5py raises many unrelated types on damaged files
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


def read_array(root: Any, path: str, budget: Budget) -> NDArray[np.float32]:
    """A float32 dataset; see :func:`find`.

    Args:
        root: A group.
        path: Names from there, joined by ``/``.
        budget: What the tensors of the file may still take.

    Raises:
        WeightsError: There is none, it is of another type, too large, or not plainly in the file.
    """
    node = find(root, path)
    if not isinstance(node, h5py.Dataset) or node.dtype != np.dtype("<f4"):
        raise WeightsError(f"{path}: expected a float32 dataset.")
    # Chunks may be packed, and HDF5 unpacks them to whatever they hold; Keras writes none.
    if node.id.get_create_plist().get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT):
        raise WeightsError(f"{path}: expected numbers in one piece, neither packed nor virtual.")
    if node.external:
        raise WeightsError(f"{path}: the numbers lie outside the file.")
    budget.spend(node.nbytes)
    return np.asarray(node[()])


def read_names(node: Any, key: str) -> list[str]:
    """An attribute that is a list of strings, as Keras writes them.

    Raises:
        WeightsError: There is none, it is of another type, or too long.
    """
    if key not in node.attrs:
        raise WeightsError(f"The file holds no list {key!r}.")
    count = math.prod(node.attrs.get_id(key).shape)
    if count > _MAX_NAMES:
        raise WeightsError(f"{key}: {count} names are more than {_MAX_NAMES}.")
    names = np.asarray(node.attrs[key]).reshape(-1)
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def read_text(node: Any, key: str) -> str | None:
    """An attribute that is one string; None if there is no such attribute.

    Raises:
        WeightsError: It is something else.
    """
    if key not in node.attrs:
        return None
    stored = node.attrs.get_id(key)
    if stored.shape != () or h5py.check_string_dtype(stored.dtype) is None:
        raise WeightsError(f"{key}: expected a string.")
    text = node.attrs[key]
    return text.decode() if isinstance(text, bytes) else str(text)
