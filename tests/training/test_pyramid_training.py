"""A small pyramid trained on drawn faces: it learns, and what is written computes the same."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnxruntime
import pytest
import torch
from pyramids import SMALL
from training.toys import toy_config, write_toys

from facemask_zoo import model_files
from facemask_zoo.detector import Detector
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.images import load_image
from facemask_zoo.ssd import iou
from facemask_zoo.training.augment import AugmentConfig
from facemask_zoo.training.config import ScheduleConfig, TrainingConfig
from facemask_zoo.training.photographs import load_photographs
from facemask_zoo.training.record import read_log
from facemask_zoo.training.trainer import WEIGHTS_NAME, Trainer

AUGMENT = AugmentConfig(min_face=2.0, face_sizes=(10.0, 40.0), keep_aspect=True)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_trainer(photographs, folder, config, **options) -> Trainer:
    return Trainer(config, photographs, folder, **{"precision": "fp32", "workers": 0, **options})


@pytest.fixture(scope="module")
def trainer(_one_thread, toys, photographs, tmp_path_factory):
    """A run on the toy faces, at its end."""
    config = toy_config(toys, 120, network=SMALL, augment=AUGMENT)
    trainer = make_trainer(photographs, tmp_path_factory.mktemp("run"), config)
    trainer.run(log_every=20)
    return trainer


def test_losses_fall(trainer):
    rows = read_log(trainer.folder / "log.csv")
    assert rows[-1]["total"] < 0.75 * rows[0]["total"]
    assert rows[-1]["boxes"] < rows[0]["boxes"]


def test_onnx_computes_what_was_trained(trainer, tmp_path):
    path = tmp_path / "file.onnx"
    model_files.write(trainer.trained(), path, "onnx")
    batch = np.random.default_rng(0).random((2, 3, 64, 64), dtype=np.float32)
    with torch.no_grad():
        loc, logits = trainer.average.model(torch.from_numpy(batch))
    session = onnxruntime.InferenceSession(path)
    found = session.run(["loc_branch_concat", "cls_branch_concat"], {"data": batch})
    np.testing.assert_allclose(found[0], loc.numpy(), atol=1e-5)
    np.testing.assert_allclose(found[1], logits.sigmoid().numpy(), atol=1e-5)


@pytest.mark.parametrize("size", [None, 96, (96, 128)])
def test_the_result_finds_toy_faces_at_any_size(trainer, size, tmp_path):
    """So few steps teach no threshold: the boxes of the best scores have to lie on faces."""
    detector = Detector.load(trainer.folder / WEIGHTS_NAME, conf=0.05, input_size=size)
    annotations = write_toys(tmp_path, 6, seed=9)
    entries = json.loads(annotations.read_text())["annotations"]
    hit = 0
    for index in range(6):
        x, y, w, h = np.array([e["bbox"] for e in entries if e["image_id"] == index]).T
        result = detector.detect(load_image(annotations.parent / f"{index}.png"))
        best = result.boxes[: len(x)]
        hit += int((iou(np.stack([x, y, x + w, y + h], axis=1), best) > 0.3).any(axis=1).sum())
    assert hit > len(entries) / 2


def test_the_result_carries_its_card(trainer):
    card = model_files.read(trainer.folder / WEIGHTS_NAME).card
    assert card.detector == SMALL
    assert card.preprocessing.fit == "letterbox"


def test_the_configuration_comes_back(toys):
    config = toy_config(toys, network=SMALL, augment=AUGMENT)
    values = json.loads(json.dumps(config.to_dict()))
    assert values["architecture"] == "pyramid"
    assert TrainingConfig.from_dict(values) == config


def test_only_squares_are_trained_on(toys):
    with pytest.raises(InvalidArgumentError, match="square"):
        toy_config(toys, network=SMALL.with_input_size((64, 96)))


def test_other_data_are_refused(toys, photographs, tmp_path):
    config = toy_config(toys, 2, network=SMALL)
    make_trainer(photographs, tmp_path, config).run()
    longer = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, steps=3))
    moved = photographs[0].faces.replace(boxes=photographs[0].faces.boxes + 1)
    changed = [dataclasses.replace(photographs[0], faces=moved), *photographs[1:]]
    for other in (changed, photographs[1:], photographs[::-1]):
        with pytest.raises(InvalidArgumentError, match="other pictures or labels"):
            make_trainer(other, tmp_path, longer).run()
    again = make_trainer(load_photographs(config.data, SMALL.classes), tmp_path, longer)
    again.run()
    assert again.step == 3


def test_a_configuration_from_before_a_field_existed_goes_on(toys, photographs, tmp_path):
    config = toy_config(toys, 2)
    make_trainer(photographs, tmp_path, config).run()
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    del values["architecture"], values["augment"]["keep_aspect"], values["data"]["consensus"]
    path.write_text(json.dumps(values))
    longer = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, steps=3))
    trainer = make_trainer(photographs, tmp_path, longer)
    trainer.run()
    assert trainer.step == 3


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"steps": -1},
        {"batch_size": 0},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"learning_rate": 0.0},
        {"stop": -1},
        {"clip": float("nan")},
    ],
)
def test_schedules_that_train_nothing_are_refused(change):
    with pytest.raises(InvalidArgumentError, match=next(iter(change))):
        ScheduleConfig(**{"steps": 10, **change})
