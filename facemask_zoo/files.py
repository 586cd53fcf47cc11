"""Files that are whole or absent: hashing, and writing under a temporary name first."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from facemask_zoo.errors import WeightsError


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path, sha256: str, size: int) -> None:
    """Make sure that a file is the expected one.

    Raises:
        WeightsError: It is missing, or its size or digest differ.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is missing.")
    actual_size = path.stat().st_size
    if actual_size != size:
        raise WeightsError(f"{path}: expected {size} bytes, but got {actual_size}.")
    actual = sha256_of(path)
    if actual != sha256:
        raise WeightsError(f"{path} was altered: expected sha256 {sha256}, but got {actual}.")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    What is written there may be a file or a folder; on an error nothing stays behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        _flush(temporary)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        os.replace(temporary, path)


def _flush(path: Path) -> None:
    """Wait until the content is on the disk, so that a renamed file is never empty."""
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
