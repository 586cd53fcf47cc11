"""A landmark network is trained: what it is shown, how it goes on, and what comes out."""

from __future__ import annotations

import csv
import dataclasses
import math

import numpy as np
import pytest
import torch
from landmark_networks import SMALL, noise_crops

from facemask_zoo import InvalidArgumentError, Landmarker, cli, model_files
from facemask_zoo.datasets.face_crops import FaceCrops
from facemask_zoo.datasets.landmarks import MIRRORED
from facemask_zoo.errors import DatasetError, OutputError
from facemask_zoo.graph import reference
from facemask_zoo.training.checkpoint import load_checkpoint
from facemask_zoo.training.config import ScheduleConfig, find_config, read_values
from facemask_zoo.training.landmark_batches import FaceBatches, Placement, _mirror, as_batch
from facemask_zoo.training.landmark_config import (
    CropsConfig,
    FaceAugmentConfig,
    LandmarkTrainingConfig,
)
from facemask_zoo.training.landmark_trainer import (
    LOG_NAME,
    LandmarkTrainer,
    choose_groups,
    landmark_loss,
)
from facemask_zoo.training.trainer import CHECKPOINT_NAME, WEIGHTS_NAME

SIDE = 64
PLAIN = FaceAugmentConfig(0, 0, (1.0, 1.0), 0, 0, 0, 8, 0, 0)


@pytest.fixture(scope="module")
def toys() -> FaceCrops:
    """Squares somewhere in grey: their points are a grid on them."""
    rng = np.random.default_rng(1)
    count = 40
    crops = np.full((count, SIDE, SIDE, 3), 90, np.uint8)
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 17), np.linspace(0, 1, 4)), -1).reshape(-1, 2)
    points = np.empty((count, 68, 2), np.float32)
    for index in range(count):
        x, y = rng.integers(14, 26, 2)
        crops[index, y : y + 24, x : x + 24] = (220, 180, 150)
        points[index] = (grid * 24 + (x, y)) / SIDE
    masked = crops[:, None].copy()
    groups = np.array([str(index) for index in range(count)])
    return FaceCrops(crops, masked, points, np.zeros((count, 3), np.float32), groups)


def make_config(**changes) -> LandmarkTrainingConfig:
    config = LandmarkTrainingConfig(
        "toy",
        "Squares.",
        SMALL,
        CropsConfig("", held_out=0.2),
        ScheduleConfig(150, batch_size=16, learning_rate=1e-2, warmup=5, decay=120, ema_decay=0.9),
        FaceAugmentConfig(rotation=0.0, noise=0.0, hide=0.0, blur=0.0),
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def trainer(toys, tmp_path_factory):
    trainer = LandmarkTrainer(make_config(), toys, tmp_path_factory.mktemp("run"))
    trainer.run(log_every=75)
    return trainer


def test_the_error_on_faces_it_has_not_seen_falls(trainer, toys):
    with (trainer.folder / LOG_NAME).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["75", "150"]
    start = LandmarkTrainer(make_config(), toys, trainer.folder / "other")
    assert float(rows[-1]["bare"]) < 0.8 * start.errors().bare


def test_what_is_written_says_what_the_network_says(trainer, toys):
    model = model_files.read(trainer.folder / WEIGHTS_NAME)
    batch = next(trainer._held_out.plain(False))
    with torch.no_grad():
        points, pose = trainer.average.model(batch.images)
    found = reference.forward(model.program, batch.images.numpy())
    np.testing.assert_allclose(found["points"], points, atol=1e-4)
    np.testing.assert_allclose(found["pose"], pose, atol=1e-4)
    landmarker = Landmarker.load(trainer.folder / WEIGHTS_NAME)
    box = np.concatenate([toys.points[0].min(axis=0), toys.points[0].max(axis=0)]) * SIDE
    assert landmarker.detect(toys.bare[0], box[None]).points.shape == (1, 68, 2)


def test_a_run_that_was_cut_off_ends_like_one_that_was_not(toys, tmp_path):
    config = make_config(schedule=ScheduleConfig(6, batch_size=8, warmup=1))
    whole = LandmarkTrainer(config, toys, tmp_path / "whole")
    whole.run(log_every=3)
    halted = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, stop=3))
    LandmarkTrainer(halted, toys, tmp_path / "parts").run(log_every=3)
    parts = LandmarkTrainer(config, toys, tmp_path / "parts")
    parts.run(log_every=3)
    for name, values in whole.trained().tensors.items():
        np.testing.assert_allclose(parts.trained().tensors[name], values, atol=1e-6)
    assert len((tmp_path / "parts" / LOG_NAME).read_text().splitlines()) == 3
    with pytest.raises(InvalidArgumentError, match="other faces"):
        LandmarkTrainer(config, toys[slice(30)], tmp_path / "parts").run()
    other = dataclasses.replace(config, seed=5)
    with pytest.raises(InvalidArgumentError, match="another configuration"):
        LandmarkTrainer(other, toys, tmp_path / "parts").run()


def test_a_run_that_begins_anew_never_goes_on_from_the_old_one(toys, tmp_path, monkeypatch):
    schedule = ScheduleConfig(3, batch_size=8, warmup=1)
    LandmarkTrainer(make_config(schedule=schedule), toys, tmp_path).run()

    def interrupt(*_):
        raise KeyboardInterrupt

    anew = make_config(schedule=schedule, seed=5)
    with monkeypatch.context() as patch:
        patch.setattr(LandmarkTrainer, "train_step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            LandmarkTrainer(anew, toys, tmp_path, overwrite=True).run()
    assert load_checkpoint(tmp_path / CHECKPOINT_NAME)["step"] == 0
    LandmarkTrainer(anew, toys, tmp_path).run()


def test_without_faces_to_measure_on_errors_are_no_numbers(toys, tmp_path):
    config = make_config(data=CropsConfig("", held_out=0.0))
    errors = LandmarkTrainer(config, toys, tmp_path).errors()
    assert math.isnan(errors.bare)
    assert math.isnan(errors.degrees)
    with pytest.raises(DatasetError, match="held out"):
        LandmarkTrainer(make_config(data=CropsConfig("", held_out=1.0)), toys, tmp_path)


def test_a_folder_of_something_else_is_left_alone(toys, tmp_path):
    (tmp_path / WEIGHTS_NAME).write_bytes(b"mine")
    with pytest.raises(OutputError, match=WEIGHTS_NAME):
        LandmarkTrainer(make_config(), toys, tmp_path)


def test_points_move_as_the_pixels_do():
    """A bright dot is where its point is, however the crop is shifted, scaled and turned."""
    images = torch.zeros(4, 3, 64, 64)
    places = torch.tensor([[40, 20], [20, 41], [32, 32], [25, 30]])
    for index, (x, y) in enumerate(places.tolist()):
        images[index, :, y, x] = 1
    placement = Placement(
        torch.tensor([[0.5, 0.5], [0.45, 0.55], [0.5, 0.5], [0.52, 0.48]]),
        torch.tensor([1.0, 0.8, 0.7, 0.9]),
        torch.tensor([0.0, 0.3, -0.8, 1.1]),
    )
    points = placement.place((places[:, None] + 0.5) / 64)[:, 0]
    seen = placement.sample(images, 128)[:, 0]
    for index in range(4):
        y, x = divmod(int(seen[index].argmax()), 128)
        expected = (points[index] + 0.5) * 128
        assert math.dist((x + 0.5, y + 0.5), expected.tolist()) < 2.5


def test_a_face_turned_clockwise_has_a_larger_roll():
    crops = noise_crops(2, side=16)
    batches = FaceBatches(crops, 16, 2, dataclasses.replace(PLAIN, rotation=20.0), 1.75, 0)
    batch = batches[0]
    eyes = batch.points[:, 45] - batch.points[:, 36]
    original = torch.from_numpy(crops.points)
    before = original[:, 45] - original[:, 36]
    rolls = torch.atan2(eyes[:, 1], eyes[:, 0])
    for index in range(2):
        options = [torch.atan2(side * b[1], b[0]) for b in before for side in (1, -1)]
        options += [math.pi - angle for angle in options]
        roll = batch.poses[index, 2]
        near = [
            abs((rolls[index] - roll - angle + math.pi) % (2 * math.pi) - math.pi)
            for angle in options
        ]
        assert min(near) < 0.05


def test_mirrored_faces_have_mirrored_points_and_poses():
    crops = noise_crops(1, side=16)
    batch = as_batch(crops.bare, crops.points, crops.poses)
    mirrored = _mirror(batch, np.array([True]))
    np.testing.assert_array_equal(mirrored.images[0], batch.images[0].flip(2))
    np.testing.assert_allclose(
        mirrored.points[0, 36], (1 - batch.points[0, 45, 0], batch.points[0, 45, 1])
    )
    np.testing.assert_allclose(mirrored.poses, batch.poses * torch.tensor([-1, 1, -1]))
    again = _mirror(mirrored, np.array([True]))
    np.testing.assert_allclose(again.points, batch.points, atol=1e-6)
    assert MIRRORED[36] == 45


def test_batches_come_from_the_seed_and_show_every_face(toys):
    batches = FaceBatches(toys, 40, 8, FaceAugmentConfig(), 1.75, 3)
    again = FaceBatches(toys, 40, 8, FaceAugmentConfig(), 1.75, 3)
    for step in (0, 7):
        np.testing.assert_array_equal(batches[step].images, again[step].images)
    assert batches[0].images.shape == (8, 3, 40, 40)
    assert batches[0].images.min() >= 0
    assert batches[0].images.max() <= 1
    epoch = np.concatenate([batches._order(0)])
    assert sorted(epoch) == list(range(40))


def test_masked_faces_are_their_share(toys):
    bright = dataclasses.replace(toys, masked=np.full_like(toys.masked, 255))
    for share in (0.0, 0.5, 1.0):
        batches = FaceBatches(bright, 40, 40, dataclasses.replace(PLAIN, masked=share), 1.75, 0)
        seen = (batches[0].images.mean(dim=(1, 2, 3)) > 0.99).float().mean()
        assert float(seen) == pytest.approx(share, abs=0.2 if share == 0.5 else 0)


def test_the_loss_is_zero_where_nothing_is_off_and_counts_distances_of_the_eyes():
    batch = as_batch(*(getattr(noise_crops(2), name) for name in ("bare", "points", "poses")))
    config = make_config().loss
    assert landmark_loss(batch.points, batch.poses, batch, config) == 0
    near = dataclasses.replace(batch, points=batch.points * 0.5)
    off = [landmark_loss(b.points * 1.5, b.poses, b, config) for b in (batch, near)]
    eyes = (batch.points[:, 45] - batch.points[:, 36]).norm(dim=1)
    assert (eyes > 2 * config.least_eyes).all()
    np.testing.assert_allclose(off[0], off[1], rtol=1e-5)


def test_whole_groups_are_held_out():
    crops = dataclasses.replace(noise_crops(40), groups=np.array([f"{i // 4}" for i in range(40)]))
    chosen = choose_groups(crops, 0.3)
    assert 0 < chosen.sum() < 40
    assert all(len(set(part)) == 1 for part in chosen.reshape(10, 4))


def test_the_command_trains_from_crops(toys, tmp_path, capsys):
    toys.save(tmp_path / "crops.npz")
    output = tmp_path / "run"
    words = ["train", "--config", "landmarks-64", "--data", tmp_path / "crops.npz"]
    words += ["--output", output, "--steps", "1", "--batch-size", "2", "--threads", "1"]
    assert cli.main([str(word) for word in words]) == 0
    assert model_files.read(output / WEIGHTS_NAME).card.name == "landmarks-64"
    assert cli.main([str(word) for word in [*words, "--classes", "mask"]]) == 1
    assert "--classes" in capsys.readouterr().err


def test_the_recorded_configuration_is_read():
    config = LandmarkTrainingConfig.from_dict(read_values(find_config("landmarks-64")))
    assert LandmarkTrainingConfig.from_dict(config.to_dict()) == config
    with pytest.raises(InvalidArgumentError):
        LandmarkTrainingConfig.from_dict({**config.to_dict(), "network": []})
