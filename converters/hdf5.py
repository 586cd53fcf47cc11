"""Arrays and strings out of HDF5 files from strangers, read in a process that may crash."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.limits import MAX_FILE_BYTES
from facemask_zoo.errors import WeightsError

_PROGRAM = Path(__file__).with_name("hdf5_process.py")
_TIMEOUT_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Node:
    """A group or a dataset.

    Attributes:
        children: What a group holds; links that lead out of the file are left out.
        attributes: Strings and lists of strings that are attached to a group.
        values: The numbers of a dataset.
        problem: Why a dataset was not read.
    """

    children: Mapping[str, Node] = dataclasses.field(default_factory=dict)
    attributes: Mapping[str, str | list[str]] = dataclasses.field(default_factory=dict)
    values: NDArray[np.float32] | None = None
    problem: str = "expected a dataset"

    def find(self, path: str) -> Node:
        """The node at a path.

        Args:
            path: Names from here, joined by ``/``.

        Raises:
            WeightsError: There is none.
        """
        node = self
        for name in path.split("/"):
            if name not in node.children:
                raise WeightsError(f"The file holds no dataset or group {path!r}.")
            node = node.children[name]
        return node

    def array(self, path: str) -> NDArray[np.float32]:
        """The float32 dataset at a path; see :meth:`find`.

        Raises:
            WeightsError: There is none, it is of another type, too large, or not in the file.
        """
        node = self.find(path)
        if node.values is None:
            raise WeightsError(f"{path}: {node.problem}.")
        return node.values

    def names(self, key: str) -> list[str]:
        """An attribute that is a list of strings.

        Raises:
            WeightsError: There is none, or it is something else.
        """
        names = self.attributes.get(key)
        if not isinstance(names, list):
            raise WeightsError(f"The file holds no list {key!r}.")
        return names

    def text(self, key: str) -> str | None:
        """An attribute that is one string; None if there is no such attribute."""
        text = self.attributes.get(key)
        return text if isinstance(text, str) else None


def read_hdf5(data: bytes) -> Node:
    """The root group of a file.

    Raises:
        WeightsError: The bytes are no whole HDF5 file, or hold absurdly much.
    """
    command = [sys.executable, "-P", str(_PROGRAM), str(MAX_FILE_BYTES)]
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WeightsError(f"The HDF5 file could not be read: {error}.") from error
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise WeightsError(f"Not a whole HDF5 file: {reason[-1] if reason else 'HDF5 crashed'}.")
    length = int.from_bytes(done.stdout[:8], "little")
    blocks = memoryview(done.stdout)[8 + length :]
    return _node(json.loads(done.stdout[8 : 8 + length]), blocks)[0]


def _node(description: Mapping[str, Any], blocks: memoryview) -> tuple[Node, memoryview]:
    """A node, and the numbers of those that follow it."""
    if "problem" in description:
        return Node(problem=description["problem"]), blocks
    if "shape" in description:
        shape = description["shape"]
        size = 4 * math.prod(shape)
        return Node(values=np.frombuffer(blocks[:size], "<f4").reshape(shape)), blocks[size:]
    children = {}
    for name, child in description["children"].items():
        children[name], blocks = _node(child, blocks)
    return Node(children, description["attributes"]), blocks
