import json

import pytest

from facemask_zoo.datasets import check, read
from facemask_zoo.errors import DatasetError, UnknownNameError

CATEGORIES = [{"id": 1, "name": "with mask"}, {"id": 7, "name": "Without-Mask"}]


def write_coco(folder, images, annotations, categories=CATEGORIES, name="set.json"):
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / name).write_text(json.dumps(content))
    return folder / name


def face(box, category=1, image=1, **extra):
    return {"id": 5, "image_id": image, "category_id": category, "bbox": box, **extra}


def test_pictures_faces_and_facts(tmp_path, picture):
    picture(tmp_path / "set" / "a.jpg")
    picture(tmp_path / "set" / "b.jpg")
    path = write_coco(
        tmp_path,
        [
            {"id": 1, "file_name": "a.jpg", "width": 40, "height": 30, "source": "x", "group": 9},
            {"id": 2, "file_name": "b.jpg", "three_class": True},
        ],
        [face([1, 2, 10, 5]), face([0, 0, 4, 4], 7, iscrowd=1), face([1, 1, 2, 2], ignore=True)],
    )
    first, second = read(path).pictures
    assert first.path == tmp_path / "set" / "a.jpg"
    assert first.size == (40, 30)
    assert first.boxes.tolist() == [[1, 2, 11, 7], [0, 0, 4, 4], [1, 1, 3, 3]]
    assert first.labels == ["mask", "no_mask", "mask"]
    assert first.ignored.tolist() == [False, True, True]
    assert (first.source, first.group, first.three_class) == ("x", "9", False)
    assert second.faces == ()
    assert second.boxes.shape == (0, 4)
    assert second.three_class


def test_three_class_follows_the_categories(tmp_path, picture):
    picture(tmp_path / "images" / "a.png")
    path = write_coco(
        tmp_path,
        [{"id": 1, "file_name": "a.png"}],
        [face([1, 2, 10, 5])],
        [*CATEGORIES, {"id": 3, "name": "mask_weared_incorrect"}],
    )
    assert read(path).pictures[0].three_class


def test_labels_can_be_named_by_the_user(tmp_path, picture):
    picture(tmp_path / "a.png")
    images, categories = [{"id": 1, "file_name": "a.png"}], [{"id": 1, "name": "Chin strap"}]
    path = write_coco(tmp_path, images, [face([1, 2, 10, 5])], categories)
    assert read(path).problems[0].kind == "unknown category"
    assert read(path, labels={"chin_strap": "incorrect"}).pictures[0].labels == ["incorrect"]
    with pytest.raises(UnknownNameError, match="incorect"):
        read(path, labels={"chin_strap": "incorect"})


def test_every_bad_entry_is_counted_and_left_out(tmp_path, picture):
    folder = tmp_path / "set"
    for name in ("good.jpg", "cut.jpg", "other.jpg"):
        picture(folder / name)
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:600])
    (folder / "text.jpg").write_text("no picture")
    names = ["good.jpg", "cut.jpg", "text.jpg", "gone.jpg", "../set/good.jpg", "/etc/hosts", 3]
    images = [{"id": number, "file_name": name} for number, name in enumerate(names, 1)]
    images += [{"id": 1, "file_name": "other.jpg"}]
    images += [{"id": 99, "file_name": "other.jpg", "width": 41, "height": 30}]
    faces = [
        face([5, 5, 10, 10]),
        face([-5, 20, 10, 20]),
        face([39.5, 2, 1, 5]),
        face([50, 5, 10, 10]),
        face([5, 5, 0, 10]),
        face([5, 5, 10, -3]),
        face([5, 5, 10]),
        face([5, 5, 10, None]),
        face([5, 5, 10, 1e999]),
        face("5555"),
        face([5, 5, 10, 10], category=2),
        face([5, 5, 10, 10], image=1234),
    ]
    report = check(read(write_coco(tmp_path, images, faces)))
    assert report.counts == {
        "malformed box": 4,
        "corrupt picture": 2,
        "unsafe file name": 2,
        "box without area": 2,
        "unknown category": 1,
        "missing picture": 1,
        "no file name": 1,
        "image listed twice": 1,
        "size differs": 1,
        "face without a picture": 1,
        "box reaches outside the picture": 1,
        "box outside the picture": 1,
    }
    (kept,) = report.dataset.pictures
    assert kept.path.name == "good.jpg"
    assert kept.boxes.tolist() == [[5, 5, 15, 15], [0, 20, 5, 30], [39.5, 2, 40, 7]]
    assert report.faces == {"mask": 3, "no_mask": 0, "incorrect": 0, "ignored": 0}
    assert report.require_faces() is report.dataset
    text = report.to_text(examples=1)
    assert "4 x malformed box (box skipped)" in text
    assert "and 3 more" in text
    assert json.loads(json.dumps(report.to_dict()))["counts"] == report.counts


def test_without_decoding_a_cut_picture_goes_unnoticed(tmp_path, picture):
    cut = picture(tmp_path / "a.jpg")
    cut.write_bytes(cut.read_bytes()[:-300])
    path = write_coco(tmp_path, [{"id": 1, "file_name": "a.jpg"}], [face([5, 5, 10, 10])])
    assert check(read(path), decode=False).problems == ()
    assert check(read(path)).counts == {"corrupt picture": 1}


@pytest.mark.parametrize("faces", [[], [face([5, 5, 0, 0])], [face([5, 5, 9, 9], iscrowd=1)]])
def test_no_usable_box_is_refused(tmp_path, picture, faces):
    picture(tmp_path / "a.jpg")
    path = write_coco(tmp_path, [{"id": 1, "file_name": "a.jpg"}], faces)
    report = check(read(path))
    assert len(report.dataset) == 1
    with pytest.raises(DatasetError, match="Nothing to work with"):
        report.require_faces()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 200_000,
        '{"images": [], "annotations": []}',
        '{"images": [1], "annotations": [], "categories": []}',
        '{"images": {}, "annotations": [], "categories": []}',
        b"\xff\xfe\x00",
    ],
)
def test_what_is_not_coco_is_refused(tmp_path, content):
    path = tmp_path / "set.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError, match=r"set\.json"):
        read(path)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "C:\\a.jpg", "..\\a.jpg", "", None, []])
def test_strange_file_names_are_problems_not_crashes(tmp_path, name):
    dataset = read(write_coco(tmp_path, [{"id": 1, "file_name": name}], []))
    assert len(dataset.problems) == 1
    assert not dataset.pictures


def test_a_missing_file_or_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match="nowhere"):
        read(tmp_path / "nowhere.json")
    path = write_coco(tmp_path, [], [])
    with pytest.raises(DatasetError, match="folder of pictures"):
        read(path, tmp_path / "nowhere")
    with pytest.raises(UnknownNameError, match="coco"):
        read(path, kind="coko")
