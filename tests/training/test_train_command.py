from __future__ import annotations

import json

import pytest
from seeded import SMALL, seeded_model

from facemask_zoo import model_files
from facemask_zoo.cli import main
from facemask_zoo.training.record import read_log
from facemask_zoo.training.trainer import WEIGHTS_NAME

FAST = ["--steps", "2", "--batch-size", "4", "--workers", "0"]


@pytest.fixture
def start(tmp_path):
    """Weights to fine-tune."""
    model_files.write(seeded_model(SMALL, 0), tmp_path / "start.safetensors", "safetensors")
    return tmp_path / "start.safetensors"


def test_fine_tuning_for_other_classes(toys, start, tmp_path):
    output = tmp_path / "mine"
    words = ["train", "--data", toys, "--start", start, "--output", output, *FAST]
    assert main([str(word) for word in [*words, "--classes", "no_mask", "mask"]]) == 0
    model = model_files.read(output / WEIGHTS_NAME)
    assert model.card.name == "mine"
    assert model.card.network.classes == ("no_mask", "mask")
    assert read_log(output / "log.csv")[-1]["step"] == 2


def test_a_recorded_configuration_on_own_data(toys, tmp_path):
    words = [
        "train",
        "--config",
        "zoo-260",
        "--data",
        toys,
        "--output",
        tmp_path,
        "--seed",
        "4",
        *FAST,
    ]
    assert main([str(word) for word in words]) == 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["seed"] == 4
    assert config["schedule"]["steps"] == 2
    assert config["data"]["annotations"] == str(toys)
    assert model_files.read(tmp_path / WEIGHTS_NAME).card.name == "zoo-260"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Expected --config, or --data"),
        (["--config", "zoo-26"], "Did you mean 'zoo-260'"),
        (["--data", "missing.json", "--start", "aizoo-260"], "no such file"),
    ],
)
def test_wrong_calls(words, message, tmp_path, capsys):
    assert main(["train", "--output", str(tmp_path), *words]) == 1
    assert message in capsys.readouterr().err
