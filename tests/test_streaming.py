"""Streams: in order, in bounded memory, from several sources, and ended at once."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
import time
from fractions import Fraction

import needs
import numpy as np
import pytest
from process import run

from facemask_zoo import (
    Detector,
    ImageError,
    InvalidArgumentError,
    VideoError,
    streaming,
    video,
)
from facemask_zoo.images import save_image
from facemask_zoo.video import arrives_by_itself
from facemask_zoo.video_writer import VideoWriter

FRAMES = 40


@pytest.fixture(scope="module")
def detector(weights):
    return Detector.load(weights, framework="onnx", threads=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    needs.package("av")
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    with VideoWriter(path, Fraction(25)) as writer:
        for number in range(FRAMES):
            writer.write(np.full((96, 160, 3), 5 * number, np.uint8))
    return path


@pytest.fixture(scope="module")
def transport(clip):
    """The same as cameras send it, which can be read from a socket."""
    av = needs.module("av")
    path = clip.with_suffix(".ts")
    with av.open(str(path), "w", format="mpegts") as target:
        stream = target.add_stream("libx264", rate=25, options={"g": "5", "tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(FRAMES):
            image = np.full((96, 160, 3), 5 * number, np.uint8)
            target.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        target.mux(stream.encode())
    return path.read_bytes()


@pytest.fixture
def camera():
    """Starts a camera on the network, which sends bytes to everyone who asks and hangs up."""
    with contextlib.ExitStack() as stack:

        def start(content: bytes | None) -> str:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            threading.Thread(target=serve, args=(server, content), daemon=True).start()
            return f"tcp://127.0.0.1:{server.getsockname()[1]}"

        yield start


def serve(server, content):
    kept = []
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            if content is None:
                kept.append(connection)
                continue
            with connection:
                connection.sendall(content)


@pytest.fixture
def read_frames(monkeypatch):
    """Frames that were read, whether or not they are used."""
    counted = []

    def count(*arguments):
        for frame in video.frames(*arguments):
            counted.append(frame.index)
            yield frame

    monkeypatch.setattr(streaming, "frames", count)
    return counted


@pytest.fixture(autouse=True)
def _no_thread_stays():
    before = threading.active_count()
    yield
    until = time.monotonic() + 120
    while sum(is_ours(thread) for thread in threading.enumerate()) > 0:
        assert time.monotonic() < until, (before, threading.enumerate())
        time.sleep(0.02)


def is_ours(thread):
    return getattr(thread, "_target", None) in (streaming._read, streaming._detect)


def test_answers_are_those_of_frames_one_by_one(detector, clip):
    expected = [detector.detect_frame(frame) for frame in video.frames(clip)]
    assert list(detector.stream(clip)) == expected
    assert len(expected) == FRAMES


def test_several_sources_are_read_at_once_each_in_order(detector, clip, tmp_path, rng):
    for number in range(5):
        image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        save_image(image, tmp_path / "pictures" / f"{number}.png")
    copy = tmp_path / "copy.mkv"
    copy.write_bytes(clip.read_bytes())
    results = list(detector.stream([clip, copy, tmp_path / "pictures"]))
    for path in (clip, copy):
        numbers = [result.frame for result in results if result.source == str(path)]
        assert numbers == list(range(FRAMES))
    names = [result.source for result in results if result.frame is None]
    assert names == [str(tmp_path / "pictures" / f"{number}.png") for number in range(5)]
    assert len({result.source for result in results[:9]}) > 2


def test_a_file_is_read_no_faster_than_its_results_are_used(detector, clip, read_frames):
    stream = detector.stream(clip, buffer=3)
    assert read_frames == []
    next(stream)
    time.sleep(0.5)
    assert (
        len(read_frames) <= 1 + 3 + 3 + 2
    )  # used, two queues, and one in the hands of each thread
    assert sum(1 for _ in stream) == FRAMES - 1
    assert stream.dropped == 0


def test_of_a_camera_the_newest_frame_is_taken_and_the_others_are_counted(
    detector, camera, transport
):
    numbers = []
    with detector.stream(camera(transport), buffer=1) as stream:
        for result in stream:
            numbers.append(result.frame)
            time.sleep(0.05)
        assert numbers == sorted(numbers)
        assert numbers[-1] == FRAMES - 1
        assert stream.dropped == FRAMES - len(numbers) > 0


def test_a_camera_that_went_away_is_opened_again(detector, camera, transport, caplog):
    numbers, times = [], []
    with detector.stream(camera(transport), reconnect=0.05) as stream:
        while not numbers or numbers[-1] < 2 * FRAMES:
            result = next(stream)
            numbers.append(result.frame)
            times.append(result.time)
    assert (np.diff(numbers) > 0).all()
    assert (np.diff(times) >= 0).all()


def test_it_is_waited_for_a_camera_that_is_not_there_yet(detector, transport, caplog):
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with detector.stream(f"tcp://127.0.0.1:{port}", reconnect=0.05) as stream:
        threading.Timer(0.5, start_late, (port, transport)).start()
        assert next(stream).frame is not None
    assert "tried again in 0.05 s" in caplog.text


def start_late(port, content):
    with socket.create_server(("127.0.0.1", port)) as server:
        connection, _ = server.accept()
        with connection:
            connection.sendall(content)


def test_a_camera_that_never_answers_is_an_error(detector, camera, monkeypatch):
    needs.package("av")
    monkeypatch.setattr(video, "_OPEN_TIMEOUT_SECONDS", 0.5)
    with pytest.raises(VideoError, match="Cannot read"):
        next(detector.stream(camera(None)))


def test_a_stream_of_a_silent_camera_is_closed_at_once(detector, camera, monkeypatch):
    needs.package("av")
    monkeypatch.setattr(video, "_OPEN_TIMEOUT_SECONDS", 20.0)
    stream = detector.stream([camera(None)], reconnect=1)
    waiting = threading.Timer(0.5, stream.close)
    waiting.start()
    began = time.monotonic()
    assert list(stream) == []
    assert time.monotonic() - began < 18


def test_closing_ends_it_and_leaving_it_does_too(detector, clip):
    stream = detector.stream(clip)
    next(stream)
    stream.close()
    assert list(stream) == []
    stream.close()
    left = detector.stream(clip)
    next(left)
    del left
    gc.collect()  # the fixture sees that its threads end


def test_errors_come_in_their_place(detector, tmp_path, picture_folder):
    names = []
    stream = detector.stream(picture_folder)
    names = [next(stream).source, next(stream).source]
    assert [name[-5:] for name in names] == ["0.png", "1.png"]
    with pytest.raises(ImageError, match=r"2\.png"):
        next(stream)
    assert list(stream) == []


def test_errors_are_handled_where_the_results_are_used(detector, picture_folder):
    told = []

    def on_error(name, error):
        told.append((name[-5:], type(error), threading.current_thread(), len(results)))

    results = []
    for result in detector.stream(picture_folder, on_error=on_error):
        results.append(result)
    assert told == [("2.png", ImageError, threading.main_thread(), 2)]
    assert [result.source[-5:] for result in results] == ["0.png", "1.png", "3.png"]
    assert len(list(detector.stream(picture_folder, on_error="skip"))) == 3


@pytest.fixture
def picture_folder(tmp_path):
    folder = tmp_path / "album"
    for number in range(4):
        save_image(np.zeros((20, 30, 3), np.uint8), folder / f"{number}.png")
    (folder / "2.png").write_bytes(b"no picture")
    return folder


def test_an_error_of_the_framework_ends_the_stream(detector, clip, monkeypatch):
    def fail(_):
        raise MemoryError("no room")

    monkeypatch.setattr(type(detector.backend), "_run", lambda *_: fail(None))
    with pytest.raises(MemoryError, match="no room"):
        list(detector.stream(clip))


@pytest.mark.parametrize("options", [{"buffer": 0}, {"reconnect": -1}, {"reconnect": "soon"}])
def test_options_out_of_range_are_refused(options, detector, clip):
    with pytest.raises(InvalidArgumentError):
        detector.stream(clip, **options)


def test_no_source_is_an_error(detector):
    with pytest.raises(InvalidArgumentError, match="at least one"):
        detector.stream([])


def test_which_sources_do_not_wait():
    paced = ("gate.mp4", "album", "https://example.org/a.jpg", "http://example.org/b.mp4?c=d")
    assert not any(map(arrives_by_itself, paced))
    for name in ("camera:0", "rtsp://camera/stream.mp4", "http://camera/mjpeg", "udp://0.0.0.0:1"):
        assert arrives_by_itself(name)


def test_a_long_run_leaves_no_memory_and_no_thread(weights):
    """The short version of what make test-scale does."""
    needs.package("av")
    result = run("tests/stream_soak.py", "--frames", 300, "--model", weights)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "threads left: 0" in result.stdout
