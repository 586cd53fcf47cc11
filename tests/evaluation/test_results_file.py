"""COCO results files: what is written is read, and what is wrong is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from facemask_zoo.datasets import read, read_negatives
from facemask_zoo.detections import Detections
from facemask_zoo.errors import DatasetError, OutputError
from facemask_zoo.evaluation import Sample
from facemask_zoo.evaluation.results_file import read_results, with_results, write_results

GOOD = {"image_id": 7, "category_id": 30, "bbox": [10, 10, 20, 20], "score": 0.5}


@pytest.fixture(name="coco")
def _coco(tmp_path):
    """Two pictures, of the ids 7 and "b", with categories in an order of their own."""
    images = [("a.png", 7), ("b.png", "b")]
    for name, _ in images:
        Image.new("RGB", (100, 80)).save(tmp_path / name)
    content = {
        "images": [{"id": number, "file_name": name} for name, number in images],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 30, "bbox": [10, 10, 20, 20]}],
        "categories": [{"id": 30, "name": "with_mask"}, {"id": 4, "name": "no mask"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    return read(tmp_path / "val.json")


@pytest.fixture(name="put")
def _put(tmp_path):
    def put(content):
        path = tmp_path / "results.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return put


def test_boxes_of_any_detector(coco, put):
    entries = [GOOD, {**GOOD, "score": 0.7, "category_id": 4, "bbox": [90.5, -5, 20, 10]}]
    found = read_results(put(entries), coco)
    assert found["7"].labels == ["no_mask", "mask"]
    assert found["7"].boxes.tolist() == [[90.5, 0, 100, 5], [10, 10, 30, 30]]
    assert len(found["b"]) == 0
    assert [len(sample.detections) for sample in with_results(coco, found)] == [2, 0]


def test_a_class_that_never_occurs_is_not_known(coco, put):
    assert read_results(put([GOOD]), coco)["b"].classes == ("mask",)


def test_faces_of_no_class(coco, put):
    found = read_results(put([{**GOOD, "category_id": 99}]), coco, faces=True)
    assert found["7"].labels == ["any"]


def test_what_is_written_is_read(coco, tmp_path):
    found = Detections(
        np.array([[1.5, 2, 30.25, 40], [5, 6, 7, 8]], np.float32),
        np.array([0.875, 0.123456789], np.float32),
        np.array([0, 1]),
        ("no_mask", "mask"),
        (100, 80),
    )
    empty = found[:0]
    path = tmp_path / "out.json"
    samples = [Sample(coco.pictures[0], found), Sample(coco.pictures[1], empty)]
    write_results(path, samples, coco)
    assert [entry["category_id"] for entry in json.loads(path.read_text())] == [4, 30]
    back = read_results(path, coco)
    assert back["7"].boxes == pytest.approx(found.boxes, abs=1e-5)
    assert (back["7"].scores == found.scores).all()
    assert back["7"].labels == found.labels
    with pytest.raises(OutputError):
        write_results(path, samples, coco)


def test_pictures_without_ids_go_by_their_place(tmp_path, put):
    (tmp_path / "none" / "deep").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "none" / "deep" / "x.png")
    negatives = read_negatives(tmp_path / "none")
    entry = {"image_id": "deep/x.png", "category_id": 1, "bbox": [1, 1, 3, 3], "score": 1}
    assert len(read_results(put([entry]), negatives)["deep/x.png"]) == 1
    assert len(read_results(put([]), negatives, empty=True)["deep/x.png"]) == 0


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ({"annotations": []}, "list of detections"),
        ([], "empty"),
        ([[1, 2]], "entry 0: expected an object"),
        ([{"image_id": 7}], "category_id"),
        ([{**GOOD, "image_id": 8}], "image_id 8"),
        ([{**GOOD, "image_id": None}], "image_id None"),
        ([GOOD, {**GOOD, "category_id": 5}], r"category_id 5.*30 mask, 4 no_mask"),
        ([{**GOOD, "bbox": [1, 2, 3]}], "four finite numbers"),
        ([{**GOOD, "bbox": [1, 2, 3, float("nan")]}], "four finite numbers"),
        ([{**GOOD, "bbox": [1, 2, 3, 1e300]}], "four finite numbers"),
        ([{**GOOD, "bbox": [1, 2, 3, True]}], "four finite numbers"),
        ([{**GOOD, "bbox": [1, 2, -3, 4]}], "width"),
        ([{**GOOD, "bbox": "1 2 3 4"}], "four finite numbers"),
        ([{**GOOD, "score": float("nan")}], "score"),
        ([{**GOOD, "score": float("inf")}], "score"),
        ([{**GOOD, "score": "0.5"}], "score"),
        ([{**GOOD, "score": 1.5}], "score"),
    ],
)
def test_what_is_wrong_is_refused(coco, put, content, text):
    with pytest.raises(DatasetError, match=text):
        read_results(put(content), coco)


def test_faces_have_one_category(coco, put):
    with pytest.raises(DatasetError, match="one category"):
        read_results(put([GOOD, {**GOOD, "category_id": 4}]), coco, faces=True)


def test_a_file_that_is_not_there(coco, tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        read_results(tmp_path / "nowhere.json", coco)
