import pytest

from facemask_zoo.datasets import check, read
from facemask_zoo.errors import DatasetError


def test_images_and_labels_with_yaml_names(tmp_path, picture):
    picture(tmp_path / "val" / "images" / "a.jpg", (100, 50))
    picture(tmp_path / "val" / "images" / "empty.jpg", (100, 50))
    (tmp_path / "val" / "labels").mkdir()
    (tmp_path / "val" / "labels" / "a.txt").write_text("1 0.5 0.5 0.2 0.4\n\n0 .1 .2 .1 .2\n")
    (tmp_path / "data.yaml").write_text("val: ../val/images\nnames: [face_mask, face]\n")
    first, second = read(tmp_path / "data.yaml").pictures
    assert first.boxes.round(6).tolist() == [[40, 15, 60, 35], [5, 5, 15, 15]]
    assert first.labels == ["no_mask", "mask"]
    assert not first.three_class
    assert second.faces == ()


def test_text_files_beside_the_pictures_and_classes_txt(tmp_path, picture):
    picture(tmp_path / "a.jpg", (100, 50))
    (tmp_path / "a.txt").write_text("2 0.5 0.5 0.2 0.4")
    (tmp_path / "classes.txt").write_text("mask\nno_mask\nincorrect\n")
    (found,) = read(tmp_path).pictures
    assert found.labels == ["incorrect"]
    assert found.three_class


def test_a_yaml_with_numbered_names_and_a_path(tmp_path, picture):
    picture(tmp_path / "data" / "images" / "a.jpg", (10, 10))
    (tmp_path / "data" / "labels").mkdir()
    (tmp_path / "data" / "labels" / "a.txt").write_text("5 .5 .5 1 1")
    (tmp_path / "set.yml").write_text("path: data\ntrain: images\nnames: {5: masked}\n")
    assert read(tmp_path / "set.yml").pictures[0].labels == ["mask"]


def test_polygons_count_as_the_box_around_them(tmp_path, picture):
    picture(tmp_path / "a.jpg", (100, 100))
    (tmp_path / "a.txt").write_text("0 .1 .2 .5 .3 .3 .8")
    (tmp_path / "classes.txt").write_text("mask")
    assert read(tmp_path).pictures[0].boxes.round(6).tolist() == [[10, 20, 50, 80]]


def test_bad_lines_are_listed(tmp_path, picture):
    picture(tmp_path / "a.jpg", (100, 100))
    lines = ["x .5 .5 .1 .1", "0 .5 .5 .1", "0 .5 nan .1 .1", "9 .5 .5 .1 .1", "0 .5 .5 0 .1"]
    (tmp_path / "a.txt").write_text("\n".join([*lines, "0 2 .5 .1 .1", "0 .5 .5 .1 .1"]))
    (tmp_path / "classes.txt").write_text("mask")
    report = check(read(tmp_path))
    assert report.counts == {
        "malformed box": 2,
        "malformed line": 1,
        "unknown category": 1,
        "box without area": 1,
        "box outside the picture": 1,
    }
    assert report.faces["mask"] == 1
    assert any("a.txt:1" in problem.place for problem in report.problems)


def test_a_text_file_that_is_not_text(tmp_path, picture):
    picture(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "classes.txt").write_text("mask")
    assert [problem.kind for problem in read(tmp_path).problems] == ["unreadable annotation"]


@pytest.mark.parametrize("content", ["names: [a", "- 1", "!!python/object:os.system {}", "[" * 999])
def test_yaml_that_is_no_description_is_refused(tmp_path, picture, content):
    picture(tmp_path / "a.jpg")
    (tmp_path / "data.yaml").write_text(content)
    with pytest.raises(DatasetError):
        read(tmp_path / "data.yaml")


def test_missing_names_or_pictures_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("0 .5 .5 .1 .1")
    with pytest.raises(DatasetError, match="class names"):
        read(tmp_path)
    (tmp_path / "classes.txt").write_text("mask")
    with pytest.raises(DatasetError, match="expected pictures"):
        read(tmp_path)
