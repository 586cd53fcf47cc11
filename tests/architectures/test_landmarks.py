"""The landmark network: two outputs, and a configuration that comes back."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import seeded_batch, seeded_program
from landmark_networks import SMALL

from facemask_zoo import InvalidArgumentError, UnknownNameError, architectures
from facemask_zoo.graph import reference


def test_it_gives_points_and_a_pose():
    program = seeded_program(SMALL.graph)
    found = reference.forward(program, seeded_batch(SMALL.graph, 2))
    assert {name: values.shape for name, values in found.items()} == {
        "points": (2, 68, 2),
        "pose": (2, 3),
    }
    assert np.ptp(found["points"], axis=0).max() > 0


def test_the_last_map_is_gathered_whole_whatever_its_size():
    for size in (40, 41, 64):
        graph = SMALL.with_input_size(size).graph
        gather = graph.by_name["gather"]
        assert gather.groups == gather.filters == 16
        assert graph.input_shapes(gather)[0][1:] == gather.kernel


def test_the_configuration_comes_back_and_is_checked():
    assert architectures.name_of(SMALL) == "landmarks"
    assert architectures.from_dict("landmarks", SMALL.to_dict()) == SMALL
    assert SMALL.classes == ()
    for change in (
        {"points": 0},
        {"input_size": 8},
        {"blocks": []},
        {"blocks": [{"filters": 1, "stride": 3}]},
        {"features": True},
    ):
        with pytest.raises(InvalidArgumentError):
            architectures.from_dict("landmarks", {**SMALL.to_dict(), **change})
    with pytest.raises(UnknownNameError):
        architectures.from_dict("landmarks", {**SMALL.to_dict(), "x": 1})
