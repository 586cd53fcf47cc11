"""The few things that a data set needs to know about picture files."""

from __future__ import annotations

from pathlib import Path

from facemask_zoo.images import IMAGE_SUFFIXES, read_size

__all__ = ["list_pictures", "read_size"]


def list_pictures(folder: Path) -> list[Path]:
    """All picture files below a folder, sorted; hidden folders hold what is not whole yet."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
