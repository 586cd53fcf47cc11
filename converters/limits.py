"""Bounds on what a file from a stranger may cost."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from facemask_zoo.errors import WeightsError

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Of one file, and of all its tensors together: sixteen times the largest published weights."""

MAX_TEXT_BYTES = 2 * 1024 * 1024
"""Of a description, such as JSON or a prototxt; parsed, it may take 50 times as much."""


class Budget:
    """Bytes that the tensors of one file may still take.

    Many tensors can be made of the same few bytes: a file's size does not bound theirs.
    """

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
            raise WeightsError(f"The tensors of the file take over {MAX_FILE_BYTES} bytes.")
        self._left -= size


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
