"""Small pictures to annotate."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_picture(path: Path, size: tuple[int, int] = (40, 30), **options: object) -> Path:
    """A picture of noise; `size` is width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def picture():
    return write_picture
