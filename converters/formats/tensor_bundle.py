"""TensorFlow's bundle of tensors (``variables.index`` and ``variables.data-...``), read alone.

The index is a table as LevelDB writes it: blocks of sorted keys, of which each leaves out what it
shares with the one before it, a block that points at these, and a footer that points at that one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.limits import MAX_TEXT_BYTES, Budget, read_bytes
from facemask_zoo.converters.protobuf_schema import load, parse, varint
from facemask_zoo.errors import UnsupportedOperationError, WeightsError

FORMAT = "saved_model"

_SCHEMA = load("tensorflow")
_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5  # kind of compression, checksum
_FLOAT = 1
_MAX_ENTRIES = 20_000
_MAX_SHARDS = 100
_MAX_AXES = 8
_MAX_KEY_BYTES = 1024


class TensorBundle:
    """The tensors of a bundle, each read when it is asked for.

    Args:
        prefix: Path of its files without ``.index`` and ``.data-...``.

    Raises:
        WeightsError: The index is missing or damaged.
    """

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        self._budget = Budget()
        self._shards: dict[int, bytes] = {}
        entries = dict(_entries(read_bytes(_with_suffix(prefix, ".index"), MAX_TEXT_BYTES)))
        header = parse(_SCHEMA["BundleHeader"], entries.pop(b"", b""))
        if not 1 <= header.num_shards <= _MAX_SHARDS or header.endianness:
            raise WeightsError("The bundle of variables has no sound header.")
        self._shard_count = int(header.num_shards)
        self._entries: Mapping[bytes, bytes] = entries

    def floats(self, key: bytes) -> NDArray[np.float32]:
        """A tensor of single precision, by its key.

        Raises:
            WeightsError: There is none, or the files are damaged.
        UnsupportedOperationError: It is of another type.
        """
        name = key[:100].decode(errors="replace")
        if key not in self._entries:
            raise WeightsError(f"The bundle has no variable {name!r}.")
        entry = parse(_SCHEMA["BundleEntry"], self._entries[key])
        sizes = [int(each.size) for each in entry.shape.dim[: _MAX_AXES + 1]]
        if entry.dtype != _FLOAT:
            raise UnsupportedOperationError(FORMAT, f"variables of the type {entry.dtype}", name)
        if entry.slices or len(sizes) > _MAX_AXES:
            raise WeightsError(f"The variable {name!r} is no whole tensor.")
        if min(sizes, default=0) < 0 or math.prod(sizes) * 4 != entry.size:
            raise WeightsError(f"The variable {name!r} has {entry.size} bytes, but shape {sizes}.")
        self._budget.spend(entry.size)
        data = self._shard(entry.shard_id)
        if not 0 <= entry.offset <= len(data) - entry.size:
            raise WeightsError(f"The variable {name!r} lies beyond the end of its file.")
        count = entry.size // 4
        return np.frombuffer(data, "<f4", count, entry.offset).reshape(sizes)

    def _shard(self, number: int) -> bytes:
        if not 0 <= number < self._shard_count:
            raise WeightsError(f"The bundle has no part {number}.")
        if number not in self._shards:
            suffix = f".data-{number:05d}-of-{self._shard_count:05d}"
            self._shards[number] = read_bytes(_with_suffix(self._prefix, suffix))
        return self._shards[number]


def _with_suffix(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)


def _entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table, in order."""
    if len(data) < _FOOTER_BYTES or not data.endswith(_MAGIC):
        raise WeightsError("The index of the variables is no table.")
    try:
        footer = memoryview(data)[-_FOOTER_BYTES:]
        _, offset = _handle(footer, 0)  # of a block of other facts
        (index, _) = _handle(footer, offset)
        count = 0
        for _, handle in _block(data, *index):
            for item in _block(data, *_handle(memoryview(handle), 0)[0]):
                count += 1
                if count > _MAX_ENTRIES:
                    raise WeightsError(f"The bundle has over {_MAX_ENTRIES} variables.")
                yield item
    except IndexError as error:
        raise WeightsError("The index of the variables is damaged.") from error


def _handle(data: memoryview, offset: int) -> tuple[tuple[int, int], int]:
    """Where a block begins and how long it is; and what comes after this."""
    begin, offset = varint(data, offset)
    size, offset = varint(data, offset)
    return (begin, size), offset


def _block(data: bytes, begin: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    if begin + size + _TRAILER_BYTES > len(data) or size < 4:
        raise WeightsError("A block of the index lies beyond its end.")
    if data[begin + size]:
        raise WeightsError("The index of the variables is compressed.")
    block = memoryview(data)[begin : begin + size]
    restarts = int.from_bytes(block[-4:], "little")
    end = size - 4 * (restarts + 1)
    if end < 0:
        raise WeightsError("A block of the index is damaged.")
    offset, key = 0, b""
    while offset < end:
        shared, offset = varint(block, offset)
        own, offset = varint(block, offset)
        length, offset = varint(block, offset)
        if shared > len(key) or shared + own > _MAX_KEY_BYTES or offset + own + length > end:
            raise WeightsError("An entry of the index is damaged.")
        key = key[:shared] + bytes(block[offset : offset + own])
        offset += own
        yield key, bytes(block[offset : offset + length])
        offset += length
