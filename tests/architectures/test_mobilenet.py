"""The second architecture: a classifier."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import seeded_batch, seeded_program

from facemask_zoo import InvalidArgumentError, UnknownNameError, architectures
from facemask_zoo.architectures.mobilenet import Block, MobileNet
from facemask_zoo.graph import reference

SMALL = MobileNet(
    input_size=33,
    classes=("mask", "no_mask", "incorrect"),
    stem=8,
    blocks=(Block(8, expansion=1), Block(12, stride=2), Block(12)),
    last=20,
)


def test_it_gives_probabilities():
    program = seeded_program(SMALL.graph)
    (found,) = reference.forward(program, seeded_batch(SMALL.graph, 2)).values()
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_a_residual_is_added_where_shapes_agree():
    names = [operation.name for operation in SMALL.graph.operations if operation.kind == "Add"]
    assert names == ["block0_add", "block2_add"]


def test_the_published_network_has_the_published_cost():
    """MobileNetV2 at 224 pixels: 300 million multiply-adds, 3.4 million parameters."""
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
    rows += ((6, 160, 3, 2), (6, 320, 1, 1))
    blocks = tuple(
        Block(filters, expansion, stride if index == 0 else 1)
        for expansion, filters, count, stride in rows
        for index in range(count)
    )
    labels = tuple(f"class_{index}" for index in range(1000))
    graph = MobileNet(224, labels, 32, blocks, 1280).graph
    assert graph.multiply_adds == 300_774_272
    # The published 3,504,872 count two numbers for each normalised channel; folded, one stays.
    assert graph.parameter_count == 3_487_816


def test_the_configuration_comes_back_and_is_checked():
    assert architectures.name_of(SMALL) == "mobilenet"
    assert architectures.from_dict("mobilenet", SMALL.to_dict()) == SMALL
    for change in (
        {"stem": 0},
        {"classes": []},
        {"blocks": [{"filters": 1, "stride": 3}]},
        {"x": 1},
    ):
        with pytest.raises((InvalidArgumentError, UnknownNameError)):
            architectures.from_dict("mobilenet", {**SMALL.to_dict(), **change})
    with pytest.raises(UnknownNameError):
        architectures.from_dict("transformer", {})
