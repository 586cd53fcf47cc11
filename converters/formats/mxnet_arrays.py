"""MXNet's ``.params``: a list of named arrays, read and written without MXNet."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.limits import read_bytes
from facemask_zoo.converters.signatures import MXNET_LIST_MAGIC
from facemask_zoo.errors import WeightsError

_ARRAY_MAGIC = 0xF993FAC9
_NUMPY_SHAPE_ARRAY_MAGIC = 0xF993FACA
_DENSE = 0
_CPU = (1, 0)
_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f8"), 2: np.dtype("<f2")}
_FLOAT32 = 0
_MAX_DIMENSIONS = 8

_OWN_NAME = re.compile(r"(?P<layer>\w+)_(?P<part>weight|bias)")
_BACKBONE_NAME = re.compile(r"conv_(?P<index>\d+)(\.1)?\.(?P<part>weight|bias)")
_HEAD_NAME = re.compile(r"(?P<head>(cls|loc)_\d+)_conv\.(?P<step>[01])\.(?P<part>weight|bias)")
_HEAD_STEPS = {"0": "insert_conv2d", "1": "conv"}


def read_arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """All arrays by the keys of the file.

    Raises:
        WeightsError: It is damaged.
    """
    return _Reader(read_bytes(path), path).arrays()


def write_arrays(arrays: Mapping[str, NDArray[np.float32]], path: Path) -> None:
    """Write arrays under keys such as ``arg:conv0_weight``."""
    parts = [struct.pack("<3Q", MXNET_LIST_MAGIC, 0, len(arrays))]
    for values in arrays.values():
        parts += _packed(values)
    parts.append(struct.pack("<Q", len(arrays)))
    for key in arrays:
        name = key.encode()
        parts += [struct.pack("<Q", len(name)), name]
    path.write_bytes(b"".join(parts))


def variable_name(key: str) -> str:
    """The key without the mark for arguments and auxiliary states."""
    return re.sub(r"^(arg|aux):", "", key)


def canonical_name(key: str) -> str:
    """The canonical name of an array: ours, Gluon's, or that of AIZOO's published blocks."""
    key = variable_name(key)
    if match := _BACKBONE_NAME.fullmatch(key):
        return f"conv2d_{match['index']}.{match['part']}"
    if match := _HEAD_NAME.fullmatch(key):
        return f"{match['head']}_{_HEAD_STEPS[match['step']]}.{match['part']}"
    if match := _OWN_NAME.fullmatch(key):
        return f"{match['layer']}.{match['part']}"
    return key


def _packed(values: NDArray[np.float32]) -> list[bytes]:
    head = struct.pack("<IiI", _ARRAY_MAGIC, _DENSE, values.ndim)
    head += struct.pack(f"<{values.ndim}q", *values.shape)
    head += struct.pack("<iii", *_CPU, _FLOAT32)
    return [head, np.ascontiguousarray(values, dtype=_TYPES[_FLOAT32]).tobytes()]


class _Reader:
    """Walks the list of arrays; no length in it is taken on trust."""

    def __init__(self, data: bytes, path: Path) -> None:
        self._data = data
        self._path = path
        self._offset = 0

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """All arrays by the keys of the file."""
        magic, _, count = self._unpack("<3Q")
        if magic != MXNET_LIST_MAGIC:
            raise self._error(f"expected the number {MXNET_LIST_MAGIC:#x}, but got {magic:#x}")
        values = [self._array() for _ in range(self._plausible(count))]
        if self._unpack("<Q") != (count,):
            raise self._error(f"expected {count} names for as many arrays")
        keys = [self._key() for _ in values]
        if len(set(keys)) != count or self._offset != len(self._data):
            raise self._error("names occur twice, or bytes follow the last one")
        return dict(zip(keys, values, strict=True))

    def _array(self) -> NDArray[np.float32]:
        magic, storage, dimensions = self._unpack("<IiI")
        if magic not in (_ARRAY_MAGIC, _NUMPY_SHAPE_ARRAY_MAGIC) or storage != _DENSE:
            raise self._error("an array is not dense or of an unknown version")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise self._error(f"an array claims {dimensions} dimensions")
        shape = self._unpack(f"<{dimensions}q")
        _, _, kind = self._unpack("<iii")
        if kind not in _TYPES or min(shape) < 1:
            raise self._error(f"an array has shape {shape} and the unknown type {kind}")
        raw = self._take(math.prod(shape) * _TYPES[kind].itemsize)
        values = np.frombuffer(raw, _TYPES[kind]).reshape(shape)
        return np.array(values, dtype=np.float32)

    def _key(self) -> str:
        (length,) = self._unpack("<Q")
        try:
            return str(self._take(length), "utf-8")
        except UnicodeDecodeError as error:
            raise self._error("a name is not text") from error

    def _plausible(self, count: int) -> int:
        """An array takes more than a byte, so there cannot be more of them than bytes."""
        if count > len(self._data):
            raise self._error(f"it claims {count} arrays")
        return count

    def _unpack(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))

    def _take(self, length: int) -> memoryview:
        end = self._offset + length
        if end > len(self._data):
            raise self._error(f"{length} bytes are expected at {self._offset}, past its end")
        piece = memoryview(self._data)[self._offset : end]
        self._offset = end
        return piece

    def _error(self, what: str) -> WeightsError:
        return WeightsError(f"{self._path}: not a whole list of MXNet arrays: {what}.")
