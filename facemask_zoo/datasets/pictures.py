"""The few things that a data set needs to know about picture files."""

from __future__ import annotations

import os
from pathlib import Path

from facemask_zoo.images import IMAGE_SUFFIXES, read_size

__all__ = ["list_pictures", "read_size"]


def list_pictures(folder: Path) -> list[Path]:
    """All picture files below a folder, sorted; hidden folders hold what is not whole yet.

    Other processes may write there meanwhile.
    """
    paths: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(parent, name) for name in names]
    return sorted(path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES)
