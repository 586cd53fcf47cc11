"""``facemask-zoo detect``: every output, choice and exit code."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
import types
import xml.etree.ElementTree as ElementTree
from fractions import Fraction

import needs
import numpy as np
import pytest
from places import ROOT

from facemask_zoo import Detector, cli
from facemask_zoo.exports import COLUMNS
from facemask_zoo.images import load_image
from facemask_zoo.terminal import PIPE_CLOSED, STOPPED
from facemask_zoo.video import frames
from facemask_zoo.video_writer import VideoWriter


@pytest.fixture
def detect(weights):
    """Runs the command on the model of these tests."""

    def run(*words: object) -> int:
        options = ("--model", weights, "--framework", "onnx")
        return cli.main([str(word) for word in ("detect", *words, *options)])

    return run


@pytest.fixture(scope="module")
def detector(weights):
    return Detector.load(weights, framework="onnx")


@pytest.fixture
def video(tmp_path, portrait):
    needs.package("av")
    path = tmp_path / "gate.mp4"
    image = load_image(portrait)[::4, ::4]
    with VideoWriter(path, Fraction(10)) as writer:
        for index in range(20):
            writer.write(image, index / 10)
    return path


def test_every_output_at_once(detect, detector, portrait, demo_picture, tmp_path, capsys):
    options = []
    for name in ("csv", "coco", "yolo", "voc", "crops"):
        options += [f"--{name}", tmp_path / name]
    assert detect(portrait, demo_picture, *options) == 0
    results = [detector.detect(str(path)) for path in (portrait, demo_picture)]
    total = sum(map(len, results))
    with (tmp_path / "csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["label"] for row in rows] == [label for r in results for label in r.labels]
    entries = json.loads((tmp_path / "coco").read_text())
    assert [e["image_id"] for e in entries] == [1] * len(results[0]) + [2] * len(results[1])
    assert (tmp_path / "yolo" / "demo.txt").read_text() == results[1].to_yolo()
    root = ElementTree.parse(tmp_path / "voc" / "astronaut.xml").getroot()
    assert len(root.findall("object")) == len(results[0])
    assert len(list((tmp_path / "crops").iterdir())) == total
    assert f"2 pictures, {total} faces: " in capsys.readouterr().err


def test_outputs_that_exist_are_kept_unless_asked(detect, portrait, tmp_path, capsys):
    for name in ("csv", "coco"):
        target = tmp_path / name
        target.write_text("mine")
        assert detect(portrait, f"--{name}", target) == 1
        assert target.read_text() == "mine"
        assert detect(portrait, f"--{name}", target, "--overwrite") == 0
        assert target.read_text() != "mine"
    for name in ("yolo", "voc", "crops"):
        words = (portrait, f"--{name}", tmp_path / name)
        assert detect(*words) == 0
        assert detect(*words) == 1
        assert detect(*words, "--overwrite") == 0
    source = tmp_path / "a.jpg"
    source.write_bytes(portrait.read_bytes())
    for option in ("--csv", "--coco", "--output"):
        assert detect(source, option, source, "--overwrite") == 1
    assert source.read_bytes() == portrait.read_bytes()
    assert "is a source" in capsys.readouterr().err


def test_a_failed_run_leaves_no_table(detect, tmp_path):
    assert detect(tmp_path / "no.jpg", "--csv", tmp_path / "a.csv", "--nms", "odd") == 1
    assert list(tmp_path.iterdir()) == []


def test_choices(detect, detector, portrait, capsys):
    whole = detector.detect(str(portrait))
    label = whole.labels[0]
    assert detect(portrait, "--json", "--labels", label, "--min-size", 20) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == whole.where(label=label, min_size=20).to_dict()
    assert detect(portrait, "--labels", "mesk") == 1
    assert "Did you mean 'mask'" in capsys.readouterr().err


def test_parts_of_a_video(detect, video, tmp_path, capsys):
    target = tmp_path / "drawn.webm"
    words = ("--every", 2, "--start", 0.5, "--end", 1.5, "--json", "--output", target)
    assert detect(video, *words, "--yolo", tmp_path / "yolo") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["frame"] for line in lines] == [6, 8, 10, 12, 14]
    assert [line["time"] for line in lines] == pytest.approx([0.6, 0.8, 1.0, 1.2, 1.4])
    times = [frame.time for frame in frames(target)]
    assert np.diff(times) == pytest.approx([0.2] * 4, abs=2e-3)
    assert (tmp_path / "yolo" / "gate_000006.txt").is_file()
    for wrong in (["--every", 0], ["--start", -1], ["--start", 2, "--end", 1]):
        assert detect(video, *wrong) == 1
    assert "end: expected more than start" in capsys.readouterr().err


def test_a_video_is_one_line(detect, detector, video, portrait, capsys):
    found = list(detector.stream(video))
    faces, most = sum(map(len, found)), max(map(len, found))
    line = f"{video}: 20 frames, {faces} faces (at most {most} at once): "
    assert detect(video) == 0
    said = capsys.readouterr()
    assert said.out.startswith(line)
    assert said.out.count("\n") == 1
    assert said.err.splitlines() == ["seeded on ONNX (onnxruntime)"]
    assert detect(video, portrait, "--end", 0.55) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0].startswith(f"{video}: 6 frames, ")
    assert said.out.splitlines()[1].startswith(f"{portrait}: ")
    assert "1 picture, 6 frames, " in said.err


def test_on_a_terminal_progress_is_shown(weights, video):
    pty = pytest.importorskip("pty")
    reader, writer = pty.openpty()
    words = [sys.executable, "-m", "facemask_zoo", "detect", video, "--model", weights]
    words += ["--framework", "onnx"]
    result = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=writer)
    os.close(writer)
    shown = os.read(reader, 1 << 16)
    os.close(reader)
    assert b"20/20" in shown
    assert result.stdout.count(b"\n") == 1


def test_windows_over_pictures_and_videos(detect, detector, demo_picture, video, capsys):
    words = ("--tiles", 97, "--conf", 0.1, "--json")
    low = dataclasses.replace(detector, conf=0.1)
    assert detect(demo_picture, *words) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(
        low.detect(str(demo_picture), tiles=97).to_json()
    )
    assert detect(video, *words, "--end", 0.2) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    image = next(frames(video)).image
    assert len(first["detections"]) == len(low.detect(image, tiles=97)) != len(low.detect(image))


def test_windows_that_gain_nothing_are_refused(detect, portrait, tmp_path, capsys):
    assert detect(portrait, "--tiles", 48, "--csv", tmp_path / "faces.csv") == 1
    assert "expected a side of at least 49 pixels, but got 48" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_blurred_pictures_show_no_face(detect, detector, portrait, tmp_path, capsys):
    for how in ("pixelate", "gaussian", "box"):
        target = tmp_path / f"{how}.png"
        assert detect(portrait, "--blur", how, "--output", target) == 0
        result = detector.detect(str(portrait))
        assert (load_image(target) == result.annotate(result.blur(how=how))).all()
    assert detect(portrait, "--blur", "fog", "--output", tmp_path / "a.png") == 1
    assert detect(portrait, "--blur", "box") == 1
    both = ("--blur", "box", "--output", tmp_path / "a.png", "--crops", tmp_path / "crops")
    assert detect(portrait, *both) == 1
    assert "--crops: would show" in capsys.readouterr().err


def test_standard_input(detect, portrait, capsys, monkeypatch):
    stdin = types.SimpleNamespace(buffer=io.BytesIO(portrait.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert detect("-", "--json") == 0
    assert json.loads(capsys.readouterr().out)["source"] == "-"


def test_a_file_named_like_a_camera_is_a_file(detect, portrait, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "123").write_bytes(portrait.read_bytes())
    assert detect("123", "--json") == 0
    assert json.loads(capsys.readouterr().out)["source"] == "123"
    needs.package("cv2")
    assert detect("camera:97") == 1
    assert "no camera 97" in capsys.readouterr().err


def test_private_addresses_are_not_fetched(detect, capsys):
    assert detect("http://127.0.0.1:1/a.jpg") == 1
    assert "private" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status"),
    [([], 2), (["detect"], 2), (["detect", "a.jpg", "--bogus"], 2), (["nothing"], 2)],
)
def test_a_wrong_call_ends_with_2(words, status):
    assert cli.main(words) == status


@pytest.mark.parametrize("command", ["detect", "weights", "doctor", "convert", "eval", "train"])
def test_every_command_has_help(command, capsys):
    assert cli.main([command, "--help"]) == 0
    assert command in capsys.readouterr().out


def test_help_teaches_by_example(capsys):
    assert cli.main(["detect", "--help"]) == 0
    assert "Examples" in capsys.readouterr().out


def test_a_missing_extra_is_named_when_its_command_is_called(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "facemask_zoo.training.command", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("facemask_zoo.training")]:
        monkeypatch.delitem(sys.modules, name)
    assert cli.main(["train", "--output", "run"]) == 1
    assert "facemask-zoo[training]" in capsys.readouterr().err
    assert cli.main(["weights", "list"]) == 0


def test_completion_is_offered(monkeypatch):
    words = [sys.executable, "-m", "facemask_zoo", "--show-completion", "bash"]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode in (0, 1)
    environment = {
        **os.environ,
        "_FACEMASK_ZOO_COMPLETE": "complete_bash",
        "COMP_WORDS": "facemask-zoo detect --framework onn",
        "COMP_CWORD": "3",
    }
    words = [sys.executable, "-m", "facemask_zoo"]
    result = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.stdout.split() == ["onnx"]


def program(kind: str, weights, *pictures) -> list[str]:
    """The command, or one of AIZOO's scripts, on some pictures."""
    if kind == "script":
        words = ["onnx_infer.py", "--img-path", pictures[0], "--model", weights]
    else:
        words = ["-m", "facemask_zoo", "detect", *pictures, "--json"]
        words += ["--model", weights, "--framework", "onnx"]
    return [sys.executable, *map(str, words)]


KINDS = ["command", "script"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_said(kind, weights, portrait):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            program(kind, weights, portrait), cwd=ROOT, stdout=full, stderr=subprocess.PIPE
        )
    assert result.returncode == 1
    assert b"No space left" in result.stderr
    assert b"Traceback" not in result.stderr
    assert b"Exception ignored" not in result.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_pipe_is_quiet(kind, weights, portrait):
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        program(kind, weights, portrait), cwd=ROOT, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert result.returncode == PIPE_CLOSED
    assert b"rror" not in result.stderr
    assert b"Exception" not in result.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_terminals_of_ascii_get_what_they_can_show(kind, weights, portrait, tmp_path):
    odd = tmp_path / "größe.jpg"
    odd.write_bytes(portrait.read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        program(kind, weights, odd), cwd=ROOT, env=environment, capture_output=True
    )
    assert result.returncode == 0, result.stderr
    value = json.loads(result.stdout.decode("ascii"))
    if kind == "command":
        assert value["source"] == str(odd)


def heed_interrupts() -> None:
    """In the child: a suite that runs in the background has told its children to ignore them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("kind", KINDS)
def test_control_c_ends_with_130(kind, weights, tmp_path):
    """There are more pictures than can be read before the signal comes."""
    names = [ROOT / "docs" / "pictures" / "astronaut.jpg"] * 3000
    words = program(kind, weights, *names)
    if kind == "script":
        needs.package("av")
        film = tmp_path / "long.mp4"
        with VideoWriter(film, Fraction(25)) as writer:
            for _ in range(3000):
                writer.write(np.zeros((32, 32, 3), np.uint8))
        words += ["--img-mode", "0", "--video-path", str(film)]
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == STOPPED
    assert b"Traceback" not in errors


def test_what_was_found_before_control_c_is_kept(weights, tmp_path):
    """As of a camera, whose pictures never end."""
    needs.package("av")
    film, table, drawn = tmp_path / "long.mp4", tmp_path / "faces.csv", tmp_path / "drawn.mp4"
    coco = tmp_path / "faces.json"
    with VideoWriter(film, Fraction(25)) as writer:
        for _ in range(3000):
            writer.write(np.full((64, 64, 3), 90, np.uint8))
    words = program("command", weights, film, "--csv", table, "--coco", coco, "--output", drawn)
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_interrupts
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    seen, errors = process.communicate(timeout=300)
    assert process.returncode == STOPPED, errors
    assert b"Traceback" not in errors
    lines = [json.loads(line) for line in seen.splitlines()]
    assert 0 < len(lines) < 2900
    faces = sum(len(line["detections"]) for line in lines)
    with table.open() as file:
        assert len(list(csv.DictReader(file))) >= faces > 0
    assert len(json.loads(coco.read_text())) >= faces
    assert len(list(frames(str(drawn)))) == len(lines) + 1  # the first was read above


def test_two_outputs_never_share_a_file(detect, portrait, tmp_path, capsys):
    shared = tmp_path / "faces.png"
    for one, other in (("--csv", "--coco"), ("--output", "--csv"), ("--output", "--coco")):
        assert (
            detect(portrait, one, shared, other, tmp_path / "." / shared.name, "--overwrite") == 1
        )
        assert f"is what {one} writes already" in capsys.readouterr().err
        assert not shared.exists()


def test_landmarks_are_in_json_and_drawings(demo_picture, tmp_path, capsys):
    words = ["detect", demo_picture, "--json", "--framework", "onnx", "--output"]
    plain, drawn = tmp_path / "plain.png", tmp_path / "drawn.png"
    assert cli.main([str(word) for word in [*words, plain]]) == 0
    capsys.readouterr()
    assert cli.main([str(word) for word in [*words, drawn, "--landmarks"]]) == 0
    faces = json.loads(capsys.readouterr().out)["detections"]
    assert len(faces) == 2
    for face in faces:
        points = np.array(face["landmarks"])
        x1, y1, x2, y2 = face["box"]
        inside = (points >= (x1 - 20, y1 - 20)) & (points <= (x2 + 20, y2 + 20))
        assert points.shape == (68, 2)
        assert inside.all()
        assert len(face["pose"]) == 3
    assert (load_image(plain) != load_image(drawn)).any()
