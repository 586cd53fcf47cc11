from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from training.toys import toy_config

from facemask_zoo.cards import load_card
from facemask_zoo.errors import InvalidArgumentError, UnknownNameError
from facemask_zoo.training.config import (
    CONFIGS_FOLDER,
    ScheduleConfig,
    TrainingConfig,
    find_config,
    read_config,
    read_values,
)
from facemask_zoo.training.landmark_config import ARCHITECTURE
from facemask_zoo.training.optimise import learning_rate
from facemask_zoo.training.photographs import SourceRules

# Of detectors; landmark networks have a configuration of another kind.
RECORDED = sorted(
    path.stem
    for path in CONFIGS_FOLDER.glob("*.toml")
    if read_values(path).get("architecture") != ARCHITECTURE
)


def test_round_trip(tmp_path):
    config = toy_config(Path("a.json"))
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    assert read_config(path) == config


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_configurations_are_readable(name):
    config = read_config(find_config(name))
    assert TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_zoo_260_costs_no_more_than_aizoos_model_of_its_size():
    aizoo = load_card("aizoo-260").network
    assert read_config(find_config("zoo-260")).network.multiply_adds <= aizoo.multiply_adds


@pytest.mark.parametrize("name", RECORDED)
def test_negatives_for_measuring_are_not_trained_on(name):
    assert read_config(find_config(name)).data.held_out_negatives == 100


def test_a_configuration_may_be_based_on_another(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'base = "zoo-260"\n[schedule]\nsteps = 7\n[data.sources.mine]\nbox_weight = 0\n'
    )
    base, mine = read_config(find_config("zoo-260")), read_config(path)
    assert mine.schedule == dataclasses.replace(base.schedule, steps=7)
    assert mine.data.sources == {**base.data.sources, "mine": SourceRules(box_weight=0.0)}
    assert mine.network == base.network


@pytest.mark.parametrize("base", ['"{path}"', "3", "[1]"])
def test_a_base_without_an_end_is_refused(tmp_path, base):
    path = tmp_path / "mine.toml"
    path.write_text(f"base = {base.format(path=path)}\n")
    with pytest.raises(InvalidArgumentError, match="not a base"):
        read_config(path)


def test_an_unknown_base_names_the_known_ones(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "zoo-26"\n')
    with pytest.raises(UnknownNameError, match="zoo-260"):
        read_config(path)


def test_configurations_are_recorded():
    assert RECORDED


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sead": 3}, UnknownNameError, "'sead'.*'seed'"),
        ({"seed": "three"}, InvalidArgumentError, r"configuration\.seed: expected int"),
        ({"seed": True}, InvalidArgumentError, r"configuration\.seed: expected int"),
        ({"loss": 3}, InvalidArgumentError, r"configuration\.loss: expected a table"),
        ({"schedule": {}}, InvalidArgumentError, r"configuration\.schedule: .*steps"),
        (
            {"data": {"annotations": "a", "sources": {"x": {"box_weight": "no"}}}},
            InvalidArgumentError,
            r"sources\.x\.box_weight: expected float",
        ),
    ],
)
def test_wrong_fields_are_refused(change, error, message):
    values = toy_config(Path("a.json")).to_dict()
    with pytest.raises(error, match=message):
        TrainingConfig.from_dict({**values, **change})


def test_unreadable_files_are_refused(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = = 1")
    with pytest.raises(InvalidArgumentError, match="not a readable configuration"):
        read_config(broken)
    with pytest.raises(UnknownNameError, match="Unknown configuration 'nothing'"):
        find_config("nothing")


def test_unknown_partial_class():
    with pytest.raises(UnknownNameError, match="visor"):
        assert toy_config(Path("a.json"), partial_class="visor").partial_index
    assert toy_config(Path("a.json"), partial_class="").partial_index is None


def test_learning_rate_warms_up_holds_and_falls():
    schedule = ScheduleConfig(steps=100, learning_rate=1.0, warmup=10, decay=50, final=0.1)
    rates = [learning_rate(step, schedule) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert set(rates[9:51]) == {1.0}
    assert rates[75] == pytest.approx(0.55)
    assert rates[100] == pytest.approx(0.1)
    assert rates[50:] == sorted(rates[50:], reverse=True)
