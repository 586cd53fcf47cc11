from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from training.toys import LABELS, toy_config, write_toys

from facemask_zoo.datasets import Face, Picture
from facemask_zoo.errors import DatasetError
from facemask_zoo.training.photographs import DataConfig, SourceRules, label_faces, load_photographs


def test_faces_and_negatives(toys, tmp_path):
    shutil.copy(toys.parent / "0.png", tmp_path / "empty.png")
    found = load_photographs(
        DataConfig(str(toys), negatives=str(tmp_path), negative_weight=0.5), LABELS
    )
    assert len(found) == 25
    assert found[0].image.shape == (96, 96, 3)
    assert len(found[0].faces)
    assert not len(found[-1].faces)
    assert found[-1].weight == 0.5


def test_everything_wrong_is_counted_before_training(tmp_path, caplog):
    path = write_toys(tmp_path, 6)
    content = json.loads(path.read_text())
    (tmp_path / "0.png").unlink()
    data = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(data[: len(data) // 2])
    extra = [
        {"id": 900, "image_id": 2, "category_id": 1, "bbox": [500, 500, 10, 10]},
        {"id": 901, "image_id": 2, "category_id": 1, "bbox": [10, 10, 0, 10]},
        {"id": 902, "image_id": 3, "category_id": 77, "bbox": [10, 10, 10, 10]},
    ]
    content["annotations"] += extra
    path.write_text(json.dumps(content))
    with caplog.at_level(logging.INFO):
        found = load_photographs(DataConfig(str(path), str(tmp_path)), LABELS)
    assert len(found) == 4
    assert sum(len(photo.faces) for photo in found) == sum(
        a["image_id"] > 1 for a in content["annotations"][: -len(extra)]
    )
    for line in (
        "1 x missing picture",
        "1 x box outside the picture",
        "1 x box without area",
        "1 x unknown category",
        "1 x corrupt picture",
    ):
        assert line in caplog.text


def test_nothing_to_train_on_is_refused(tmp_path):
    path = write_toys(tmp_path, 2)
    with pytest.raises(DatasetError, match="no face of the classes visor"):
        load_photographs(DataConfig(str(path), str(tmp_path)), ("visor",))
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "annotations": []}))
    with pytest.raises(DatasetError, match="Nothing to work with"):
        load_photographs(toy_config(path).data, LABELS)


def test_rules_of_a_source():
    rules = {"web": SourceRules(box_weight=0.25, extend_top=0.1)}
    picture = Picture(
        Path("a.jpg"), (200, 100), (Face((10, 20, 30, 60), "no_mask"),), "web", three_class=False
    )
    faces = label_faces(picture, LABELS, DataConfig("", sources=rules))
    np.testing.assert_allclose(faces.boxes, [[10, 16, 30, 60]])
    assert faces.classes.tolist() == [1]
    assert faces.box_weights.tolist() == [0.25]
    assert faces.partial.tolist() == [True]


def test_labels_that_the_network_does_not_know_are_ignored():
    faces = (Face((0, 0, 9, 9), "incorrect"), Face((0, 0, 9, 9), "mask"))
    labelled = label_faces(Picture(Path("a"), (10, 10), faces), ("mask",), DataConfig(""))
    assert labelled.ignored.tolist() == [True, False]
