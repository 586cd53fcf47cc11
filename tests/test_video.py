from __future__ import annotations

import json
import types
from fractions import Fraction

import needs
import numpy as np
import pytest
from places import ROOT
from process import run
from seeded import SMALL, seeded_model

from facemask_zoo import Detector, ImageError, VideoError, model_files
from facemask_zoo.images import load_image, save_image
from facemask_zoo.video import VideoWriter, frames

av = needs.module("av")
FRAMES = 7


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "seeded.safetensors"
    model_files.write(seeded_model(SMALL, 3), path, "safetensors")
    return path


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
