"""Pictures with drawn masks: whose labels count, and how often they are drawn."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from training.toys import LABELS, toy_config, write_toys

from facemask_zoo import cli
from facemask_zoo.datasets import read
from facemask_zoo.errors import DatasetError, InvalidArgumentError
from facemask_zoo.training.data import Batches
from facemask_zoo.training.photographs import DataConfig, load_photographs
from facemask_zoo.training.synthetic import read_drawn


def draw_masks(toys: Path, folder: Path, count: int = 5) -> Path:
    """A set as ``facemask-zoo mask`` makes it: a mask on the first face of some of the toys.

    The box is a little off, and a detector has called everything else bare.
    """
    images, annotations = [], []
    for number, picture in enumerate(read(toys).pictures[:count], 1):
        name = f"IMFD/{picture.path.stem}_Mask_Mouth_Chin.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture.path, folder / name)
        images.append({"id": number, "file_name": name, "width": 96, "height": 96})
        for place, face in enumerate(picture.faces):
            x1, y1, x2, y2 = face.box
            entry = {"image_id": number, "bbox": [x1 + 1, y1 + 2, x2 - x1, y2 - y1]}
            worn = {"category_id": 3, "wearing": "nose-bare"} if place == 0 else {"category_id": 2}
            annotations.append({"id": len(annotations), **entry, **worn})
    categories = [{"id": index + 1, "name": label} for index, label in enumerate(LABELS)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def masked(toys, tmp_path):
    return draw_masks(toys, tmp_path / "masked")


def test_people_know_more_than_the_detector_but_a_drawn_mask_is_certain(toys, masked):
    real = read(toys).pictures
    found = read_drawn(str(masked), real)
    assert len(found) == 5
    for each, original in zip(found, real, strict=False):
        assert each.picture.path.parts[-2] == "IMFD"
        assert [face.box for face in each.picture.faces] == [face.box for face in original.faces]
        assert each.picture.labels == ["incorrect", *original.labels[1:]]
        assert each.drawn.tolist() == [True] + [False] * (len(original.faces) - 1)


def test_a_picture_without_labelled_original_has_its_own_annotations(toys, masked, caplog):
    real = read(toys).pictures[2:]
    found = read_drawn(str(masked), real)
    assert [each.picture.labels[1:] == ["no_mask"] * (len(each.drawn) - 1) for each in found[:2]]
    assert "2 of 5" in caplog.text


def test_a_face_that_nobody_had_labelled_is_added(toys, masked):
    real = [dataclasses.replace(each, faces=each.faces[1:]) for each in read(toys).pictures]
    for each, original in zip(read_drawn(str(masked), real), real, strict=False):
        assert each.picture.labels == [*original.labels, "incorrect"]
        assert each.drawn.tolist() == [False] * len(original.faces) + [True]


def test_views_show_their_share(toys, masked):
    data = toy_config(toys).data
    real = load_photographs(data, LABELS)
    both = load_photographs(dataclasses.replace(data, masked=str(masked), synthetic=0.3), LABELS)
    assert len(both) == len(real) + 5
    weights = np.array([photo.weight for photo in both])
    assert weights[-5:].sum() / weights.sum() == pytest.approx(0.3)
    plain = dataclasses.replace(toy_config(toys).augment, mosaic=0.0)
    batches = Batches(both[-5:] + both[:-5], 64, 40, plain, 0, 10)
    faces = [batches[number].faces for number in range(10)]
    incorrect = sum(int((each.classes == 2).sum()) for each in faces)
    assert incorrect > 60


def test_how_a_drawn_mask_is_worn_is_certain_where_real_labels_are_not(toys, masked):
    content = json.loads(toys.read_text())
    for image in content["images"]:
        image["three_class"] = False
    path = toys.parent / "two_class.json"
    path.write_text(json.dumps(content))
    data = DataConfig(str(path), str(toys.parent), masked=str(masked), synthetic=0.5)
    for photo in load_photographs(data, LABELS)[-5:]:
        assert photo.faces.partial.tolist() == [False] + [True] * (len(photo.faces) - 1)


def test_classes_that_are_drawn_more_often_are_so_here_too(toys, masked):
    data = dataclasses.replace(
        toy_config(toys).data,
        masked=str(masked),
        synthetic=0.2,
        class_picture_weights={"incorrect": 3.0, "mask": 5.0},
    )
    weights = [photo.weight for photo in load_photographs(data, LABELS)[-5:]]
    assert max(weights) / min(weights) in (pytest.approx(1), pytest.approx(5 / 3))


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, float("nan")])
def test_shares_are_checked(share):
    with pytest.raises(InvalidArgumentError, match="synthetic"):
        DataConfig("a.json", masked="b.json", synthetic=share)


def test_a_share_of_nothing_is_refused(toys, masked):
    with pytest.raises(InvalidArgumentError, match="masked"):
        DataConfig("a.json", synthetic=0.3)
    content = json.loads(masked.read_text())
    for entry in content["annotations"]:
        entry.pop("wearing", None)
    masked.write_text(json.dumps(content))
    data = dataclasses.replace(toy_config(toys).data, masked=str(masked), synthetic=0.3)
    with pytest.raises(DatasetError, match="drawn mask"):
        load_photographs(data, LABELS)


def test_damaged_pictures_are_left_out(toys, masked, caplog):
    victim = next(masked.parent.rglob("*.png"))
    victim.write_bytes(victim.read_bytes()[:-3000])
    data = dataclasses.replace(toy_config(toys).data, masked=str(masked), synthetic=0.3)
    with caplog.at_level(logging.INFO):
        found = load_photographs(data, LABELS)
    assert len(found) == 24 + 4
    assert "corrupt picture" in caplog.text


def test_the_command_records_the_share(tmp_path):
    toys = write_toys(tmp_path, 8)
    masked = draw_masks(toys, tmp_path / "masked")
    words = ["train", "--data", str(toys), "--images", str(tmp_path), "--masked", str(masked)]
    words += ["--output", str(tmp_path / "run"), "--steps", "1", "--batch-size", "2"]
    words += ["--workers", "0", "--precision", "fp32", "--threads", "1"]
    assert cli.main(words) == 0
    data = json.loads((tmp_path / "run" / "config.json").read_text())["data"]
    assert (data["synthetic"], data["masked"]) == (0.3, str(masked))
