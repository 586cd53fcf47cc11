from __future__ import annotations

import io
import struct
import sys
import zlib

import needs
import numpy as np
import pytest
from PIL import Image

from facemask_zoo import FrameworkNotInstalledError, ImageError, InvalidArgumentError
from facemask_zoo.images import load_image, save_image


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A 1-bit PNG of black pixels, about 24 KB for 14,000 x 14,000."""
    row = b"\0" + bytes((width + 7) // 8)
    compressor = zlib.compressobj(9)
    data = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.fixture
def picture(rng) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})],
)
def test_lossless_formats_come_back_bit_for_bit(picture, kind, options):
    data = encoded(picture, kind, **options)
    np.testing.assert_array_equal(load_image(data), np.asarray(picture))


def test_every_kind_of_source_gives_the_same_pixels(picture, tmp_path):
    path = tmp_path / "größe 😷.png"
    picture.save(path)
    expected = np.asarray(picture)
    for source in (path, str(path), path.read_bytes(), picture, expected):
        np.testing.assert_array_equal(load_image(source), expected)


def test_buffers_and_file_objects_are_read(picture, tmp_path):
    path = tmp_path / "a.png"
    picture.save(path)
    data = path.read_bytes()
    for source in (bytearray(data), memoryview(data), io.BytesIO(data)):
        np.testing.assert_array_equal(load_image(source), np.asarray(picture))
    with path.open("rb") as file:
        np.testing.assert_array_equal(load_image(file), np.asarray(picture))
        assert not file.closed
    with pytest.raises(ImageError, match="cannot be read"):
        load_image(file)
    with pytest.raises(ImageError, match="binary mode"):
        load_image(io.StringIO("text"))


def test_arrays_of_other_kinds(rng):
    grey = rng.integers(0, 256, (5, 7), dtype=np.uint8)
    rgb = np.repeat(grey[:, :, None], 3, axis=2)
    opaque = np.dstack([rgb, np.full((5, 7), 255, np.uint8)])
    wide = grey.astype(np.uint16) << 8
    for array in (grey, grey[:, :, None], opaque, wide):
        np.testing.assert_array_equal(load_image(array), rgb)
    for kind in (np.float16, np.float32, np.float64):
        np.testing.assert_array_equal(load_image((rgb / 255).astype(kind)), rgb)
    assert load_image(np.zeros((2, 2, 4), np.uint8)).tolist() == [[[255] * 3] * 2] * 2
    assert load_image(rgb) is rgb


@pytest.mark.parametrize("value", [1.001, -0.001, 255.0, np.nan, np.inf])
def test_floats_outside_0_to_1_are_refused_and_never_guessed_at(value):
    array = np.full((4, 4, 3), 0.5, np.float32)
    array[0, 0, 0] = value
    with pytest.raises(ImageError, match="floats from 0 to 1"):
        load_image(array)


@pytest.mark.parametrize("kind", ["GIF", "AVIF", "PPM"])
def test_more_formats_are_read(kind, tmp_path):
    drawing = Image.new("RGB", (32, 24), (200, 30, 60))
    image = load_image(encoded(drawing, kind))
    assert image.shape == (24, 32, 3)
    np.testing.assert_allclose(image, np.asarray(drawing), atol=6)


def test_of_several_frames_the_first_is_taken():
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encoded(first, kind, save_all=True, append_images=[second])
        assert load_image(data)[0, 0].tolist() == pytest.approx([255, 0, 0], abs=2)


def test_heif_is_read_with_its_extra():
    heif = needs.module("pillow_heif")
    buffer = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (64, 48), (200, 30, 60))).save(buffer)
    image = load_image(buffer.getvalue())
    assert image.shape == (48, 64, 3)
    np.testing.assert_allclose(image[0, 0], (200, 30, 60), atol=6)
    with pytest.raises(ImageError):
        load_image(buffer.getvalue()[:200])
    with pytest.raises(ImageError, match="64 x 48"):
        load_image(buffer.getvalue(), max_pixels=100)


def test_heif_without_its_extra_says_which(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(FrameworkNotInstalledError, match=r"facemask-zoo\[heif\]"):
        load_image(b"\0\0\0\x18ftypheic" + bytes(100))


def test_pil_images_that_are_closed_or_cut_off_are_errors(rng):
    noise = Image.fromarray(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8))
    data = encoded(noise, "PNG")
    with pytest.raises(ImageError, match="cannot be read"):
        load_image(Image.open(io.BytesIO(data[: len(data) // 2])))
    noise.close()
    with pytest.raises(ImageError, match="cannot be read"):
        load_image(noise)


def test_premultiplied_transparency_is_laid_on_white():
    grey = Image.new("LA", (2, 2), (100, 0))
    assert load_image(grey.convert("La"))[0, 0].tolist() == [255, 255, 255]
    assert load_image(Image.new("RGBA", (2, 2)).convert("RGBa"))[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, None, "9"])
def test_a_limit_that_is_no_positive_integer_is_refused(limit, picture):
    for source in (picture, np.asarray(picture), encoded(picture, "PNG")):
        with pytest.raises(InvalidArgumentError, match="max_pixels"):
            load_image(source, max_pixels=limit)


def test_addresses_are_not_fetched_unless_asked():
    with pytest.raises(ImageError, match="fetch_image"):
        load_image("https://example.org/a.jpg")


def test_jpeg_is_read(portrait):
    image = load_image(portrait)
    assert image.shape == (512, 512, 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation):
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:10, :15] = 200
    inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    image = Image.fromarray(upright)
    stored = image if inverse is None else image.transpose(Image.Transpose(inverse))
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = load_image(encoded(stored, "PNG", exif=exif.tobytes()))
    np.testing.assert_array_equal(loaded, upright)


def test_grey_palette_and_cmyk_become_rgb(picture):
    for mode, kind in (("L", "PNG"), ("1", "PNG"), ("P", "PNG"), ("LA", "PNG"), ("CMYK", "TIFF")):
        image = load_image(encoded(picture.convert(mode), kind))
        assert image.shape == (20, 30, 3), mode
        assert image.dtype == np.uint8


def test_grey_keeps_its_values():
    grey = np.arange(100, dtype=np.uint8).reshape(10, 10)
    loaded = load_image(encoded(Image.fromarray(grey), "PNG"))
    np.testing.assert_array_equal(loaded, np.repeat(grey[:, :, None], 3, axis=2))


def test_transparency_is_laid_on_white():
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0] = (10, 20, 30, 255)
    loaded = load_image(encoded(Image.fromarray(pixels), "PNG"))
    assert loaded[0, 0].tolist() == [10, 20, 30]
    assert loaded[1, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_the_upper_byte(kind):
    values = np.array([[0, 255, 256, 65535]], dtype=np.uint16)
    loaded = load_image(encoded(Image.fromarray(values), kind))
    assert loaded[0, :, 0].tolist() == [0, 0, 1, 255]


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ImageError, match="no picture"):
        load_image(tmp_path / "nothing.jpg")
    with pytest.raises(ImageError, match="no picture"):
        load_image(tmp_path)


def test_text_called_jpg_is_an_error(tmp_path):
    path = tmp_path / "text.jpg"
    path.write_text("This is not a picture.")
    with pytest.raises(ImageError, match=r"text\.jpg.*damaged"):
        load_image(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_a_truncated_picture_is_an_error(rng, kind):
    noise = Image.fromarray(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(ImageError):
        load_image(data[: len(data) // 2])


def test_a_format_nobody_asked_for_is_an_error(picture):
    with pytest.raises(ImageError, match="JPEG, PNG"):
        load_image(encoded(picture, "ICO"))


def test_a_huge_claim_is_refused_before_memory_is_taken():
    resource = pytest.importorskip("resource")
    data = png_that_claims(14_000, 14_000)
    assert len(data) < 40_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match=r"14000 x 14000|196000000|exceeds limit"):
        load_image(data)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20_000  # KiB; the decoded picture would take 588 MB


def test_the_limit_can_be_set():
    data = png_that_claims(64, 64)
    with pytest.raises(ImageError, match="64 x 64"):
        load_image(data, max_pixels=64 * 64 - 1)
    assert load_image(data, max_pixels=64 * 64).shape == (64, 64, 3)
    assert load_image(png_that_claims(16_000, 6_000), max_pixels=10**8).shape == (6000, 16000, 3)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 0, 3), np.uint8),
        np.zeros((0, 5), np.float32),
        np.zeros((5, 5, 2), np.uint8),
        np.zeros((5, 5, 3), np.int64),
        np.zeros((5, 5, 3), bool),
        np.zeros((5, 5, 3), complex),
        np.zeros(5, np.uint8),
        np.zeros((1, 5, 5, 3), np.uint8),
    ],
)
def test_a_wrong_array_is_an_error(array):
    with pytest.raises(ImageError, match=r"array of shape|uint8|empty"):
        load_image(array)


@pytest.mark.parametrize("source", [None, 7, 1.5, ["a.jpg"], {}])
def test_a_wrong_type_is_an_error(source):
    with pytest.raises(ImageError, match="Expected a path"):
        load_image(source)


def test_empty_bytes_are_an_error():
    with pytest.raises(ImageError, match="0 bytes"):
        load_image(b"")


def test_saving_replaces_only_when_whole(tmp_path, picture):
    path = tmp_path / "out.png"
    save_image(np.asarray(picture), path)
    before = path.read_bytes()
    with pytest.raises(ImageError):
        save_image(np.asarray(picture), tmp_path / "out.xyz")
    np.testing.assert_array_equal(load_image(path), np.asarray(picture))
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]
    assert path.read_bytes() == before


def test_the_same_picture_fails_with_the_same_words():
    texts = []
    for _ in range(2):
        with pytest.raises(ImageError, match="damaged") as caught:
            load_image(bytes([255, 216, 0, 7]))
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert "0x" not in texts[0]
