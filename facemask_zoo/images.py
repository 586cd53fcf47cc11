"""One guarded reader for pictures from strangers."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from facemask_zoo.arguments import check_count
from facemask_zoo.errors import FaceMaskZooError, ImageError
from facemask_zoo.extras import require
from facemask_zoo.files import atomic_path

ImageSource = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | IO[bytes]
    | Image.Image
    | NDArray[np.generic]
)

MAX_PIXELS = 80_000_000
"""Default limit on width x height; larger pictures are refused from their header."""

WRITABLE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes of the pictures that :func:`save_image` writes."""

IMAGE_SUFFIXES = (
    *WRITABLE_SUFFIXES,
    *(".gif", ".avif", ".ppm", ".pgm", ".pbm", ".heic", ".heif"),
)
"""Suffixes of the pictures that are looked for in folders."""

ADDRESS_SCHEMES = ("http://", "https://")

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "PPM")
_HEIF = "HEIF"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
_SIDEWAYS = (5, 6, 7, 8)
_TURNED_BY_PILLOW = ("TIFF",)
_PILLOW_LIMIT = threading.Lock()

# Pictures are converted piece by piece: Pillow's own copies would take five times the result.
_STRIP_ROWS = 256
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_MAX_TILE_PIXELS = 1 << 24


def load_image(source: ImageSource, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a picture as it is meant to be seen.

    EXIF orientation is applied, transparency is laid on white, grey and palette pictures become
    RGB, 16-bit values keep their upper byte, and of several frames the first is taken.

    Args:
        source: One of

            - a path,
            - encoded bytes: bytes, bytearray or memoryview,
            - a file object in binary mode, read from where it stands and left open,
            - a PIL image,
            - an array of shape (H, W, 3) RGB, (H, W, 4) RGBA, or (H, W) or (H, W, 1) grey. Of
              type uint8 it holds 0..255, of type uint16 0..65535, and of a floating-point type
              0..1, however bright the picture: anything outside is refused, never guessed at.
              (H, W, 3) uint8 is returned as it is.

            Addresses are not fetched here: see :func:`facemask_zoo.addresses.fetch_image`.
        max_pixels: Largest width x height accepted; checked before pixels are decoded.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: The picture is missing, damaged, empty, too large or of an unknown kind.
        InvalidArgumentError: `max_pixels` is not a positive integer.
    """
    check_count("max_pixels", max_pixels)
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, Image.Image):
        return _from_pil(source, max_pixels)
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        return _decode(io.BytesIO(data), f"a picture of {len(data)} bytes", max_pixels)
    if isinstance(source, str | os.PathLike):
        _check_is_no_address(source)
        with _file(Path(source)) as file:
            return _decode(file, repr(str(source)), max_pixels)
    if hasattr(source, "read"):
        data = _read_all(source)
        return _decode(io.BytesIO(data), f"a file of {len(data)} bytes", max_pixels)
    raise ImageError(
        "Expected a path, bytes, a file object, a PIL image or an array, "
        f"but got {type(source).__name__}."
    )


def is_one_picture(source: object) -> bool:
    """Whether this stands for one picture, not several; (N, H, W, 3) arrays are several."""
    if isinstance(source, np.ndarray):
        return source.ndim < 4
    single = isinstance(source, str | bytes | bytearray | memoryview | os.PathLike | Image.Image)
    return single or hasattr(source, "read") or not isinstance(source, Iterable)


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
    check_count("max_pixels", max_pixels)
    what = repr(os.fspath(path))
    with _file(Path(path)) as file, _opened(file, what, max_pixels) as image:
        width, height = image.size
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        sideways = orientation in _SIDEWAYS and image.format not in _TURNED_BY_PILLOW
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
    if path.suffix.lower() not in WRITABLE_SUFFIXES:
        raise ImageError(f"Cannot write {path.suffix!r}; known: {', '.join(WRITABLE_SUFFIXES)}.")
    try:
        with atomic_path(path, overwrite=overwrite) as temporary:
            options: dict[str, Any] = {} if quality is None else {"quality": quality}
            Image.fromarray(image).save(temporary, **options)
    except OSError as error:
        raise ImageError(f"Cannot write {str(path)!r}: {error}.") from error


def _from_array(image: NDArray[Any], max_pixels: int) -> NDArray[np.uint8]:
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise ImageError(
            "Expected an array of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), "
            f"but got {image.dtype} of shape {image.shape}."
        )
    _check_size((image.shape[1], image.shape[0]), "the array", max_pixels)
    pixels = _to_bytes(image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] == 4:
        return _to_rgb(Image.fromarray(pixels), "the array")
    return pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)


def _to_bytes(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Values of any type that :func:`load_image` takes, as uint8."""
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return (image >> 8).astype(np.uint8)
    if image.dtype.kind != "f":
        raise ImageError(f"Expected uint8, uint16 or floats 0..1, but got {image.dtype}.")
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):  # also true of NaN
        raise ImageError(
            f"Expected floats from 0 to 1, but got {low:g} to {high:g}. "
            "Divide by 255, or convert to uint8."
        )
    scaled: NDArray[np.uint8] = np.rint(image.astype(np.float32) * 255).astype(np.uint8)
    return scaled


def _from_pil(image: Image.Image, max_pixels: int) -> NDArray[np.uint8]:
    what = "the PIL image"
    _check_size(image.size, what, max_pixels)
    try:
        return _to_rgb(ImageOps.exif_transpose(image), what)
    except ImageError:
        raise
    except Exception as error:  # it may be closed, cut off or damaged: see _opened
        raise ImageError(f"{what} cannot be read: {error}") from error


def _read_all(source: Any) -> bytes:
    try:
        data = source.read()
    except (OSError, ValueError) as error:
        raise ImageError(f"The file object cannot be read: {error}") from error
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ImageError(f"Expected a file object in binary mode, but it gave {type(data)}.")
    return bytes(data)


def _check_is_no_address(source: str | os.PathLike[str]) -> None:
    if os.fspath(source).lower().startswith(ADDRESS_SCHEMES):
        raise ImageError(
            "There is no picture of that name, and addresses are not fetched unless you ask: "
            "pass facemask_zoo.fetch_image(address)."
        )


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
        with _pillow_limit(max_pixels), Image.open(file, formats=_formats(file)) as image:
            _check_size(image.size, what, max_pixels)
            _check_tiles(image, what)
            yield image
    except FaceMaskZooError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{what} is refused: {error}") from error
    except UnidentifiedImageError as error:  # its text names an object in memory, not the picture
        raise ImageError(f"{what} is damaged or is not one of {', '.join(_FORMATS)}.") from error
    except Exception as error:  # Pillow's decoders let many unrelated types through
        raise ImageError(
            f"{what} is damaged or is not one of {', '.join(_FORMATS)}: {error}"
        ) from error


def _formats(file: BinaryIO) -> tuple[str, ...]:
    """What Pillow may take the file for; the reader of HEIF is only imported to read one."""
    start = file.read(12)
    file.seek(0)
    if start[4:8] != b"ftyp" or start[8:12] not in _HEIF_BRANDS:
        return _FORMATS
    require("pillow_heif", "heif").register_heif_opener()
    return (*_FORMATS, _HEIF)


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
    if strip.mode in _PREMULTIPLIED:
        strip = strip.convert(_PREMULTIPLIED[strip.mode])
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
    if Image.MAX_IMAGE_PIXELS is None or max_pixels <= Image.MAX_IMAGE_PIXELS:
        yield
        return
    with _PILLOW_LIMIT:
        previous, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = previous
