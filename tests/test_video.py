from __future__ import annotations

import json
import os
import types
from fractions import Fraction

import needs
import numpy as np
import pytest
from places import ROOT
from process import run

from facemask_zoo import (
    Detector,
    ImageError,
    InvalidArgumentError,
    TruncatedVideoError,
    VideoError,
)
from facemask_zoo.images import load_image, save_image
from facemask_zoo.runner import detect_and_draw
from facemask_zoo.video import Clip, camera_index, frames
from facemask_zoo.video_writer import VideoWriter

av = needs.module("av")
FRAMES = 7


@pytest.fixture(scope="module")
def video(tmp_path_factory, portrait):
    """Seven frames of the portrait, each brighter than the one before."""
    path = tmp_path_factory.mktemp("video") / "gate.mp4"
    image = load_image(portrait)[:201, :301] // 2
    with VideoWriter(path, Fraction(10)) as writer:
        for index in range(FRAMES):
            writer.write(image + np.uint8(10 * index))
    return path


def test_frames_come_back_in_order_and_end(video):
    read = list(frames(video))
    assert [frame.index for frame in read] == list(range(FRAMES))
    assert all(frame.image.shape == (200, 300, 3) for frame in read)
    assert (np.diff([frame.image.mean() for frame in read]) > 5).all()
    assert read[0].rate == 10


def test_stream_is_lazy_and_numbers_frames(video, weights):
    results = Detector.load(weights, framework="onnx").stream(video)
    assert not isinstance(results, list)
    first = next(results)
    assert (first.source, first.frame) == (str(video), 0)
    assert sum(1 for _ in results) == FRAMES - 1


def test_folders_and_globs_are_sorted(tmp_path, weights, rng):
    for name in ("b.png", "a.jpg", "c.bmp"):
        save_image(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    detector = Detector.load(weights, framework="onnx")
    names = [str(tmp_path / name) for name in ("a.jpg", "b.png", "c.bmp")]
    assert [result.source for result in detector.stream(tmp_path)] == names
    assert [result.source for result in detector.stream(str(tmp_path / "[ab].*"))] == names[:2]
    with pytest.raises(ImageError, match="holds no pictures"):
        list(detector.stream(str(tmp_path / "*.webp")))


def test_a_script_ends_cleanly_at_the_end_of_a_video(video, weights, tmp_path):
    target = tmp_path / "drawn.avi"
    words = ["--img-mode", 0, "--video-path", video, "--model", weights, "--output", target]
    result = run("onnx_infer.py", *words)
    assert result.returncode == 0, result.stderr
    assert len([json.loads(line) for line in result.stdout.splitlines()]) == FRAMES
    assert len(list(frames(target))) == FRAMES


def test_a_missing_or_damaged_video_is_an_error(video, tmp_path):
    with pytest.raises(VideoError, match="no video"):
        list(frames(tmp_path / "missing.mp4"))
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"not a video" * 100)
    with pytest.raises(VideoError, match="Cannot read"):
        list(frames(damaged))
    damaged.write_bytes(video.read_bytes()[:600])
    with pytest.raises(VideoError):
        list(frames(damaged))


def test_a_video_of_huge_frames_is_refused(video):
    with pytest.raises(VideoError, match="300 x 200"):
        list(frames(video, max_pixels=1000))


def test_a_failed_write_leaves_nothing(tmp_path):
    path = tmp_path / "out.mp4"
    with pytest.raises(RuntimeError, match="interrupted"), VideoWriter(path) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
        raise RuntimeError("interrupted")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VideoError, match="known"):
        VideoWriter(tmp_path / "out.gif")


def test_an_absent_camera_is_an_error():
    needs.module("cv2")
    with pytest.raises(VideoError, match="no camera 97"):
        list(frames(97))
    result = run("onnx_infer.py", "--img-mode", 0, "--video-path", 97, cwd=ROOT)
    assert result.returncode == 1


def test_a_camera_that_stops_is_an_error(monkeypatch):
    """No test machine has a camera: the capture object stands in for the driver alone."""
    cv2 = needs.module("cv2")
    pictures = [np.full((4, 4, 3), (1, 2, 3), np.uint8)] * 2
    capture = types.SimpleNamespace(
        isOpened=lambda: True,
        read=lambda: (bool(pictures), pictures.pop() if pictures else None),
        release=lambda: None,
    )
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: capture)
    stream = frames(0)
    assert next(stream).image[0, 0].tolist() == [3, 2, 1]
    next(stream)
    with pytest.raises(VideoError, match="stopped after 2 frames"):
        next(stream)


UNEVEN = [0.0, 0.033, 0.066, 0.3, 0.5, 1.0, 1.01, 1.5, 2.0, 2.04, 3.0]
TONE_RATE = 48_000


def tone(container, stream, seconds: float) -> None:
    """Sound of one channel, as long as asked."""
    for start in range(0, round(seconds * TONE_RATE), 1024):
        wave = np.sin(np.arange(start, start + 1024) * 0.05).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = TONE_RATE, start, Fraction(1, TONE_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def filmed(path, times=UNEVEN, *, sound: float = 0.0, rotation: int = 0, codec="libx264"):
    """A video as a phone makes it: a bright corner at the top left of the stored frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25 if codec == "mpeg4" else 1000)
        if sound:
            voice = container.add_stream("aac", rate=TONE_RATE)
            voice.layout = "mono"
        if rotation:
            stream.set_display_rotation(rotation)
        for time in times:
            image = np.zeros((96, 160, 3), np.uint8)
            image[:24, :24] = 255
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.time_base = stream.codec_context.time_base
            frame.pts = round(time / frame.time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            tone(container, voice, sound)
    return path


def copied(source, target, **options):
    read = list(frames(source))
    with VideoWriter(target, read[0].rate, sound=str(source), **options) as writer:
        for frame in read:
            writer.write(frame.image, frame.time)
    return target


def times_of(path) -> list[float]:
    return [frame.time for frame in frames(path)]


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv", ".mov", ".m4v", ".ts"])
def test_uneven_time_stamps_and_the_length_are_kept(suffix, tmp_path):
    source = filmed(tmp_path / "phone.mp4", sound=3.1)
    assert times_of(source) == pytest.approx(UNEVEN, abs=2e-3)
    target = copied(source, tmp_path / f"copy{suffix}")
    times = np.array(times_of(target))
    np.testing.assert_allclose(times - times[0], UNEVEN, atol=2e-3)
    with av.open(str(target)) as container:
        assert container.duration / 1e6 == pytest.approx(3.1, abs=0.25)


@pytest.mark.parametrize("suffix", [".avi", ".mpg", ".wmv"])
def test_other_containers_hold_every_frame_at_a_constant_rate(suffix, tmp_path):
    even = [index / 25 for index in range(30)]
    source = filmed(tmp_path / "phone.mp4", even)
    assert len(times_of(copied(source, tmp_path / f"copy{suffix}"))) == len(even)


@pytest.mark.parametrize(
    ("suffix", "video", "audio"),
    [(".mp4", "h264", "aac"), (".webm", "vp9", "opus"), (".mkv", "h264", "aac")],
)
def test_browsers_codecs_and_sound(suffix, video, audio, tmp_path):
    even = [index / 25 for index in range(50)]
    source = filmed(tmp_path / "phone.mp4", even, sound=2.0)
    target = copied(source, tmp_path / f"copy{suffix}")
    with av.open(str(target)) as container:
        codecs = [stream.codec_context.name for stream in container.streams]
        assert codecs == [video, audio]
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert samples / TONE_RATE == pytest.approx(2.0, abs=0.15)


def test_sound_is_copied_bit_for_bit_where_the_container_takes_it(tmp_path):
    def packets(path):
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(audio=0) if packet.size]

    source = filmed(tmp_path / "phone.mp4", sound=3.0)
    assert packets(copied(source, tmp_path / "copy.mp4")) == packets(source)


@pytest.mark.parametrize(
    ("rotation", "corner"), [(0, (0, 0)), (90, (-1, 0)), (180, (-1, -1)), (-90, (0, -1))]
)
def test_a_phones_rotation_is_applied(rotation, corner, tmp_path):
    source = tmp_path / "phone.mp4"
    filmed(source, [0.0, 0.1], rotation=rotation)
    image = next(iter(frames(source))).image
    assert image.shape == ((160, 96, 3) if rotation % 180 else (96, 160, 3))
    bright = image[corner[0] * 12 + (12 if corner[0] == 0 else 0), :, 0]
    assert bright[12 if corner[1] == 0 else -12] > 200
    assert image[..., 0].mean() < 60


def test_a_video_that_breaks_off_says_so_after_what_could_be_read(tmp_path):
    even = [index / 25 for index in range(100)]
    whole = filmed(tmp_path / "whole.avi", even, codec="mpeg4")
    assert len(times_of(whole)) == 100
    half = tmp_path / "half.avi"
    half.write_bytes(whole.read_bytes()[: os.path.getsize(whole) // 2])
    seen = []
    with pytest.raises(TruncatedVideoError, match="breaks off"):
        for frame in frames(half):
            seen.append(frame.index)  # what was read counts, whatever is raised
    assert 5 < len(seen) < 60


def test_what_could_be_read_of_a_broken_video_is_drawn(tmp_path, weights):
    even = [index / 25 for index in range(100)]
    whole = filmed(tmp_path / "whole.avi", even, codec="mpeg4")
    half = tmp_path / "half.avi"
    half.write_bytes(whole.read_bytes()[: os.path.getsize(whole) // 2])
    detector = Detector.load(weights, framework="onnx")
    target = tmp_path / "drawn.mp4"
    with pytest.raises(TruncatedVideoError):
        list(detect_and_draw(detector, str(half), target))
    assert 5 < len(times_of(target)) < 60


def test_a_clip_is_a_part_of_a_video(tmp_path):
    source = filmed(tmp_path / "a.mp4", [index / 25 for index in range(50)])
    read = list(frames(source, clip=Clip(every=5, start=0.5, end=1.3)))
    assert [frame.index for frame in read] == [15, 20, 25, 30]
    for wrong in ({"every": 0}, {"start": -1}, {"start": 2, "end": 2}, {"start": float("nan")}):
        with pytest.raises(InvalidArgumentError):
            Clip(**wrong)


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path):
    with VideoWriter(tmp_path / "a.mp4") as writer:
        for size in ((64, 96), (32, 32), (1, 1), (99, 51)):
            writer.write(np.full((*size, 3), 99, np.uint8))
    assert [frame.image.shape for frame in frames(tmp_path / "a.mp4")] == [(64, 96, 3)] * 4


def test_a_playlist_called_a_video_leads_nowhere(tmp_path):
    secret = filmed(tmp_path / "secret.ts", [0.0, 0.1])
    playlist = tmp_path / "list.mp4"
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {secret.name}\n",
    ):
        playlist.write_text(text)
        with pytest.raises(VideoError):
            list(frames(playlist))


def test_which_names_are_cameras(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert camera_index(3) == camera_index("3") == camera_index("camera:3") == 3
    for name in ("camera:", "camera:x", "a.mp4", "-1", "٣"):
        assert camera_index(name) is None
    (tmp_path / "3").write_bytes(b"")
    assert camera_index("3") is None
    assert camera_index("camera:3") == 3
