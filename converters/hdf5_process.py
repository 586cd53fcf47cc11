"""Reads an HDF5 file from standard input, as a program of its own.

HDF5's library runs forever, or crashes, on some damaged files; that must not happen to the process
of the user. :mod:`facemask_zoo.converters.hdf5` starts this file by its path, so that nothing is
imported but what is needed here.

Standard output: the length of a JSON text (8 bytes, little-endian), the text, and the numbers.
"""

from __future__ import annotations

import io
import json
import re
import struct
import sys
from typing import Any

import h5py
import numpy as np

_MEMORY_BYTES = 400_000_000
_SECONDS = 5
_MAX_NODES = 4096
_MAX_DEPTH = 12
_MAX_STRINGS = 512
# Where HDF5 keeps strings of variable length. Any number of references may share one.
_HEAP = re.compile(rb"GCOL.{4}(.{8})", re.DOTALL)
_MAX_HEAP_BYTES = 2 * 1024 * 1024


def main(max_bytes: int) -> None:
    """Describe groups, strings and plain float32 datasets.

    Args:
        max_bytes: Of all datasets together.
    """
    _limit_process()
    data = sys.stdin.buffer.read()
    if any(int.from_bytes(size[1], "little") > _MAX_HEAP_BYTES for size in _HEAP.finditer(data)):
        raise ValueError("it holds longer strings than weights need")
    walk = _Walk(max_bytes)
    with h5py.File(io.BytesIO(data), "r") as file:
        text = json.dumps(walk.describe(file, 0)).encode()
    sys.stdout.buffer.write(struct.pack("<Q", len(text)) + text)
    sys.stdout.buffer.writelines(walk.blocks)


class _Walk:
    """Collects the numbers of what it describes."""

    def __init__(self, max_bytes: int) -> None:
        self.blocks: list[bytes] = []
        self._nodes_left = _MAX_NODES
        self._bytes_left = max_bytes

    def describe(self, node: Any, depth: int) -> dict[str, Any]:
        """A group or a dataset, and what lies in it."""
        self._nodes_left -= 1
        if self._nodes_left < 0 or depth > _MAX_DEPTH:
            raise ValueError("its groups hold more than weights need")
        if isinstance(node, h5py.Dataset):
            return self._dataset(node)
        # Soft and external links lead elsewhere and are left out.
        names = [name for name in node if isinstance(node.get(name, getlink=True), h5py.HardLink)]
        children = {name: self.describe(node[name], depth + 1) for name in names}
        return {"children": children, "attributes": _strings(node)}

    def _dataset(self, node: Any) -> dict[str, Any]:
        if problem := self._problem(node):
            return {"problem": problem}
        self._bytes_left -= node.nbytes
        self.blocks.append(np.asarray(node[()]).tobytes())
        return {"shape": list(node.shape)}

    def _problem(self, node: Any) -> str | None:
        plan = node.id.get_create_plist()
        if node.dtype != np.dtype("<f4") or node.shape is None:
            return "expected a float32 dataset"
        # Chunks may be packed, and HDF5 unpacks them to whatever they hold; Keras writes none.
        if plan.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT):
            return "expected numbers in one piece, neither packed nor virtual"
        if plan.get_external_count():
            return "the numbers lie outside the file"
        if node.nbytes > self._bytes_left:
            return "the datasets of the file take over the limit"
        return None


def _strings(node: Any) -> dict[str, str | list[str]]:
    found: dict[str, str | list[str]] = {}
    for key in node.attrs:
        stored = node.attrs.get_id(key)
        if stored.get_type().get_class() != h5py.h5t.STRING:
            if not np.prod(stored.shape):
                found[key] = []  # an empty list has no type of its own
            continue
        if np.prod(stored.shape) > _MAX_STRINGS:
            raise ValueError("it holds longer lists of strings than weights need")
        values = np.asarray(node.attrs[key])
        texts = [text.decode() if isinstance(text, bytes) else str(text) for text in values.flat]
        found[key] = texts if values.ndim else texts[0]
    return found


def _limit_process() -> None:
    if sys.platform != "linux":
        return
    import resource  # which Windows does not have

    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize() + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except Exception as error:  # the one line that the parent repeats
        sys.exit(f"{type(error).__name__}: {error}".splitlines()[0])
