"""Where pictures lie: odd names, files that vanish, folders that cannot be read or that loop."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from places import ROOT

from facemask_zoo import Detector, FaceMaskZooError, ImageError, cli
from facemask_zoo.images import load_image, save_image
from facemask_zoo.video import expand, frames

ODD_NAMES = [
    "with space.jpg",
    "new\nline.jpg",
    "tab\tand\rreturn.jpg",
    "--output.jpg",
    "-.jpg",
    "größe-口罩-😷.jpg",
    "e\u0301.jpg",
    "quote'\"`$(id);&.jpg",
    "back\\slash.jpg",
    "[glob]*?.jpg",
    "%s%n%d.jpg",
    "a" * 200 + ".jpg",
    "..jpg.jpg",
    os.fsdecode(b"not-utf8-\xff\xfe.jpg"),
    "\x1b[31mred.jpg",
    "1.jpg",
]


@pytest.fixture(scope="module")
def detector(weights):
    return Detector.load(weights, framework="onnx", conf=0.88)


@pytest.fixture
def detect(weights):
    """Runs the command on the model of these tests."""

    def run(*words: object) -> int:
        options = ("--model", weights, "--framework", "onnx", "--conf", 0.88)
        return cli.main(["detect", *map(str, options), *map(str, words)])

    return run


@pytest.fixture
def album(tmp_path, portrait):
    """A folder with a picture of every odd name."""
    small = load_image(portrait)[::8, ::8]
    folder = tmp_path / "album"
    folder.mkdir()
    for name in ODD_NAMES:
        save_image(small, folder / "new.jpg")
        (folder / "new.jpg").rename(folder / name)
    return folder


def test_odd_names_in_a_folder(album, detect, tmp_path, capsys):
    targets = [tmp_path / name for name in ("drawn", "yolo", "voc", "crops", "csv", "coco")]
    options = ("--output", "--yolo", "--voc", "--crops", "--csv", "--coco")
    words = list(itertools.chain(*zip(options, targets, strict=True)))
    assert detect(album, "--json", *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {Path(json.loads(line)["source"]).name for line in lines} == set(ODD_NAMES)
    for folder, suffix in ((targets[0], ".jpg"), (targets[1], ".txt"), (targets[2], ".xml")):
        assert len(list(folder.iterdir())) == len(ODD_NAMES), suffix
    assert sorted(os.listdir(album)) == sorted(ODD_NAMES)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_one_by_one(album, name, weights):
    """On the command line, from inside the folder, after ``--``."""
    words = ["detect", "--json", "--model", str(weights), "--framework", "onnx", "--", name]
    if name in ("[glob]*?.jpg", "--output.jpg", os.fsdecode(b"not-utf8-\xff\xfe.jpg")):
        done = subprocess.run(
            [sys.executable, "-m", "facemask_zoo", *words],
            cwd=album,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 1
    assert load_image(album / name).shape == (64, 64, 3)
    assert expand(str(album / name)) == [str(album / name)]


@pytest.mark.parametrize("name", ["", "a\0b.jpg", "a" * 5000 + ".jpg", "\ud800.jpg"])
def test_names_that_no_file_can_have(name, detector, detect):
    with pytest.raises(FaceMaskZooError):
        detector.detect(name)
    with pytest.raises(FaceMaskZooError):
        list(detector.stream(name))
    assert detect(name) in (1, 2)


def test_loops_of_links_give_each_picture_once(tmp_path, portrait, detector):
    """82 results for two pictures, before."""
    folder = tmp_path / "a"
    (folder / "b" / "c").mkdir(parents=True)
    shutil.copy(portrait, folder / "one.jpg")
    shutil.copy(portrait, folder / "b" / "two.jpg")
    (folder / "self").symlink_to(".")
    (folder / "b" / "up").symlink_to("..")
    (folder / "b" / "c" / "top").symlink_to(tmp_path)
    (folder / "again.jpg").symlink_to("one.jpg")
    (folder / "round1.jpg").symlink_to("round2.jpg")
    (folder / "round2.jpg").symlink_to("round1.jpg")
    (folder / "nowhere.jpg").symlink_to("missing.jpg")
    for pattern in (f"{tmp_path}/**/*.jpg", f"{tmp_path}/**", f"{folder}/**/**/*.jpg"):
        found = expand(pattern)
        assert {Path(path).name for path in found} == {"one.jpg", "two.jpg"}, pattern
        assert len(found) == 2
    errors: list[str] = []
    results = list(detector.stream(folder, on_error=lambda name, _: errors.append(Path(name).name)))
    assert [Path(result.source).name for result in results] == ["one.jpg"]
    assert sorted(set(errors)) == ["nowhere.jpg", "round1.jpg", "round2.jpg"]


def test_files_that_vanish_midway(tmp_path, portrait, detector):
    paths = [tmp_path / f"{number}.jpg" for number in range(5)]
    for path in paths:
        shutil.copy(portrait, path)
    seen, errors = [], []
    stream = frames(tmp_path, on_error=lambda name, error: errors.append((name, error)))
    for frame in stream:
        seen.append(frame.source)
        paths[2].unlink(missing_ok=True)
        if paths[3].is_file():
            paths[3].unlink()
            paths[3].mkdir()
    assert seen == [str(paths[number]) for number in (0, 1, 4)]
    assert [name for name, _ in errors] == [str(paths[2]), str(paths[3])]
    assert all(isinstance(error, ImageError) for _, error in errors)


def test_a_folder_that_vanishes_midway(tmp_path, portrait, detector):
    folder = tmp_path / "a"
    folder.mkdir()
    for number in range(20):
        shutil.copy(portrait, folder / f"{number}.jpg")
    stream = detector.stream(folder, on_error="skip", buffer=2)
    next(stream)
    shutil.rmtree(folder)
    assert len(list(stream)) < 10  # what was read ahead
    with pytest.raises(ImageError):
        list(detector.stream(folder))


@pytest.fixture
def as_nobody():
    """A folder that anyone may enter; the test goes on without the rights of root."""
    if not hasattr(os, "geteuid"):
        pytest.skip("needs users of Unix")
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        folder, user = Path(name), os.geteuid()

        def become() -> None:
            if user == 0:
                os.seteuid(65534)

        yield folder, become
        if user == 0:
            os.seteuid(0)
        for path in folder.iterdir():
            path.chmod(0o755)


def test_folders_and_files_that_cannot_be_read(as_nobody, portrait, detector):
    folder, become = as_nobody
    for name in ("open", "closed"):
        (folder / name).mkdir()
        (folder / name).chmod(0o755)
        for number in range(2):
            shutil.copy(portrait, folder / name / f"{number}.jpg")
    (folder / "open" / "1.jpg").chmod(0)
    (folder / "closed").chmod(0)
    become()
    with pytest.raises(ImageError, match="Permission denied"):
        list(detector.stream(folder / "closed"))
    with pytest.raises(ImageError):
        detector.detect(folder / "closed" / "0.jpg")
    errors: list[FaceMaskZooError] = []
    results = list(detector.stream(folder / "open", on_error=lambda _, e: errors.append(e)))
    assert len(results) == len(errors) == 1
    assert "Permission denied" in str(errors[0])
    assert len(expand(f"{folder}/**/*.jpg")) == 2  # what can be found


@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "/dev/zero", "/dev/full"])
def test_what_is_no_file_is_not_waited_for(kind, tmp_path, detector):
    path = tmp_path / "a.jpg"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        path.symlink_to("/dev/null")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(kind)
    with pytest.raises(ImageError):
        detector.detect(path)


def test_ten_thousand_entries_and_one_picture(tmp_path, portrait):
    for number in range(10_000):
        (tmp_path / f"{number}.txt").touch()
    shutil.copy(portrait, tmp_path / "a.jpg")
    assert expand(str(tmp_path)) == [str(tmp_path / "a.jpg")]
