"""Text that someone else wrote."""

from __future__ import annotations

from pathlib import Path

from facemask_zoo.errors import DatasetError

_MAX_BYTES = 256 << 20


def read_text(file: Path, most: int = _MAX_BYTES) -> str:
    """The content of a text file.

    Args:
        file: UTF-8, with or without a byte order mark.
        most: Bytes it may have.

    Raises:
        DatasetError: It is too large, missing, or not text.
    """
    try:
        if file.stat().st_size > most:
            raise DatasetError(f"{file}: expected at most {most} bytes.")
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file} cannot be read: {error}") from error
