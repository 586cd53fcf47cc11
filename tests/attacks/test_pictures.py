"""Pictures that are odd, damaged or lie about themselves, all the way through detection."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from attacks.guarded import MEMORY_BYTES, read_guarded
from attacks.samples import PICTURES, make_sample
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms
from seeded import SMALL

from facemask_zoo import Detector, FaceMaskZooError, ImageError
from facemask_zoo.images import IMAGE_SUFFIXES, load_image, read_size
from facemask_zoo.ssd.boxes import NMS_KINDS
from facemask_zoo.ssd.postprocess import postprocess


@pytest.fixture(scope="module")
def detector(weights):
    """Random weights: some faces are found everywhere."""
    return Detector.load(weights, framework="onnx", conf=0.8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(size=(60, 40)) -> Image.Image:
    across = np.linspace(0, 255, size[0])[None, :].repeat(size[1], 0)
    down = np.linspace(0, 255, size[1])[:, None].repeat(size[0], 1)
    return Image.fromarray(np.stack([across, down, 255 - across], axis=2).astype(np.uint8))


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 2), (1, 20_000), (20_000, 1), (2, 3), (7, 5000), (4000, 3000)]
)
def test_sizes_of_every_kind(detector, size):
    image = np.full((size[1], size[0], 3), 128, np.uint8)
    image[: size[1] // 2] = 30
    result = detector.detect(image)
    assert result.image_size == size
    width, height = size
    assert (result.boxes >= 0).all()
    assert (result.boxes <= (width, height, width, height)).all()
    for drawn in (result.annotate(image), result.blur(image)):
        assert drawn.shape == image.shape
    assert len(result.crops(image)) == len(result)
    result.to_voc(), result.to_yolo(), result.to_json()


@pytest.mark.parametrize("quality", [30, 95])
def test_cmyk_jpegs_have_their_colours(quality):
    """As print shops send them, with Adobe's marker, and so inverted."""
    image = gradient()
    data = encoded(image.convert("CMYK"), "JPEG", quality=quality)
    assert b"Adobe" in data
    difference = load_image(data).astype(int) - np.asarray(image)
    assert np.abs(difference).mean() < 6


def png(width, height, depth, kind, rows: bytes, *before: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    others = b"".join(chunk(part[:4], part[4:]) for part in before)
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + head + others + body + chunk(b"IEND", b"")


def test_sixteen_bits_with_colours_and_transparency():
    colours = struct.pack(">HHH", 0xFFFF, 0x8000, 0x00FF)
    assert load_image(png(1, 1, 16, 2, b"\0" + colours))[0, 0].tolist() == [255, 128, 0]
    clear = struct.pack(">HHHH", 0xFFFF, 0, 0, 0)
    assert load_image(png(1, 1, 16, 6, b"\0" + clear))[0, 0].tolist() == [255, 255, 255]
    half_clear = struct.pack(">HH", 0, 0)
    assert load_image(png(1, 1, 16, 4, b"\0" + half_clear))[0, 0].tolist() == [255, 255, 255]


def test_palettes():
    rows = b"\0\x00\x01\x02"
    colours = b"PLTE" + bytes([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture = load_image(png(3, 1, 8, 3, rows, colours, b"tRNS\xff\xff\x00"))
    assert picture[0].tolist() == [[255, 0, 0], [0, 255, 0], [255, 255, 255]]
    beyond = png(3, 1, 8, 3, b"\0\x00\x01\xff", colours)
    with contextlib.suppress(ImageError):
        load_image(beyond)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_animations_give_their_first_picture(kind, detector):
    first, *others = (Image.new("RGB", (40, 30), c) for c in ("red", "lime", "blue", "white"))
    data = encoded(first, kind, save_all=True, append_images=others, duration=50)
    assert load_image(data)[15, 20].tolist() == pytest.approx([255, 0, 0], abs=8)
    assert detector.detect(data).image_size == (40, 30)


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_orientations_in_every_format_that_has_them(kind, orientation, tmp_path, detector):
    """Pixels, size from the header, and boxes all belong to the upright picture."""
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24] = 220
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    image = Image.fromarray(upright)
    stored = image if inverse is None else image.transpose(Image.Transpose(inverse))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind.lower()}"
    stored.save(path, kind, exif=exif.tobytes(), **({} if kind == "TIFF" else {"quality": 95}))
    loaded = load_image(path).astype(int)
    assert loaded.shape == upright.shape
    assert np.abs(loaded - upright).mean() < 4
    assert read_size(path) == (48, 32)
    assert detector.detect(path).image_size == (48, 32)


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_orientations_that_do_not_exist_change_nothing(value):
    exif = Image.Exif()
    exif[0x0112] = value
    data = encoded(gradient(), "PNG", exif=exif.tobytes())
    np.testing.assert_array_equal(load_image(data), np.asarray(gradient()))


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0" + b"\xff" * 60, b"x" * 3000])
def test_damaged_exif_is_no_reason_to_refuse(exif):
    data = encoded(gradient(), "JPEG", exif=exif)
    assert load_image(data).shape == (40, 60, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_icc_profiles_good_and_bad_are_passed_over(kind):
    good = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (good, good[:100], b"\xff" * 5000):
        data = encoded(
            gradient(), kind, icc_profile=profile, **({} if kind == "TIFF" else {"quality": 95})
        )
        assert np.abs(load_image(data).astype(int) - np.asarray(gradient())).mean() < 4


@pytest.mark.parametrize("kind", PICTURES)
def test_every_length_of_a_picture_that_is_cut_off(kind, tmp_path):
    """Also of none at all; the last bytes of some formats say nothing."""
    data = make_sample(kind, tmp_path).path.read_bytes()
    assert load_image(data).shape == (24, 32, 3)
    for length in {*range(0, len(data), max(1, len(data) // 60)), len(data) - 1} - {len(data)}:
        try:
            image = load_image(data[:length])
        except ImageError:
            continue
        assert image.shape == (24, 32, 3)
        assert length > len(data) * 0.5


HUGE = 60_000


def claims(kind: str) -> bytes:
    """A small file that claims 60,000 x 60,000 pixels."""
    small = encoded(Image.new("RGB", (300, 200)), kind)
    pairs = {
        "JPEG": (struct.pack(">HH", 200, 300), struct.pack(">HH", HUGE, HUGE)),
        "BMP": (struct.pack("<ii", 300, 200), struct.pack("<ii", HUGE, HUGE)),
        "GIF": (struct.pack("<HH", 300, 200), struct.pack("<HH", HUGE, HUGE)),
        "PNG": (struct.pack(">II", 300, 200), struct.pack(">II", HUGE, HUGE)),
        "PPM": (b"300 200", b"60000 60000"),
    }
    if kind == "PNG":
        return png(HUGE, HUGE, 8, 2, b"\0" * 1000)
    old, new = pairs[kind]
    assert old in small
    return small.replace(old, new)


@pytest.mark.parametrize("kind", ["JPEG", "BMP", "GIF", "PNG", "PPM"])
def test_huge_claims_take_no_memory(kind, tmp_path):
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(claims(kind))
    outcome = read_guarded(path)
    assert outcome.error == "ImageError"
    assert outcome.grown_bytes < 30_000_000


@pytest.mark.parametrize("kind", ["JPEG", "BMP", "GIF", "PPM"])
def test_claims_within_the_limit_take_bounded_memory(kind, tmp_path):
    path = tmp_path / f"a.{kind.lower()}"
    data = claims(kind)
    for huge, large in (
        (struct.pack(">HH", HUGE, HUGE), struct.pack(">HH", 8900, 8900)),
        (struct.pack("<ii", HUGE, HUGE), struct.pack("<ii", 8900, 8900)),
        (struct.pack("<HH", HUGE, HUGE), struct.pack("<HH", 8900, 8900)),
        (b"60000 60000", b"8900 8900"),
    ):
        data = data.replace(huge, large)
    path.write_bytes(data)
    outcome = read_guarded(path)
    assert outcome.error in ("", "ImageError")
    assert outcome.grown_bytes < 1.2 * MEMORY_BYTES


def test_polyglots_are_read_as_the_picture_or_refused(portrait):
    script, archive = b"<script>alert(1)</script>", b"PK\x05\x06" + bytes(18)
    for tail in (script, archive, b"%PDF-1.7\n%%EOF", bytes(100_000)):
        np.testing.assert_array_equal(
            load_image(portrait.read_bytes() + tail), load_image(portrait)
        )
    for whole in (
        b"GIF89a/*" + b"\0" * 20 + b"*/=1;alert(1)",
        b"%PDF-1.7\n" + portrait.read_bytes(),
        archive + portrait.read_bytes(),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"push graphic-context\nimage over 0,0 0,0 'https://example.org/a'\n",
    ):
        with pytest.raises(ImageError):
            load_image(whole)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_empty_and_foreign_files_of_every_suffix(suffix, tmp_path):
    for content in (
        b"",
        b"\0",
        b"text",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"RIFF\0\0\0\0WEBP",
    ):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(content)
        with pytest.raises(ImageError):
            load_image(path)


KINDS_OF_ARRAYS = hnp.arrays(
    st.sampled_from([np.uint8, np.uint16, np.int32, np.float16, np.float32, np.float64, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)


@settings(deadline=None)
@given(KINDS_OF_ARRAYS)
def test_any_array_is_a_picture_or_an_image_error(array):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            image = load_image(array)
        except ImageError:
            return
    assert image.dtype == np.uint8
    assert image.shape == (*array.shape[:2], 3)


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(PICTURES))
def test_any_bytes_behind_any_signature_end_in_an_image_error(data, kind):
    start = {
        "JPEG": b"\xff\xd8\xff\xe0", "PNG": b"\x89PNG\r\n\x1a\n", "BMP": b"BM", "TIFF": b"II*\0",
        "WEBP": b"RIFF\x40\0\0\0WEBPVP8 ", "GIF": b"GIF89a", "PPM": b"P6 ",
        "AVIF": b"\0\0\0\x1cftypavif", "HEIF": b"\0\0\0\x18ftypheic",
    }[kind]  # fmt: skip
    with contextlib.suppress(FaceMaskZooError):
        assert load_image(start + data, max_pixels=10**6).dtype == np.uint8


ODD = st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, -1e30, np.nan, np.inf, -np.inf])


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.integers(0, 10**6), ODD), max_size=12),
    st.lists(st.tuples(st.integers(0, 10**6), ODD), max_size=12),
    st.sampled_from(sorted(NMS_KINDS)),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_whatever_a_network_says_faces_are_sound(seed, odd_loc, odd_scores, kind, conf, iou):
    """Outputs with infinities and NaN in them, as a broken driver or file may give."""
    rng = np.random.default_rng(seed)
    loc = rng.normal(0, 2, (SMALL.anchor_count, 4)).astype(np.float32)
    scores = rng.uniform(0, 1, (SMALL.anchor_count, len(SMALL.classes))).astype(np.float32)
    for values, odd in ((loc, odd_loc), (scores, odd_scores)):
        for place, value in odd:
            values.flat[place % values.size] = value
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        boxes, best, ids = postprocess(loc, scores, SMALL, (64, 48), conf=conf, iou=iou, kind=kind)
    assert len(boxes) == len(best) == len(ids)
    assert (np.diff(best) <= 0).all()
    assert np.isfinite(boxes).all()
    assert (boxes >= 0).all()
    assert (boxes <= (64, 48, 64, 48)).all()
    assert np.isfinite(best).all()
    assert (best > conf).all()
