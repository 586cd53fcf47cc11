from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from training.crowds import write_crowds
from training.toys import NETWORK, toy_config, write_toys

from facemask_zoo import model_files
from facemask_zoo.detector import Detector
from facemask_zoo.errors import DeviceError, InvalidArgumentError
from facemask_zoo.images import load_image
from facemask_zoo.training.config import TrainingConfig, find_config, read_config
from facemask_zoo.training.photographs import load_photographs
from facemask_zoo.training.record import read_log
from facemask_zoo.training.trainer import CHECKPOINT_NAME, WEIGHTS_NAME, Trainer


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def make_trainer(photographs, folder, config, **options) -> Trainer:
    return Trainer(config, photographs, folder, **{"precision": "fp32", "workers": 0, **options})


@pytest.fixture(scope="module")
def trained(toys, photographs, tmp_path_factory):
    """Folder of a run on the toy faces."""
    folder = tmp_path_factory.mktemp("run")
    make_trainer(photographs, folder, toy_config(toys, 120)).run(log_every=20)
    return folder


def test_losses_fall(trained):
    rows = read_log(trained / "log.csv")
    assert [row["step"] for row in rows] == list(range(20, 121, 20))
    assert rows[-1]["total"] < 0.5 * rows[0]["total"]
    assert rows[-1]["boxes"] < rows[0]["boxes"]


def test_the_result_finds_toy_faces_it_never_saw(trained, tmp_path, framework):
    detector = Detector.load(trained / WEIGHTS_NAME, framework=framework, conf=0.3)
    annotations = write_toys(tmp_path, 6, seed=9)
    content = json.loads(annotations.read_text())
    found = wanted = 0
    for index in range(6):
        result = detector.detect(load_image(annotations.parent / f"{index}.png"))
        found += len(result)
        wanted += sum(entry["image_id"] == index for entry in content["annotations"])
    assert wanted / 2 < found < wanted * 2


def test_the_result_carries_its_card(trained):
    model = model_files.read(trained / WEIGHTS_NAME)
    assert model.card.name == "toy"
    assert model.card.network == NETWORK


def test_recorded_losses(toys, photographs, tmp_path):
    """The same configuration and seed give the same losses as ever."""
    trainer = make_trainer(photographs, tmp_path, toy_config(toys, 6))
    trainer.run(log_every=1)
    totals = [row["total"] for row in read_log(tmp_path / "log.csv")]
    assert totals == pytest.approx(RECORDED, rel=2e-3)


@pytest.fixture(scope="module")
def crowds(tmp_path_factory):
    return write_crowds(tmp_path_factory.mktemp("crowds"), 40)


def losses_of(config: TrainingConfig, crowds, folder) -> list[tuple[float, float]]:
    """Both parts of the loss in the first steps of a configuration, on drawn crowds.

    Warm-up is cut short: otherwise the learning rate would not be felt in so few steps. In single
    precision, since what bf16 rounds away differs from processor to processor.
    """
    data = dataclasses.replace(
        config.data, annotations=str(crowds), images=str(crowds.parent), negatives=""
    )
    schedule = dataclasses.replace(config.schedule, steps=3, batch_size=8, warmup=4)
    config = dataclasses.replace(config, data=data, schedule=schedule)
    photographs = load_photographs(config.data, config.network.classes)
    assert len(photographs) == 40
    make_trainer(photographs, folder, config).run(log_every=1)
    return [(row["scores"], row["boxes"]) for row in read_log(folder / "log.csv")]


def as_recorded(losses: list[tuple[float, float]]) -> bool:
    """Within a hundredth: sums in another order differ by far less, other settings by more."""
    return bool(np.allclose(losses, RECORDED_ON_CROWDS, rtol=1e-2, atol=0))


def test_the_recorded_configuration_gives_the_recorded_losses(crowds, tmp_path):
    losses = losses_of(read_config(find_config("zoo-260")), crowds, tmp_path)
    assert as_recorded(losses), losses


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("loss", {"background_weight": 3.0}),
        ("loss", {"box_weight": 2.1}),
        ("schedule", {"learning_rate": 3e-3}),
        ("data", {"sources": {}}),
    ],
)
def test_another_configuration_gives_other_losses(part, change, crowds, tmp_path):
    """Or else the recorded losses would prove nothing."""
    config = read_config(find_config("zoo-260"))
    changed = dataclasses.replace(getattr(config, part), **change)
    losses = losses_of(dataclasses.replace(config, **{part: changed}), crowds, tmp_path)
    assert not as_recorded(losses)


def test_a_run_may_end_before_its_rate_has_fallen(toys, photographs, tmp_path):
    config = toy_config(toys, 4)
    schedule = dataclasses.replace(config.schedule, decay=4)
    rates = {}
    for stop in (0, 2):
        chosen = dataclasses.replace(config, schedule=dataclasses.replace(schedule, stop=stop))
        folder = tmp_path / str(stop)
        make_trainer(photographs, folder, chosen).run(log_every=1)
        rates[stop] = [row["learning_rate"] for row in read_log(folder / "log.csv")]
    assert len(rates[0]) == 4
    assert rates[2] == rates[0][:2]
    assert rates[0][1] > rates[0][3]


def test_a_resumed_run_has_the_losses_of_an_unbroken_one(toys, photographs, tmp_path):
    config = toy_config(toys, 6)
    whole = make_trainer(photographs, tmp_path / "whole", config)
    whole.run(log_every=1)
    cut = make_trainer(photographs, tmp_path / "cut", config)
    steps = cut._steps()
    for _ in range(3):
        next(steps)
    cut.save()
    next(steps)  # lost: the run is cut off after its last checkpoint
    resumed = make_trainer(photographs, tmp_path / "cut", config)
    resumed.run(log_every=1)
    expected = [row["total"] for row in read_log(tmp_path / "whole" / "log.csv")][3:]
    assert [r["total"] for r in read_log(tmp_path / "cut" / "log.csv")] == pytest.approx(expected)
    for name, values in whole.trained().tensors.items():
        np.testing.assert_allclose(resumed.trained().tensors[name], values, atol=1e-6)


def test_a_run_goes_on_under_its_own_configuration_alone(toys, photographs, tmp_path):
    config = toy_config(toys, 2)
    make_trainer(photographs, tmp_path, config).run()
    longer = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, steps=3))
    trainer = make_trainer(photographs, tmp_path, longer)
    trainer.run()
    assert trainer.step == 3
    other = dataclasses.replace(config, partial_class="")
    with pytest.raises(InvalidArgumentError, match="another configuration"):
        make_trainer(photographs, tmp_path, other).run()


def test_starting_from_a_checkpoint_goes_on_with_optimiser_and_average(toys, photographs, tmp_path):
    first = make_trainer(photographs, tmp_path, toy_config(toys, 2))
    first.run()
    config = toy_config(toys, 2, start=str(tmp_path / CHECKPOINT_NAME))
    second = make_trainer(photographs, tmp_path / "second", config)
    assert second.step == 0
    for name, values in first.trained().tensors.items():
        np.testing.assert_array_equal(second.trained().tensors[name], values)
    assert second.state()["optimiser"]["state"][0]["step"] == 2


def test_starting_from_weights_begins_where_they_ended(trained, toys, photographs, tmp_path):
    config = toy_config(toys, 2, start=str(trained / WEIGHTS_NAME))
    trainer = make_trainer(photographs, tmp_path, config)
    trainer.run(log_every=1)
    rows = read_log(trained / "log.csv")
    assert read_log(tmp_path / "log.csv")[0]["total"] < 0.6 * rows[0]["total"]


def test_bf16_trains_too(toys, photographs, tmp_path):
    trainer = make_trainer(photographs, tmp_path, toy_config(toys, 3), precision="bf16")
    trainer.run(log_every=1)
    totals = [row["total"] for row in read_log(tmp_path / "log.csv")]
    assert totals == pytest.approx(RECORDED[:3], rel=0.1)


def test_a_missing_device_is_refused(toys, photographs, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("CUDA is here")
    with pytest.raises(DeviceError, match="'cuda'"):
        make_trainer(photographs, tmp_path, toy_config(toys), device="cuda")


RECORDED_ON_CROWDS = [(4.28041, 0.682743), (3.57606, 0.895668), (3.42116, 0.79292)]
RECORDED = [5.87576, 5.73535, 5.6969, 5.56788, 5.5435, 5.28544]
