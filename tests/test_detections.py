from __future__ import annotations

import json

import numpy as np
import pytest

from facemask_zoo import Detections, InvalidArgumentError

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
