"""The few things that a data set needs to know about picture files."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from facemask_zoo.errors import ImageError
from facemask_zoo.images import IMAGE_SUFFIXES

_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)


def read_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright picture, from its header alone.

    Raises:
        ImageError: It is missing or no picture.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            sideways = image.getexif().get(_EXIF_ORIENTATION) in _SIDEWAYS
            return (height, width) if sideways else (width, height)
    except Exception as error:  # Pillow's decoders let many unrelated types through
        raise ImageError(f"{path} cannot be read: {error}") from error


def list_pictures(folder: Path) -> list[Path]:
    """All picture files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
