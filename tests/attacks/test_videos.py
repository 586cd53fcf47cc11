"""Videos that are odd, damaged or lie about themselves end in frames or in our own exception."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import needs
import numpy as np
import pytest
from attacks.guarded import read_guarded
from PIL import Image

from facemask_zoo import FaceMaskZooError, TruncatedVideoError, VideoError, cli
from facemask_zoo.video import frame_count, frames
from facemask_zoo.video_writer import VideoWriter

av = needs.module("av")

SIZE = (96, 64)
COUNT = 12


def pictures(size: tuple[int, int] = SIZE, count: int = COUNT) -> list[np.ndarray]:
    """A ramp from left to right that becomes brighter."""
    ramp = np.linspace(0, 150, size[0])[None, :, None] + np.zeros((size[1], 1, 3))
    return [(ramp + 8 * index).astype(np.uint8) for index in range(count)]


def encoded(
    path: Path,
    codec: str,
    images: Sequence[np.ndarray],
    pixels: str = "yuv420p",
    options: dict | None = None,
) -> Path:
    """Written with PyAV alone, in any codec and kind of pixels."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options or {})
        stream.width, stream.height = images[0].shape[1], images[0].shape[0]
        stream.pix_fmt = pixels
        for image in images:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sound_alone(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        stream.layout = "mono"
        for start in range(0, 44100, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.rate, frame.pts, frame.time_base = 44100, start, Fraction(1, 44100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def written(path: Path, images: Sequence[np.ndarray]) -> Path:
    with VideoWriter(path, Fraction(10)) as writer:
        for index, image in enumerate(images):
            writer.write(image, index / 10)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("ten-bit-hevc.mp4", "libx265", "yuv420p10le", {}),
        ("ten-bit.mp4", "libx264", "yuv420p10le", {}),
        ("full-colour.mp4", "libx264", "yuv444p", {}),
        ("grey.mkv", "ffv1", "gray", {}),
        ("sixteen-bit.mkv", "ffv1", "gray16le", {}),
        ("transparent.mkv", "ffv1", "yuva420p", {}),
        ("run-lengths.mov", "qtrle", "rgb24", {}),
        ("rgb.mkv", "ffv1", "bgr0", {}),
        ("motion.avi", "mjpeg", "yuvj420p", {}),
        ("pictures.mov", "png", "rgb24", {}),
    ],
)
def test_pixels_of_every_kind_become_rgb(name, codec, pixels, options, tmp_path):
    path = encoded(tmp_path / name, codec, pictures(), pixels, options)
    read = list(frames(path))
    assert len(read) == COUNT
    for frame, image in zip(read, pictures(), strict=True):
        assert frame.image.dtype == np.uint8
        np.testing.assert_allclose(frame.image, image, atol=14)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (33, 17), (3000, 1)])
def test_odd_sizes(size, tmp_path):
    path = encoded(tmp_path / "odd.mkv", "ffv1", pictures(size, 3), "bgr0")
    assert [frame.image.shape for frame in frames(path)] == [(size[1], size[0], 3)] * 3


def test_a_size_that_changes_midway(tmp_path):
    first = written(tmp_path / "a.ts", pictures()).read_bytes()
    second = written(tmp_path / "b.ts", pictures((48, 80))).read_bytes()
    path = tmp_path / "both.ts"
    path.write_bytes(first + second)
    shapes = {frame.image.shape for frame in frames(path)}
    assert shapes == {(64, 96, 3), (80, 48, 3)}
    drawn = tmp_path / "drawn.mp4"
    assert cli.main(["detect", str(path), "--output", str(drawn), "--framework", "onnx"]) == 0
    assert {frame.image.shape for frame in frames(drawn)} == {(64, 96, 3)}


def test_sound_without_pictures(tmp_path):
    with pytest.raises(VideoError, match="no pictures"):
        list(frames(sound_alone(tmp_path / "sound.mp4")))


def test_no_frames(tmp_path):
    path = tmp_path / "empty.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        container.start_encoding()
    with pytest.raises(VideoError, match=r"no frames|End of file"):
        list(frames(path))


@pytest.mark.parametrize("content", [b"", b"\0", b"RIFF", bytes(5000), b"not a video" * 100])
@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".ts", ".webm", ".mpg", ".wmv"])
def test_what_is_no_video(content, suffix, tmp_path):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(VideoError):
        list(frames(path))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".mov"])
def test_what_is_cut_off_says_so(suffix, tmp_path):
    whole = written(tmp_path / f"whole{suffix}", pictures(count=60)).read_bytes()
    path = tmp_path / f"half{suffix}"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError):
        list(frames(path))


@pytest.mark.parametrize("suffix", [".ts", ".mpg", ".wmv"])
def test_where_the_length_is_not_known_what_is_there_is_read(suffix, tmp_path):
    whole = written(tmp_path / f"whole{suffix}", pictures(count=60)).read_bytes()
    path = tmp_path / f"half{suffix}"
    path.write_bytes(whole[: len(whole) // 2])
    seen: list[int | None] = []
    with contextlib.suppress(TruncatedVideoError):
        seen.extend(frame.index for frame in frames(path))
    assert 5 < len(seen) < 60


def test_a_frame_count_that_is_wrong(tmp_path):
    """1,000 frames in the headers of an AVI that holds 12, then 2."""
    path = encoded(tmp_path / "a.avi", "mpeg4", pictures())
    data = bytearray(path.read_bytes())
    total, length = data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32
    for claim in (1000, 2, 2**32 - 1):
        struct.pack_into("<I", data, total, claim)
        struct.pack_into("<I", data, length, claim)
        path.write_bytes(data)
        assert isinstance(frame_count(str(path)), int)
        seen: list[int | None] = []
        short = pytest.raises(TruncatedVideoError) if claim > COUNT else contextlib.nullcontext()
        with short:
            seen.extend(frame.index for frame in frames(path))
        assert len(seen) == COUNT


def test_a_codec_that_nobody_knows(tmp_path):
    path = encoded(tmp_path / "a.avi", "mpeg4", pictures())
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"QQQQ"))
    with pytest.raises(VideoError, match="cannot be decoded"):
        list(frames(path))


def test_sound_that_nobody_knows_is_left_out(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        voice = container.add_stream("aac", rate=44100)
        voice.layout = "mono"
        for image in pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate, frame.pts, frame.time_base = 44100, 0, Fraction(1, 44100)
        container.mux([*voice.encode(frame), *voice.encode(), *stream.encode()])
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_QQQ"))
    with VideoWriter(tmp_path / "b.mp4", Fraction(10), sound=str(path)) as writer:
        for image in pictures():
            writer.write(image)
    assert len(list(frames(tmp_path / "b.mp4"))) == COUNT


def test_a_huge_frame_behind_small_ones_takes_no_memory(tmp_path):
    """The decoder must refuse it before it takes memory: headers and first frames are modest."""
    buffer = io.BytesIO()
    Image.new("RGB", (10_000, 8_200)).save(buffer, "JPEG")
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
        for image in pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        packet = av.Packet(buffer.getvalue())
        packet.stream, packet.pts, packet.dts = stream, COUNT, COUNT
        packet.time_base = Fraction(1, 10)
        container.mux([*stream.encode(), packet])
    outcome = read_guarded(path)
    assert outcome.error == "TruncatedVideoError"
    assert "after 12 frames" in outcome.message
    assert outcome.grown_bytes < 60_000_000  # the frame would take 123 MB


def test_polyglots_are_one_thing_or_the_other(tmp_path, portrait):
    buffer = io.BytesIO()
    Image.new("RGB", SIZE, "red").save(buffer, "JPEG")
    for name, content in {
        "picture.mp4": portrait.read_bytes(),
        "both.avi": buffer.getvalue() + written(tmp_path / "v.avi", pictures()).read_bytes(),
        "archive.mp4": b"PK\x03\x04" + bytes(500),
        "script.mkv": b"#!/bin/sh\nrm -rf /\n" * 50,
        "page.webm": b"<html><script>fetch('/')</script></html>" * 20,
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        try:
            read = list(frames(path))
        except FaceMaskZooError:
            continue
        assert all(frame.image.ndim == 3 for frame in read)


@pytest.mark.parametrize("command", ["detect", "watch"])
def test_what_a_camera_saw_until_it_stopped_is_kept(command, tmp_path, monkeypatch, capsys):
    """The file stands in for the device: OpenCV reads both, and both end in the same way."""
    cv2 = needs.module("cv2")
    if command == "watch":
        needs.package("edgefirst.tracker")
    path, capture = written(tmp_path / "device.avi", pictures()), cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: capture(str(path)))
    drawn, table = tmp_path / "drawn.mp4", tmp_path / "table.csv"
    option = "--csv" if command == "detect" else "--report"
    words = [command, "camera:0", "--output", drawn, option, table, "--framework", "onnx"]
    assert cli.main([str(word) for word in words]) == 1
    assert f"stopped after {COUNT} frames" in capsys.readouterr().err
    assert len(list(frames(drawn))) == COUNT
    assert table.is_file()
