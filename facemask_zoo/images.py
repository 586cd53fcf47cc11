"""One guarded reader for pictures from strangers."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from facemask_zoo.errors import ImageError, InvalidArgumentError
from facemask_zoo.files import atomic_path

ImageSource = str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]

MAX_PIXELS = 80_000_000
"""Default limit on width x height; larger pictures are refused from their header."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_SIDEWAYS = (5, 6, 7, 8)
_PILLOW_LIMIT = threading.Lock()

# Pictures are converted piece by piece: Pillow's own copies would take five times the result.
_STRIP_ROWS = 256
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_MAX_TILE_PIXELS = 1 << 24


def load_image(source: ImageSource, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a picture as it is meant to be seen.

    EXIF orientation is applied, transparency is laid on white, grey and palette pictures become
    RGB, and 16-bit values keep their upper byte.

    Args:
        source: Path, encoded bytes, PIL image, or (H, W, 3) uint8 RGB array (returned as it is).
        max_pixels: Largest width x height accepted; checked before pixels are decoded.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: The picture is missing, damaged, empty, too large or of an unknown kind.
    """
    if isinstance(source, np.ndarray):
        return _check_array(source, max_pixels)
    if isinstance(source, Image.Image):
        _check_size(source.size, "the PIL image", max_pixels)
        return _to_rgb(ImageOps.exif_transpose(source), "the PIL image")
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), f"a picture of {len(source)} bytes", max_pixels)
    if not isinstance(source, str | os.PathLike):
        raise ImageError(
            f"Expected a path, bytes, a PIL image or an array, but got {type(source).__name__}."
        )
    with _file(Path(source)) as file:
        return _decode(file, repr(str(source)), max_pixels)


def load_rgba(
    source: str | os.PathLike[str] | bytes, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Read a picture that is to be laid over another, as it is stored.

    Args:
        source: Path or encoded bytes.
        max_pixels: Largest width x height accepted; checked before pixels are decoded.

    Returns:
        (H, W, 4) uint8 RGB and alpha, colours not multiplied by alpha.

    Raises:
        ImageError: The picture is missing, damaged, too large, or has no transparency.
    """
    if isinstance(source, bytes):
        return _decode_rgba(io.BytesIO(source), f"a picture of {len(source)} bytes", max_pixels)
    with _file(Path(source)) as file:
        return _decode_rgba(file, repr(os.fspath(source)), max_pixels)


def read_size(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height of the picture that :func:`load_image` gives, from the header alone.

    Args:
        path: Picture file.
        max_pixels: Largest width x height accepted.

    Raises:
        ImageError: The picture is missing, damaged, empty, too large or of an unknown kind.
    """
    what = repr(os.fspath(path))
    with _file(Path(path)) as file, _opened(file, what, max_pixels) as image:
        width, height = image.size
        sideways = image.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
        return (height, width) if sideways else (width, height)


def save_image(
    image: NDArray[np.uint8],
    path: str | Path,
    *,
    overwrite: bool = False,
    quality: int | None = None,
) -> None:
    """Write a picture; the suffix says in which format.

    Args:
        image: (H, W, 3) RGB.
        path: Target.
        overwrite: Replace a file that exists, once the new one is whole.
        quality: Of formats that lose something, 1..100; Pillow's choice if None.

    Raises:
        OutputError: The file exists and `overwrite` is False, or it is a folder.
        ImageError: The suffix is unknown or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise ImageError(f"Cannot write {path.suffix!r}; known: {', '.join(IMAGE_SUFFIXES)}.")
    try:
        with atomic_path(path, overwrite=overwrite) as temporary:
            options: dict[str, Any] = {} if quality is None else {"quality": quality}
            Image.fromarray(image).save(temporary, **options)
    except OSError as error:
        raise ImageError(f"Cannot write {str(path)!r}: {error}.") from error


def _check_array(image: NDArray[Any], max_pixels: int) -> NDArray[np.uint8]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            f"Expected a (H, W, 3) uint8 RGB array, but got {image.dtype} of shape {image.shape}."
        )
    _check_size((image.shape[1], image.shape[0]), "the array", max_pixels)
    return image


@contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    try:
        if not path.is_file():  # else it might be a pipe that never says anything
            raise ImageError(f"There is no picture {str(path)!r}.")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise ImageError(f"Cannot read {str(path)!r}: {error}.") from error


def _decode(file: BinaryIO, what: str, max_pixels: int) -> NDArray[np.uint8]:
    with _opened(file, what, max_pixels) as image:
        ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image, what)


def _decode_rgba(file: BinaryIO, what: str, max_pixels: int) -> NDArray[np.uint8]:
    with _opened(file, what, max_pixels) as image:
        if not image.has_transparency_data:
            raise ImageError(f"{what}: expected transparency, but got {image.mode}.")
        return np.asarray(image.convert("RGBA"))


@contextmanager
def _opened(file: BinaryIO, what: str, max_pixels: int) -> Iterator[Image.Image]:
    """The picture behind a checked header; whatever its decoder raises is an ImageError."""
    try:
        with _pillow_limit(max_pixels), Image.open(file, formats=_FORMATS) as image:
            _check_size(image.size, what, max_pixels)
            _check_tiles(image, what)
            yield image
    except (ImageError, InvalidArgumentError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{what} is refused: {error}") from error
    except Exception as error:  # Pillow's decoders let many unrelated types through
        raise ImageError(
            f"{what} is damaged or is not one of {', '.join(_FORMATS)}: {error}"
        ) from error


def _to_rgb(image: Image.Image, what: str) -> NDArray[np.uint8]:
    if image.mode == "F":
        raise ImageError(f"{what} holds floating-point pixels of unknown range.")
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, height)
        pixels[top:bottom] = _strip_to_rgb(image.crop((0, top, width, bottom)))
    return pixels


def _strip_to_rgb(strip: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3), or (H, W, 1) where all channels are the same."""
    if strip.mode in _SIXTEEN_BIT_MODES:
        values = np.clip(np.asarray(strip, dtype=np.int64) >> 8, 0, 255)
        return values.astype(np.uint8)[:, :, None]
    if strip.has_transparency_data:
        layer = strip.convert("RGBA")
        strip = Image.new("RGBA", layer.size, "white")
        strip.alpha_composite(layer)
    return np.asarray(strip.convert("RGB"))


def _check_tiles(image: Image.Image, what: str) -> None:
    """Refuse a TIFF whose tiles are far larger than the picture: they are unpacked whole."""
    tags = getattr(image, "tag_v2", {})
    width, height = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)
    if width * height > max(_MAX_TILE_PIXELS, image.width * image.height):
        raise ImageError(f"{what} is made of tiles of {width} x {height} pixels.")


def _check_size(size: tuple[int, int], what: str, max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{what} is empty: {width} x {height} pixels.")
    if width * height > max_pixels:
        raise ImageError(
            f"{what} claims {width} x {height} pixels; at most {max_pixels} are accepted. "
            "Raise max_pixels to read it."
        )


@contextmanager
def _pillow_limit(max_pixels: int) -> Iterator[None]:
    """Let Pillow open what the caller's higher limit allows; its own limit is a global."""
    if not isinstance(max_pixels, int) or max_pixels < 1:
        raise InvalidArgumentError(f"max_pixels: expected a positive int, but got {max_pixels!r}.")
    if Image.MAX_IMAGE_PIXELS is None or max_pixels <= Image.MAX_IMAGE_PIXELS:
        yield
        return
    with _PILLOW_LIMIT:
        previous, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = previous
