from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import ssd_reference as reference
from seeded import FULL, SMALL, random_network, seeded_batch, seeded_model

from facemask_zoo import architectures
from facemask_zoo.errors import InvalidArgumentError, UnknownNameError
from facemask_zoo.ssd import Stage


def test_aizoo_figures():
    assert FULL.anchor_count == 5972
    assert FULL.with_input_size(360).anchor_count == 11000
    assert FULL.parameter_count == 1_011_384
    assert FULL.stage_sizes == (260, 130, 65, 33, 17, 9, 5, 3)
    assert FULL.with_input_size(360).level_sizes == (45, 23, 12, 6, 4)
    assert FULL.multiply_adds == pytest.approx(759.2e6, abs=0.1e6)
    assert FULL.with_input_size(360).multiply_adds == pytest.approx(1436.3e6, abs=0.1e6)
    assert len(FULL.convolutions) == 28


@pytest.mark.parametrize("network", [FULL, SMALL], ids=["full", "small"])
def test_json_round_trip(network):
    assert architectures.from_dict("ssd", json.loads(json.dumps(network.to_dict()))) == network


def test_outputs_have_the_announced_shapes(rng):
    for _ in range(3):
        network = random_network(rng)
        model = seeded_model(network, seed=1)
        loc, scores = reference.forward(network, model.tensors, seeded_batch(network, 2))
        assert loc.shape == (2, network.anchor_count, 4)
        assert scores.shape == (2, network.anchor_count, len(network.classes))
        assert 0 < scores.min() < scores.max() < 1


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("input_size", 4, "input_size"),
        ("input_size", 1 << 20, "input_size"),
        ("input_size", "260", "input_size"),
        ("input_size", True, "input_size"),
        ("classes", [], "classes"),
        ("classes", [1], "classes"),
        ("stages", [], "number of stages"),
        ("stages", [{"filters": 0, "pool": False}], "filters"),
        ("stages", [{"filters": 10**9, "pool": False}], "filters"),
        ("stages", [{"filters": 8, "pool": True}], "first stage"),
        ("stages", [{"width": 8}], r"field of network.stages\[0\] 'width'"),
        ("stages", 7, "network.stages: expected a list, but got 7"),
        ("levels", [], "number of levels"),
        ("levels", [{"stage": 99, "sizes": [1], "ratios": [1], "loc_filters": 1,
                     "cls_filters": 1}], "stage"),
        ("levels", [{"stage": 3, "sizes": [-1], "ratios": [1], "loc_filters": 1,
                     "cls_filters": 1}], "sizes"),
        ("levels", [{"stage": 3, "sizes": [float("nan")], "ratios": [1], "loc_filters": 1,
                     "cls_filters": 1}], "sizes"),
        ("variances", [1, 1, 1], "variances"),
    ],
)  # fmt: skip
def test_a_wrong_description_is_refused(field, value, message):
    values = FULL.to_dict() | {field: value}
    with pytest.raises((InvalidArgumentError, UnknownNameError), match=message):
        architectures.from_dict("ssd", values)


def test_a_missing_field_is_refused():
    values = FULL.to_dict()
    del values["stages"]
    with pytest.raises(InvalidArgumentError, match="stages"):
        architectures.from_dict("ssd", values)


def test_too_small_an_input_is_refused():
    with pytest.raises(InvalidArgumentError, match="too small"):
        FULL.with_input_size(64)


def test_pooling_rounds_up_and_padding_never_wins():
    """All pixels negative: a pool that pads with zero would let the padding win."""
    network = SMALL
    builder = reference._NumpyBuilder({})
    pooled = builder.pool(np.full((1, 1, 5, 5), -1.0), "pool")
    np.testing.assert_array_equal(pooled, np.full((1, 1, 3, 3), -1.0))
    assert network.stage_sizes == (97, 49, 25, 13, 11)


def test_a_stage_that_no_level_sees_is_refused():
    with pytest.raises(InvalidArgumentError, match="No level sees the stages after stage 4"):
        dataclasses.replace(SMALL, stages=(*SMALL.stages, Stage(9, pool=False)))
