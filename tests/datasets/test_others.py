from __future__ import annotations

import json
from collections import Counter

import pytest
from PIL import Image

from facemask_zoo.datasets import check, read, read_negatives
from facemask_zoo.errors import DatasetError


def test_csv_rows_become_pictures(tmp_path, picture):
    picture(tmp_path / "images" / "1.jpg")
    (tmp_path / "faces.csv").write_text(
        "class,x,y,w,h,image\nmasked,1,2,10,5,1.jpg\nnot_masked,3,4,5,6,1.jpg\nface,1,1,1,1,2.jpg\n"
    )
    dataset = read(tmp_path)
    (found,) = dataset.pictures
    assert found.boxes.tolist() == [[1, 2, 11, 7], [3, 4, 8, 10]]
    assert found.labels == ["mask", "no_mask"]
    assert [problem.kind for problem in dataset.problems] == ["missing picture"]
    assert read(tmp_path / "faces.csv").pictures == dataset.pictures


def test_csv_with_dataroots_columns(tmp_path, picture):
    picture(tmp_path / "raw" / "1.jpg")
    path = tmp_path / "test_validation_metadata.csv"
    path.write_text("class,x,y,w,h,raw_img_dir\nmasked,1,2,10,5,data/raw_images/1.jpg\n")
    assert read(path, tmp_path / "raw").pictures[0].labels == ["mask"]


@pytest.mark.parametrize("content", ["", "class,x,y\n", "a\0b\n", "x" * 200_000])
def test_csv_without_the_columns_is_refused(tmp_path, content):
    (tmp_path / "faces.csv").write_text(content)
    with pytest.raises(DatasetError, match=r"faces\.csv"):
        read(tmp_path)


def test_rows_that_are_too_short_are_listed(tmp_path, picture):
    picture(tmp_path / "images" / "1.jpg")
    (tmp_path / "faces.csv").write_text("image,class,x,y,w,h\n1.jpg,masked,1,2\n\n1.jpg\n")
    report = check(read(tmp_path))
    assert report.counts == {"malformed box": 2}


def test_a_picture_on_its_side_is_measured_upright(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "images" / "1.jpg", (40, 30), exif=exif)
    (tmp_path / "faces.csv").write_text("class,x,y,w,h,image\nmasked,1,31,10,5,1.jpg\n")
    report = check(read(tmp_path))
    assert report.dataset.pictures[0].size == (30, 40)
    assert report.problems == ()


def test_negatives_are_pictures_without_faces(tmp_path, picture):
    picture(tmp_path / "deep" / "a.jpg")
    (tmp_path / "b.jpg").write_text("no picture")
    dataset = read_negatives(tmp_path)
    assert [found.faces for found in dataset.pictures] == [()]
    assert [problem.kind for problem in dataset.problems] == ["corrupt picture"]
    with pytest.raises(DatasetError, match="expected pictures"):
        read_negatives(tmp_path / "deep" / "nothing")


def test_the_format_is_recognised_or_refused(tmp_path):
    with pytest.raises(DatasetError, match="COCO"):
        read(tmp_path)
    (tmp_path / "a.tar").write_text("")
    with pytest.raises(DatasetError, match="COCO"):
        read(tmp_path / "a.tar")


def test_a_collection_is_counted_by_class_and_source(tmp_path, picture):
    """Pictures of two collections, and a face in four that is neither face nor background."""
    labels = ("mask", "no_mask", "incorrect")
    images, annotations = [], []
    for index in range(12):
        picture(tmp_path / "images" / f"{index}.png", (40 + index, 30))
        facts = {"source": "first" if index % 3 else "second", "group": index // 2}
        images.append({"id": index, "file_name": f"{index}.png", **facts})
        for place in range(index % 4):
            box = [1 + 9 * place, 2, 8, 10]
            annotation = {"image_id": index, "category_id": place % 3 + 1, "bbox": box}
            annotations.append({"id": len(annotations), "iscrowd": index // 11, **annotation})
    categories = [{"id": index + 1, "name": label} for index, label in enumerate(labels)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "set.json").write_text(json.dumps(content))
    report = check(read(tmp_path / "set.json", tmp_path / "images"))
    assert report.problems == ()
    assert report.faces == {"mask": 8, "no_mask": 5, "incorrect": 2, "ignored": 3}
    assert report.dataset.face_count == 18
    assert len(report.dataset.from_sources(["first"])) == 8
    assert len(report.dataset.from_sources(["first", "second"])) == 12


@pytest.mark.shared
def test_the_data_at_hand_is_counted_as_it_is_labelled(shared):
    path = shared / "data" / "detection" / "val.json"
    content = json.loads(path.read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    labelled = Counter(
        "ignored" if annotation["iscrowd"] else names[annotation["category_id"]]
        for annotation in content["annotations"]
    )
    report = check(read(path), decode=False)
    assert report.problems == ()
    assert report.faces == labelled
    assert len(report.dataset) == len(content["images"])


def test_the_split_of_dataroots_is_kept(tmp_path, picture):
    picture(tmp_path / "images" / "1.jpg")
    (tmp_path / "faces.csv").write_text(
        "class,x,y,w,h,raw_img_dir,cropped_img_dir\n"
        "masked,1,2,10,5,data/raw_images/1.jpg,data/validation/real/masked/7.jpg\n"
    )
    assert read(tmp_path).sources == ("validation",)
