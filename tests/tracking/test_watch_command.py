"""``facemask-zoo watch``: events, reports and a video; and what is refused at the start."""

from __future__ import annotations

import csv
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from fractions import Fraction

import needs
import numpy as np
import pytest
from places import ROOT
from tracking.scenes import RATE, Actor, film, walk

from facemask_zoo import cli
from facemask_zoo.images import load_image
from facemask_zoo.terminal import STOPPED
from facemask_zoo.video import frames
from facemask_zoo.video_writer import VideoWriter

SECONDS = 4
ZONE = "door=0,0,300,0,300,120,0,120"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A bare face at the top, inside the zone, and a masked one below."""
    path = tmp_path_factory.mktemp("video") / "gate.mp4"
    actors = [
        Actor(walk((20, 10), (20, 0))),
        Actor(walk((300, 130), (-20, 0)), masked=lambda _: True),
    ]
    return film(path, actors, SECONDS)


def watch(*words: object) -> int:
    return cli.main([str(word) for word in ("watch", *words, "--framework", "onnx")])


def test_everything_at_once(video, tmp_path, capsys):
    outputs = {name: tmp_path / name for name in ("time.csv", "people.csv", "plot.png", "out.mp4")}
    options = zip(("--report", "--people", "--plot", "--output"), outputs.values(), strict=True)
    words = [word for pair in options for word in pair]
    assert watch(video, "--after", 2, "--zone", ZONE, "--interval", 2, *words) == 0
    said = capsys.readouterr()
    (event,) = [json.loads(line) for line in said.out.splitlines()]
    assert (event["zone"], event["label"]) == ("door", "no_mask")
    assert event["seconds"] == pytest.approx(2, abs=0.1)
    assert event["since"] < 0.5
    assert "clock" not in event
    assert "2 people, masked for 5" in said.err or "2 people, masked for 4" in said.err
    people = list(csv.DictReader(outputs["people.csv"].open(newline="")))
    assert sorted(float(person["share_masked"]) for person in people) == [0, 1]
    parts = list(csv.DictReader(outputs["time.csv"].open(newline="")))
    assert [part["people"] for part in parts] == ["2", "2"]
    assert len([frame.time for frame in frames(outputs["out.mp4"])]) == SECONDS * RATE
    assert outputs["plot.png"].read_bytes().startswith(b"\x89PNG")


def test_events_go_to_a_file_and_an_address(video, tmp_path, capsys):
    came = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    target = tmp_path / "events.jsonl"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        words = ("--after", 1, "--end", 2, "--events", target)
        assert watch(video, *words, "--webhook", address) == 1
        assert "private" in capsys.readouterr().err
        assert not target.exists()
        assert watch(video, *words, "--webhook", address, "--allow-private") == 0
        server.shutdown()
    assert capsys.readouterr().out == ""
    assert [json.loads(line) for line in target.read_text().splitlines()] == came
    assert len(came) == 1


def test_windows_find_those_who_are_far_away(portrait, tmp_path, capsys):
    image = np.full((960, 1280, 3), 120, np.uint8)
    person = load_image(portrait)[::8, ::8]
    image[300 : 300 + person.shape[0], 900 : 900 + person.shape[1]] = person
    path = tmp_path / "square.mp4"
    with VideoWriter(path, Fraction(4)) as writer:
        for index in range(6):
            writer.write(image, index / 4)
    words = (path, "--after", 0.5, "--model", "zoo-260")
    assert watch(*words) == 0
    assert capsys.readouterr().out == ""
    assert watch(*words, "--tiles", 320) == 0
    (event,) = capsys.readouterr().out.splitlines()
    assert json.loads(event)["label"] == "no_mask"


def test_an_event_that_is_not_delivered_ends_with_1(video, capsys):
    words = ("--webhook", "http://127.0.0.1:1/", "--allow-private", "--webhook-retries", 0)
    assert watch(video, "--after", 0, "--end", 0.6, *words) == 1
    said = capsys.readouterr()
    assert "was not delivered" in said.err
    assert len(said.out.splitlines()) == 1  # it is not lost


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--zone", "a=1,2,3,4"], "corners, but got 2"),
        (["--zone", "a=0,0,10,10,10,0,0,10"], "cross itself"),
        (["--zone", "a=0,0,900,0,900,100"], "outside the picture, which has 426 x 240"),
        (["--zone", "a=0,0,nan,0,9,10"], "expected a number"),
        (["--zone", ZONE, "--zone", ZONE], "given twice"),
        (["--after", "nan"], "seconds: expected a number"),
        (["--after", "-1"], "seconds: expected a number"),
        (["--max-gap", "inf"], "max_gap"),
        (["--interval", "0"], "interval"),
        (["--every", "0"], "every"),
        (["--start", "nan"], "start"),
        (["--label", "no-mask"], "Did you mean 'no_mask'"),
        (["--webhook", "ftp://host/"], "http://"),
        (["--webhook", "hook"], "http://"),
        (["--webhook", "http://127.0.0.1/", "--webhook-timeout", "nan"], "private"),
        (["--tiles", "129"], "at least 130 pixels"),
        (["--tiles", "426"], "gain nothing in a picture of 426 x 240"),
        (["--plot", "plot.xyz"], "Cannot plot"),
        (["--output", "out.txt"], "the name of a video"),
        (["--report", "a.csv", "--people", "./a.csv"], "given for two outputs"),
    ],
)
def test_wrong_options_are_refused_at_the_start(
    video, words, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert watch(video, "--events", "e.jsonl", *words) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_no_video(portrait, tmp_path, capsys):
    for source in (portrait, portrait.parent, "https://host/a.jpg", "-", tmp_path / "*.jpg"):
        assert watch(source) == 1
        assert "Expected a video" in capsys.readouterr().err
    fake = tmp_path / "picture.mp4"
    fake.write_bytes(portrait.read_bytes())
    assert watch(fake) == 1
    assert watch(tmp_path / "missing.mp4") == 1
    assert "There is no video" in capsys.readouterr().err


def test_a_part_without_frames_is_an_error(video, capsys):
    assert watch(video, "--start", 60) == 1
    assert "has no frames" in capsys.readouterr().err


def test_what_exists_is_kept(video, tmp_path, capsys):
    for option in ("--events", "--report", "--people", "--plot", "--output"):
        path = tmp_path / ("a.mp4" if option == "--output" else "a.png")
        path.write_text("mine")
        assert watch(video, option, path, "--end", 0.3) == 1
        assert path.read_text() == "mine"
        assert watch(video, option, path, "--end", 0.3, "--overwrite") == 0
        path.unlink(missing_ok=True)
    before = video.read_bytes()
    for option in ("--events", "--output"):
        assert watch(video, option, video, "--overwrite") == 1
    assert video.read_bytes() == before
    assert "is a source" in capsys.readouterr().err


def test_what_was_seen_of_a_video_that_breaks_off_is_reported(video, tmp_path, capsys):
    av = needs.module("av")
    whole = tmp_path / "whole.avi"
    with av.open(str(whole), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.bit_rate = 4_000_000
        stream.width, stream.height, stream.pix_fmt = 426, 240, "yuv420p"
        for frame in frames(video):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image)))
        container.mux(stream.encode())
    half = tmp_path / "half.avi"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    report, drawn = tmp_path / "time.csv", tmp_path / "drawn.mp4"
    assert watch(half, "--report", report, "--output", drawn) == 1
    assert "breaks off" in capsys.readouterr().err
    (row,) = csv.DictReader(report.open(newline=""))
    assert row["people"] == "2"
    assert drawn.is_file()


class _Endless(http.server.BaseHTTPRequestHandler):
    """A camera: sends one film over and over, as fast as it is read."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(self.server.film)
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        """Say nothing."""


def heed_interrupts() -> None:
    """In the child: a suite that runs in the background has told its children to ignore them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_camera_is_stopped_by_a_signal_and_what_was_seen_is_kept(number, tmp_path):
    path = film(tmp_path / "loop.ts", [Actor(walk((100, 60), (0, 0)))], 2)
    report, drawn, people = (tmp_path / name for name in ("time.csv", "drawn.mp4", "people.csv"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Endless) as server:
        server.film, server.daemon_threads, server.block_on_close = path.read_bytes(), True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/stream"
        words = ["watch", address, "--after", "0.5", "--framework", "onnx"]
        words += ["--report", report, "--people", people, "--output", drawn]
        process = subprocess.Popen(
            [sys.executable, "-m", "facemask_zoo", *map(str, words)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=heed_interrupts,
        )
        event = json.loads(process.stdout.readline())
        process.send_signal(number)
        _, errors = process.communicate(timeout=300)
        server.shutdown()
    assert process.returncode == 128 + number, errors
    assert number != signal.SIGINT or process.returncode == STOPPED
    assert b"Traceback" not in errors
    assert event["clock"].endswith("+00:00")
    (person,) = csv.DictReader(people.open(newline=""))
    assert float(person["share_masked"]) == 0
    assert report.is_file()
    assert len(list(frames(drawn))) > 5
