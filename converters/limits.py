"""Bounds on what a file from a stranger may cost."""

from __future__ import annotations

from pathlib import Path

from facemask_zoo.errors import WeightsError

MAX_FILE_BYTES = 256 * 1024 * 1024


def read_bytes(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """The content of a file of bounded size.

    Raises:
        WeightsError: There is no such file, it cannot be read, or it is over the limit.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise WeightsError(f"Cannot read {path}: {error.strerror}.") from error
    if len(data) > limit:
        raise WeightsError(f"{path} is larger than the {limit} bytes that weights may have.")
    return data
