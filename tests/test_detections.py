from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import needs
import numpy as np
import pytest
from PIL import Image
from places import PICTURES

from facemask_zoo import Detections, InvalidArgumentError, UnknownNameError, datasets
from facemask_zoo.blurring import WAYS
from facemask_zoo.images import load_image

CLASSES = ("mask", "no_mask", "incorrect")


@pytest.fixture
def detections() -> Detections:
    return Detections(
        boxes=np.array([[1.25, 2, 30, 40], [5, 6, 70, 80]], np.float32),
        scores=np.array([0.9, 0.6], np.float32),
        class_ids=np.array([2, 0]),
        classes=CLASSES,
        image_size=(100, 90),
        source="a.jpg",
    )


def test_labels_and_length(detections):
    assert detections.labels == ["incorrect", "mask"]
    assert len(detections) == 2


def test_json_holds_everything(detections):
    values = json.loads(detections.to_json())
    assert values == detections.to_dict()
    assert values["source"] == "a.jpg"
    assert values["image_size"] == [100, 90]
    assert values["detections"][0] == {
        "label": "incorrect",
        "class_id": 2,
        "score": 0.9,
        "box": [1.25, 2.0, 30.0, 40.0],
    }


def test_aizoo_rows(detections):
    assert detections.to_rows() == [
        [2, pytest.approx(0.9), 1, 2, 30, 40],
        [0, pytest.approx(0.6), 5, 6, 70, 80],
    ]


def test_indexing_like_an_array(detections):
    assert detections[detections.scores > 0.7].labels == ["incorrect"]
    assert detections[1:].labels == ["mask"]
    assert detections[1].labels == ["mask"]
    assert len(detections[[]]) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"boxes": np.zeros((2, 3), np.float32)},
        {"scores": np.zeros(3, np.float32)},
        {"class_ids": np.array([0])},
        {"class_ids": np.array([0, 3])},
        {"class_ids": np.array([-1, 0])},
    ],
)
def test_arrays_that_do_not_fit_are_refused(detections, change):
    values = {name: getattr(detections, name) for name in detections.__dataclass_fields__}
    with pytest.raises(InvalidArgumentError, match="expected"):
        Detections(**(values | change))


def test_annotating_draws_on_a_copy(detections):
    image = np.full((90, 100, 3), 128, np.uint8)
    drawn = detections.annotate(image)
    assert drawn.shape == image.shape
    assert (image == 128).all()
    assert (drawn != 128).any()


def test_annotating_another_picture_is_refused(detections):
    with pytest.raises(InvalidArgumentError, match=r"\(100, 90\)"):
        detections.annotate(np.zeros((100, 90, 3), np.uint8))


@pytest.fixture
def tracked(detections) -> Detections:
    return dataclasses.replace(
        detections,
        frame=3,
        time=0.12,
        attributes={"track_id": np.array([7, 4]), "wear": np.array([[0.1, 0.9], [0.8, 0.2]])},
        speed={"inference": 5.0},
    )


def test_a_result_does_not_change(tracked):
    for values in (tracked.boxes, tracked.scores, tracked.class_ids, *tracked.attributes.values()):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        tracked.source = "b.jpg"
    with pytest.raises(TypeError):
        tracked.attributes["more"] = np.zeros(2)


def test_a_result_does_not_follow_the_arrays_it_was_made_of():
    boxes = np.ones((1, 4), np.float32)
    result = Detections(boxes, np.ones(1), np.zeros(1), CLASSES, (9, 9))
    boxes[:] = 5
    assert result.boxes.tolist() == [[1, 1, 1, 1]]
    assert (result.boxes.dtype, result.scores.dtype) == (np.float32, np.float32)
    assert result.class_ids.dtype == np.int64


def test_results_are_equal_by_content(tracked):
    assert tracked == dataclasses.replace(tracked, boxes=tracked.boxes.copy(), speed={})
    for change in (
        {"scores": tracked.scores / 2},
        {"source": "b.jpg"},
        {"time": None},
        {"attributes": {}},
        {"attributes": {**tracked.attributes, "track_id": np.array([7, 5])}},
    ):
        assert tracked != dataclasses.replace(tracked, **change)
    assert tracked != "a result"
    with pytest.raises(TypeError, match="unhashable"):
        hash(tracked)


@pytest.mark.parametrize("duplicate", [lambda r: pickle.loads(pickle.dumps(r)), copy.deepcopy])
def test_copies_are_equal_and_do_not_change_either(tracked, duplicate):
    twin = duplicate(tracked)
    assert twin == tracked
    assert twin.speed == tracked.speed
    with pytest.raises(ValueError, match="read-only"):
        twin.attributes["wear"][0] = 0


def test_attributes_slice_along(tracked):
    last = tracked[tracked.scores < 0.7]
    assert last.attributes["track_id"].tolist() == [4]
    assert last.attributes["wear"].tolist() == [[0.8, 0.2]]
    assert [face.attributes["track_id"].tolist() for face in tracked] == [[7], [4]]
    with pytest.raises(InvalidArgumentError, match="track_id"):
        dataclasses.replace(tracked, attributes={"track_id": np.zeros(3)})
    with pytest.raises(IndexError):
        tracked[2]


def test_where_takes_every_condition(detections):
    assert detections.where(label="mask").labels == ["mask"]
    assert detections.where(label=["mask", "incorrect"]) == detections
    assert detections.where(min_score=0.7).labels == ["incorrect"]
    assert detections.where(min_size=50).labels == ["mask"]
    assert len(detections.where(label="incorrect", min_size=50)) == 0
    assert len(detections[[]].where(min_size=1)) == 0
    with pytest.raises(UnknownNameError, match="Did you mean 'mask'"):
        detections.where(label="mesk")


def test_counts_name_every_label(detections):
    assert detections.counts() == {"mask": 1, "no_mask": 0, "incorrect": 1}


def test_json_of_a_frame(tracked):
    values = json.loads(tracked.to_json())
    assert (values["frame"], values["time"]) == (3, 0.12)
    assert values["detections"][1]["track_id"] == 4
    assert values["detections"][1]["wear"] == [0.8, 0.2]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_dataframes(tracked, library):
    needs.package(library)
    frame = tracked.to_dataframe(library)
    assert list(frame.columns) == list(tracked.to_columns())
    assert frame["label"].to_list() == tracked.labels
    assert frame["xmax"].to_list() == [30, 70]
    assert frame["track_id"].to_list() == [7, 4]
    assert list(tracked[[]].to_dataframe(library).columns) == list(frame.columns)
    with pytest.raises(UnknownNameError):
        tracked.to_dataframe("excel")


def test_coco_evaluation_finds_its_own_results_perfect(detections):
    coco = needs.module("faster_coco_eval")
    results = detections.to_coco(5)
    truth = {
        "images": [{"id": 5, "width": 100, "height": 90}],
        "categories": [{"id": index, "name": name} for index, name in enumerate(CLASSES, 1)],
        "annotations": [
            {**row, "id": index, "iscrowd": 0, "area": row["bbox"][2] * row["bbox"][3]}
            for index, row in enumerate(results, 1)
        ],
    }
    evaluation = coco.COCOeval_faster(coco.COCO(truth), coco.COCO(truth).loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)
    assert [row["category_id"] for row in results] == [3, 1]
    assert detections.to_coco(5, {"mask": 8, "incorrect": 9})[0]["category_id"] == 9
    with pytest.raises(UnknownNameError):
        detections.to_coco(5, {"mask": 8})


def drawing_of(detections: Detections, folder: Path) -> None:
    Image.new("RGB", detections.image_size, "grey").save(folder / "a.png")


def test_supervision_reads_what_is_written(tracked, tmp_path):
    supervision = needs.module("supervision")
    converted = tracked.to_supervision()
    np.testing.assert_array_equal(converted.xyxy, tracked.boxes)
    assert converted.tracker_id.tolist() == [7, 4]
    assert converted["class_name"].tolist() == tracked.labels
    np.testing.assert_array_equal(converted[1:].data["wear"], tracked[1:].attributes["wear"])
    assert len(tracked[[]].to_supervision()) == 0
    drawing_of(tracked, tmp_path)
    (tmp_path / "a.txt").write_text(tracked.to_yolo())
    (tmp_path / "data.yaml").write_text(json.dumps({"names": CLASSES}))
    data = supervision.DetectionDataset.from_yolo(
        str(tmp_path), str(tmp_path), str(tmp_path / "data.yaml")
    )
    ((_, _, labels),) = list(data)
    np.testing.assert_allclose(labels.xyxy, tracked.boxes, atol=1e-3)
    assert labels.class_id.tolist() == tracked.class_ids.tolist()


def test_voc_is_read_by_supervision_and_by_the_zoo(detections, tmp_path):
    supervision = needs.module("supervision")
    drawing_of(detections, tmp_path)
    (tmp_path / "a.xml").write_text(detections.to_voc())
    data = supervision.DetectionDataset.from_pascal_voc(str(tmp_path), str(tmp_path))
    ((_, _, labels),) = list(data)
    # supervision takes the first pixel for number 1, labelImg and the zoo for number 0.
    counted_from_1 = np.array([1, 1, 0, 0])
    np.testing.assert_array_equal(labels.xyxy, np.rint(detections.boxes) - counted_from_1)
    (picture,) = datasets.read(tmp_path, kind="voc").pictures
    assert [face.label for face in picture.faces] == ["incorrect", "mask"]
    assert picture.faces[1].box == (5, 6, 70, 80)


def test_voc_is_xml_whatever_the_file_is_called(detections):
    odd = dataclasses.replace(detections, source="a\x00<&>\ud800.jpg")
    root = ElementTree.fromstring(odd.to_voc())
    assert root.findtext("filename") == "a\ufffd<&>\ufffd.jpg"


def test_yolo_lines(detections):
    first, second = detections.to_yolo(scores=True).splitlines()
    assert [float(word) for word in first.split()] == pytest.approx(
        [2, (1.25 + 30) / 200, 42 / 180, 28.75 / 100, 38 / 90, 0.9], abs=1e-6
    )
    assert len(second.split()) == 6


def test_crops_stay_inside_and_are_never_empty(rng):
    image = rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)
    boxes = [[10, 20, 30, 40], [55, 45, 60, 50], [60, 50, 60, 50], [3, 3, 3, 3]]
    result = Detections(boxes, np.ones(4), np.zeros(4), CLASSES, (60, 50))
    plain = result.crops(image)
    np.testing.assert_array_equal(plain[0], image[20:40, 10:30])
    assert [crop.shape for crop in plain[2:]] == [(1, 1, 3), (1, 1, 3)]
    assert [crop.shape[:2] for crop in result.crops(image, margin=0.5)[:2]] == [(40, 40), (8, 8)]
    plain[0][:] = 0
    assert image[20:40, 10:30].any()
    for margin in (-0.1, float("nan"), float("inf"), "1"):
        with pytest.raises(InvalidArgumentError, match="margin"):
            result.crops(image, margin=margin)


@pytest.mark.parametrize("how", WAYS)
def test_blurred_faces_keep_no_detail_and_the_rest_is_untouched(how, rng):
    image = rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    result = Detections([[50, 50, 150, 150]], [0.9], [1], CLASSES, (200, 200))
    blurred = result.blur(image, how=how, margin=0)
    outside = np.ones((200, 200), bool)
    outside[50:150, 50:150] = False
    np.testing.assert_array_equal(blurred[outside], image[outside])
    spectrum = np.abs(np.fft.fft2(blurred[50:150, 50:150, 0] - float(blurred[~outside].mean())))
    before = np.abs(np.fft.fft2(image[50:150, 50:150, 0] - float(image[~outside].mean())))
    assert spectrum[20:80, 20:80].max() < before[20:80, 20:80].max() / 20
    with pytest.raises(UnknownNameError, match="pixelate"):
        result.blur(image, how="pixel")


def test_the_picture_is_read_again_where_it_came_from_a_file():
    path = str(PICTURES / "demo.jpg")
    size = load_image(path).shape[1::-1]
    result = Detections([[10, 10, 90, 90]], [0.9], [0], CLASSES, size, path)
    np.testing.assert_array_equal(result.annotate(), result.annotate(path))
    with pytest.raises(InvalidArgumentError, match="expected the picture"):
        dataclasses.replace(result, frame=2).annotate()
    with pytest.raises(InvalidArgumentError, match="expected the picture"):
        dataclasses.replace(result, source=None).blur()


def test_notebooks_show_a_table_and_the_picture_where_it_is_there(detections):
    odd = dataclasses.replace(detections, source="<script>.jpg", classes=("<b>", "n", "i"))
    text = odd._repr_html_()
    assert "<script>" not in text
    assert "<b>" not in text
    assert "<img" not in text
    path = str(PICTURES / "demo.jpg")
    size = load_image(path).shape[1::-1]
    assert "<img" in dataclasses.replace(detections, source=path, image_size=size)._repr_html_()
