"""Whole data sets: names and shares, and what a run leaves behind that is cut off."""

from __future__ import annotations

import collections
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mask_tools import tool, tool_that_sees_others
from PIL import Image
from places import ROOT

from facemask_zoo import cli
from facemask_zoo.datasets import read
from facemask_zoo.datasets.pictures import list_pictures
from facemask_zoo.errors import InvalidArgumentError, OutputError, UnknownNameError
from facemask_zoo.images import load_image
from facemask_zoo.masks import PtsLandmarker, Wearing
from facemask_zoo.masks.generate import Plan, generate, plan_jobs
from facemask_zoo.masks.journal import JOURNAL_NAME


def write_face(folder: Path, name: str, head, points):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(head).save(folder / name, quality=80)
    lines = "\n".join(f"{x + 1} {y + 1}" for x, y in points)
    (folder / name).with_suffix(".pts").write_text(f"version: 1\n{{\n{lines}\n}}\n")


@pytest.fixture
def faces(tmp_path, head, points):
    """Four faces, named as in FFHQ."""
    for number in range(4):
        write_face(tmp_path / "faces", f"{41190 + number}.jpg", head, points)
    return tmp_path / "faces"


@pytest.fixture
def plan(faces, tmp_path):
    return Plan(faces, tmp_path / "out", templates=("surgical-blue", "bandana"), shares="even")


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != JOURNAL_NAME)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_names_and_shares_are_those_of_masked_face_net(tmp_path, faces):
    for number in range(96):
        (faces / f"{52000 + number}.jpg").touch()
    jobs = plan_jobs(Plan(faces, tmp_path / "out"))
    counts = collections.Counter(job.wearing for job in jobs)
    assert counts == {
        Wearing.CORRECT: 49,
        Wearing.NOSE_BARE: 41,
        Wearing.CHIN_BARE: 5,
        Wearing.NOSE_AND_MOUTH_BARE: 5,
    }
    patterns = {
        Wearing.CORRECT: "CMFD/{}/{}_Mask.jpg",
        Wearing.CHIN_BARE: "IMFD/{}/{}_Mask_Nose_Mouth.jpg",
        Wearing.NOSE_BARE: "IMFD/{}/{}_Mask_Mouth_Chin.jpg",
        Wearing.NOSE_AND_MOUTH_BARE: "IMFD/{}/{}_Mask_Chin.jpg",
    }
    for job in jobs:
        number = job.path.stem
        assert job.name == patterns[job.wearing].format(f"{number[:2]}000", number)


def test_a_data_set_reads_back_as_it_was_made(plan):
    outcomes = list(generate(plan, tool))
    assert not any(each.problem for each in outcomes)
    dataset = read(plan.output / "annotations.json")
    tree = read(plan.output)
    assert {each.path: each.labels for each in tree.pictures} == {
        each.path: each.labels for each in dataset.pictures
    }
    assert not dataset.problems
    assert len(dataset) == dataset.face_count == 4
    labels = collections.Counter(picture.labels[0] for picture in dataset.pictures)
    assert labels == {"mask": 1, "incorrect": 3}
    for picture in dataset.pictures:
        assert (picture.path.parts[-3] == "CMFD") == (picture.labels == ["mask"])
    entries = json.loads((plan.output / "annotations.json").read_text())["annotations"]
    assert {entry["template"] for entry in entries} <= set(plan.templates)
    assert len(entries[0]["keypoints"]) == 68 * 3


def test_bare_and_masked_faces_beside_it_are_annotated_too(plan):
    assert not any(each.problem for each in generate(plan, tool_that_sees_others))
    dataset = read(plan.output / "annotations.json")
    assert dataset.problems == ()
    for picture in dataset.pictures:
        worn = picture.faces[0].attributes["wearing"]
        assert picture.labels == [Wearing(worn).label, "no_mask", "mask"]
        assert picture.boxes[1].tolist() == [2, 3, 40, 50]
        assert [bool(face.attributes) for face in picture.faces] == [True, False, False]
    report = json.loads((plan.output / "report.json").read_text())
    assert (report["masked_faces"], report["other_faces"]) == (4, 8)


def test_a_face_that_is_too_small_for_a_mask_is_annotated_as_bare(plan, faces, points):
    lines = "\n".join(f"{x + 1} {y + 1}" for x, y in points * 0.04)
    (faces / "41192_2.pts").write_text(f"version: 1\n{{\n{lines}\n}}\n")
    assert not any(each.problem for each in generate(plan, tool))
    dataset = read(plan.output / "annotations.json")
    (picture,) = [each for each in dataset.pictures if len(each.faces) == 2]
    assert picture.path.stem.startswith("41192")
    assert picture.labels[1] == "no_mask"
    assert picture.faces[1].box[2] < 15


def test_the_mask_is_compressed_as_the_face_was(plan, faces):
    list(generate(plan, tool))
    source = Image.open(next(faces.glob("*.jpg"))).quantization
    assert all(Image.open(path).quantization == source for path in plan.output.rglob("*.jpg"))


def test_workers_do_what_one_process_does(plan, tmp_path):
    list(generate(plan, tool))
    other = Plan(**{**vars(plan), "output": tmp_path / "other"})
    list(generate(other, tool, workers=2))
    assert contents(other.output) == contents(plan.output)


def test_bad_pictures_are_reported_and_the_others_go_on(plan, faces, head, points):
    (faces / "41190.jpg").write_bytes(b"no picture")
    (faces / "41191.pts").unlink()
    write_face(faces, "41192.jpg", head, points * 0.04)
    write_face(faces, "41194.jpg", head, points + 4000)
    failed = {each.source.stem: each.problem for each in generate(plan, tool) if each.problem}
    assert set(failed) == {"41190", "41191", "41192", "41194"}
    assert "damaged" in failed["41190"]
    assert "41191.pts" in failed["41191"]
    assert "pixels wide" in failed["41192"]
    assert "outside" in failed["41194"]
    report = json.loads((plan.output / "report.json").read_text())
    assert (report["pictures"], report["written"], len(report["failed"])) == (5, 1, 4)


def test_a_second_run_writes_nothing(plan):
    list(generate(plan, tool))
    before = {path: path.stat().st_mtime_ns for path in plan.output.rglob("*.jpg")}
    assert all(each.resumed for each in generate(plan, tool))
    assert {path: path.stat().st_mtime_ns for path in plan.output.rglob("*.jpg")} == before


def test_what_is_someone_elses_is_not_overwritten(plan):
    name = plan_jobs(plan)[2].name
    (plan.output / name).parent.mkdir(parents=True)
    (plan.output / name).write_bytes(b"mine")
    problems = [each for each in generate(plan, tool) if each.problem]
    assert [each.name for each in problems] == [name]
    assert (plan.output / name).read_bytes() == b"mine"


def test_annotations_of_someone_else_are_not_overwritten(plan):
    plan.output.mkdir()
    (plan.output / "annotations.json").write_text("mine")
    with pytest.raises(OutputError, match="annotations"):
        list(generate(plan, tool))
    assert (plan.output / "annotations.json").read_text() == "mine"


def test_what_was_altered_since_is_not_overwritten(plan):
    list(generate(plan, tool))
    victim = plan.output / plan_jobs(plan)[0].name
    victim.write_bytes(b"edited")
    (problem,) = [each for each in generate(plan, tool) if each.problem]
    assert problem.name == plan_jobs(plan)[0].name
    assert victim.read_bytes() == b"edited"


def test_other_settings_want_another_folder(plan):
    list(generate(plan, tool))
    with pytest.raises(OutputError, match="other settings"):
        list(generate(Plan(**{**vars(plan), "seed": 5}), tool))


def test_a_line_that_was_cut_off_is_forgotten(plan):
    list(generate(plan, tool))
    before = contents(plan.output)
    journal = plan.output / JOURNAL_NAME
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    (plan.output / json.loads(lines[-1])["name"]).unlink()
    assert not any(each.problem for each in generate(plan, tool))
    assert contents(plan.output) == before


def test_a_kill_loses_nothing(plan, tmp_path, faces):
    """The run is killed once it has written something; what is there is whole, and it goes on."""
    words = [faces, plan.output, "--wearing", "even", "--landmarks", "pts", "--template"]
    words += ["surgical-blue", "--template", "bandana"]
    command = [sys.executable, "-m", "facemask_zoo", "mask", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list_pictures(plan.output)) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for path in list_pictures(plan.output):
        np.asarray(Image.open(path))
    outcomes = list(generate(plan, tool))
    assert not any(each.problem for each in outcomes)
    whole = Plan(**{**vars(plan), "output": tmp_path / "whole"})
    list(generate(whole, tool))
    kept = {name: data for name, data in contents(plan.output).items() if ".partial-" not in name}
    assert kept == contents(whole.output)


def test_plans_are_checked(faces, tmp_path):
    with pytest.raises(UnknownNameError, match="shares"):
        Plan(faces, tmp_path / "out", shares="odd")
    with pytest.raises(UnknownNameError, match="layout"):
        Plan(faces, tmp_path / "out", layout="round")
    with pytest.raises(UnknownNameError, match="template"):
        Plan(faces, tmp_path / "out", templates=("gold",))
    with pytest.raises(InvalidArgumentError, match="inside"):
        plan_jobs(Plan(faces, faces / "out"))
    with pytest.raises(InvalidArgumentError, match="found none"):
        plan_jobs(Plan(_empty(tmp_path), tmp_path / "out"))
    Image.new("RGB", (4, 4)).save(faces / "41190.png")
    with pytest.raises(InvalidArgumentError, match="both become"):
        plan_jobs(Plan(faces, tmp_path / "out", shares="correct"))


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def test_the_command_keeps_the_layout_when_asked(faces, tmp_path, capsys):
    words = ["mask", str(faces), str(tmp_path / "out"), "--landmarks", "pts", "--json"]
    words += ["--wearing", "nose-bare", "--layout", "plain", "--template", "kn95-white"]
    assert cli.main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines] == [f"{41190 + number}.jpg" for number in range(4)]
    (faces / "41192.pts").unlink()
    words[2] = str(tmp_path / "again")
    assert cli.main(words) == 1


def test_spawned_processes_can_make_the_tool():
    """What the command hands to its workers survives the way there."""
    from facemask_zoo.masks.command import Provider

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (made, boxes) = pool.apply(Provider("pts", "", "zoo-260", "auto"))
    assert isinstance(made, PtsLandmarker)
    assert boxes is None


def test_without_other_landmarks_the_command_uses_the_zoos_own(portrait, tmp_path):
    words = ["mask", str(portrait), str(tmp_path / "out"), "--wearing", "correct"]
    assert cli.main([*words, "--template", "surgical-blue"]) == 0
    made = load_image(tmp_path / "out" / "CMFD" / "astronaut_Mask.jpg")
    before = load_image(portrait)
    facts = json.loads((tmp_path / "out" / "annotations.json").read_text())
    (face,) = facts["annotations"]
    x, y, width, height = (int(value) for value in face["bbox"])
    lower = np.s_[y + height // 2 : y + height, x : x + width]
    assert np.abs(made[lower].astype(int) - before[lower]).mean() > 25
