"""What is written is read back; nothing is overwritten; what a format cannot say is reported."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import pytest

from facemask_zoo.datasets import WRITERS, Dataset, Face, Picture, check, read, write
from facemask_zoo.errors import InvalidArgumentError, OutputError, UnknownNameError

FACES = (
    Face((1.25, 2.5, 11.125, 14.0), "mask", identity="7", attributes={"wearing": "correct"}),
    Face((20.0, 2.0, 30.0, 9.0), "no_mask", identity="9"),
    Face((3.0, 15.0, 13.0, 29.0), "incorrect", identity="12"),
    Face((31.0, 20.0, 39.0, 29.0), "no_mask", ignore=True, identity="15"),
)


@pytest.fixture
def dataset(tmp_path, picture):
    """Pictures in two folders, with and without faces."""
    root = tmp_path / "source"
    pictures = []
    for number, name in enumerate(("a/1.jpg", "a/2.png", "b/1.jpg", "b/deep/3.png")):
        path = picture(root / name, (40, 30 + number))
        faces = FACES[: 4 - number] if number < 3 else ()
        size = (40, 30 + number)
        facts = {"source": "web", "group": f"g{number % 2}", "identity": 10 * number + 10}
        pictures.append(Picture(path, size, faces, **facts))
    return Dataset(root, tuple(pictures))


def by_name(dataset: Dataset) -> dict[tuple[str, ...], Picture]:
    return {(each.path.parent.name, each.path.name): each for each in dataset.pictures}


@pytest.mark.parametrize("placement", ["copy", "link"])
def test_coco_says_everything(tmp_path, dataset, placement):
    assert write(dataset, tmp_path / "out", "coco", pictures=placement) == []
    found = read(tmp_path / "out")
    assert found.problems == ()
    for before, after in zip(dataset.pictures, found.pictures, strict=True):
        own_path = dataclasses.replace(after, path=before.path)
        numbered = dataclasses.replace(before, faces=())
        assert dataclasses.replace(own_path, faces=()) == numbered
        assert after.path.read_bytes() == before.path.read_bytes()
        boxes = [(f.box, f.label, f.ignore, dict(f.attributes)) for f in before.faces]
        assert [(f.box, f.label, f.ignore, f.attributes) for f in after.faces] == boxes


def test_numbers_of_coco_are_kept_where_they_are_unique(tmp_path, dataset):
    write(dataset.first(1), tmp_path / "out")
    content = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert [image["id"] for image in content["images"]] == [10]
    assert [each["id"] for each in content["annotations"]] == [7, 9, 12, 15]


def test_yolo_says_classes_and_boxes(tmp_path, dataset):
    problems = write(dataset, tmp_path / "out", "yolo")
    assert [problem.kind for problem in problems] == ["ignored face"]
    found = read(tmp_path / "out")
    assert found.problems == ()
    assert len(found) == 4
    for key, after in by_name(found).items():
        before = [face for face in by_name(dataset)[key].faces if not face.ignore]
        assert after.labels == [face.label for face in before]
        for mine, theirs in zip(after.faces, before, strict=True):
            assert mine.box == pytest.approx(theirs.box, abs=1e-4)
    assert read(tmp_path / "out" / "data.yaml").pictures == found.pictures


def test_voc_rounds_boxes(tmp_path, dataset):
    assert write(dataset, tmp_path / "out", "voc") == []
    found = read(tmp_path / "out")
    assert found.problems == ()
    assert set(by_name(found)) == set(by_name(dataset))
    for key, after in by_name(found).items():
        before = by_name(dataset)[key]
        assert (after.labels, after.source) == (before.labels, "web")
        assert after.ignored.tolist() == before.ignored.tolist()
        assert [f.attributes for f in after.faces] == [dict(f.attributes) for f in before.faces]
        for mine, theirs in zip(after.faces, before.faces, strict=True):
            assert mine.box == pytest.approx(theirs.box, abs=0.51)


@pytest.mark.parametrize("first", WRITERS)
@pytest.mark.parametrize("second", WRITERS)
def test_formats_follow_each_other(tmp_path, dataset, first, second):
    write(dataset, tmp_path / "one", first)
    write(read(tmp_path / "one"), tmp_path / "two", second)
    found = check(read(tmp_path / "two"))
    assert found.problems == ()
    labels = Counter(f.label for p in found.dataset.pictures for f in p.faces if not f.ignore)
    assert labels == {"mask": 3, "no_mask": 3, "incorrect": 2}


@pytest.mark.parametrize("kind", WRITERS)
def test_nothing_is_overwritten(tmp_path, dataset, kind):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        write(dataset, tmp_path / "out", kind)
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_names_that_differ_by_their_suffix_alone_are_told_apart(tmp_path, picture):
    paths = [picture(tmp_path / "in" / name) for name in ("1.jpg", "1.png", "1-2.jpg")]
    pictures = tuple(Picture(path, (40, 30), FACES[n : n + 1]) for n, path in enumerate(paths))
    problems = write(Dataset(tmp_path, pictures), tmp_path / "out", "yolo")
    assert [problem.kind for problem in problems] == ["name taken", "name taken"]
    found = read(tmp_path / "out")
    assert sorted(each.labels[0] for each in found.pictures) == ["incorrect", "mask", "no_mask"]


def test_what_cannot_be_copied_is_reported_and_the_others_go_on(tmp_path, dataset):
    Path(dataset.pictures[1].path).unlink()
    twice = dataclasses.replace(dataset, pictures=dataset.pictures + dataset.pictures[:1])
    problems = write(twice, tmp_path / "out")
    assert [problem.kind for problem in problems] == ["doubled picture", "unreadable picture"]
    assert len(read(tmp_path / "out")) == 3


def test_annotations_alone(tmp_path, dataset):
    write(dataset, tmp_path / "out", pictures="none")
    assert [p.name for p in (tmp_path / "out").glob("[!.]*")] == ["annotations.json"]
    assert len(read(tmp_path / "out", dataset.path)) == 4


def test_wrong_calls(tmp_path, dataset):
    with pytest.raises(UnknownNameError, match="format"):
        write(dataset, tmp_path / "out", "csv")
    with pytest.raises(UnknownNameError, match="placement"):
        write(dataset, tmp_path / "out", pictures="move")
    with pytest.raises(InvalidArgumentError, match="found none"):
        write(dataset.first(0), tmp_path / "out")
    assert not (tmp_path / "out").exists()
