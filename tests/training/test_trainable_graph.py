"""Detectors of any graph in training: branches that fold into one convolution."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from graphs import seeded_batch
from pyramids import SMALL, seeded_pyramid
from torch import nn

from facemask_zoo.errors import UnsupportedOperationError, WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph import reference
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.program import Program
from facemask_zoo.training.model import TrainableGraph
from facemask_zoo.training.normalised import BranchedConvolution, NormalisedConvolution


def lively(module: nn.Module) -> nn.Module:
    """Normalisations with statistics and weights of their own."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return module


def trainable() -> TrainableGraph:
    torch.manual_seed(0)
    model = lively(TrainableGraph(SMALL.graph, SMALL.classes))
    assert isinstance(model, TrainableGraph)
    return model


def outputs(model: TrainableGraph, batch: np.ndarray) -> list[np.ndarray]:
    model.eval()
    with torch.no_grad():
        loc, logits = model(torch.from_numpy(batch))
    return [loc.numpy(), logits.sigmoid().numpy()]


CONVOLUTIONS = {
    "depthwise": {"in_channels": 6, "out_channels": 6, "groups": 6},
    "strided_depthwise": {"in_channels": 6, "out_channels": 6, "groups": 6, "stride": 2},
    "strided": {"in_channels": 6, "out_channels": 6, "stride": 2},
    "plain": {"in_channels": 6, "out_channels": 6},
    "wider": {"in_channels": 6, "out_channels": 10},
    "grouped": {"in_channels": 6, "out_channels": 6, "groups": 2},
}


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_branches_are_one_convolution(name, kernel):
    torch.manual_seed(0)
    options = {**CONVOLUTIONS[name], "kernel_size": kernel, "padding": kernel // 2, "bias": False}
    branched = lively(BranchedConvolution(nn.Conv2d(**options))).double().eval()
    assert (branched.identity is None) == (name == "wider")
    assert (branched.point is None) == ("depthwise" in name)
    weight, bias = branched.folded()
    single = nn.Conv2d(**{**options, "bias": True}).double()
    with torch.no_grad():
        single.weight.copy_(weight)
        single.bias.copy_(bias)
        x = torch.rand(2, 6, 9, 8, dtype=torch.float64)
        np.testing.assert_allclose(single(x).numpy(), branched(x).numpy(), rtol=0, atol=1e-12)


def test_every_branch_counts():
    torch.manual_seed(0)
    branched = lively(BranchedConvolution(nn.Conv2d(4, 4, 3, padding=1, bias=False)))
    whole, _ = branched.folded()
    for norm in (branched.norm, branched.point.norm, branched.identity):
        before = norm.weight.detach().clone()
        with torch.no_grad():
            norm.weight.zero_()
        assert not torch.allclose(branched.folded()[0], whole)
        with torch.no_grad():
            norm.weight.copy_(before)


def test_all_but_the_heads_are_normalised():
    model = trainable()
    heads = {f"{branch}{index}" for branch in ("loc", "cls") for index in range(3)}
    assert model.score_layers == {"cls0", "cls1", "cls2"}
    for name in model.layers:
        normalised = isinstance(model.get_submodule(name), NormalisedConvolution)
        assert normalised == (name not in heads), name
    assert isinstance(model.get_submodule("stage1_1_depth"), BranchedConvolution)
    assert not isinstance(model.get_submodule("stage1_1_point"), BranchedConvolution)


def test_scores_start_low():
    model = TrainableGraph(SMALL.graph, SMALL.classes)
    scores = outputs(model, seeded_batch(SMALL.graph, 2))[1]
    assert scores.mean() == pytest.approx(0.01, rel=0.5)


def test_the_folded_network_computes_the_same():
    model, batch = trainable(), seeded_batch(SMALL.graph, 2)
    expected = reference.forward(Program(SMALL.graph, model.export()), batch)
    for found, wanted in zip(outputs(model, batch), expected.values(), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_score_shift_moves_every_score_alike():
    model, batch = trainable(), seeded_batch(SMALL.graph, 1)
    scores = outputs(model, batch)[1].astype(np.float64)
    shifted = reference.forward(Program(SMALL.graph, model.export(0.5)), batch)
    found = shifted["cls_branch_concat"]
    shift = np.log(found / (1 - found)) - np.log(scores / (1 - scores))
    np.testing.assert_allclose(shift, 0.5, atol=1e-3)


def test_starting_from_weights_changes_nothing_and_neither_does_calibration():
    source, batch = seeded_pyramid(), seeded_batch(SMALL.graph, 2)
    model = TrainableGraph(SMALL.graph, SMALL.classes)
    model.start_from(source.tensors, SMALL.classes)
    expected = reference.forward(source.program, batch)
    for found, wanted in zip(outputs(model, batch), expected.values(), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    before = outputs(model, batch)
    model.calibrate([torch.from_numpy(seeded_batch(SMALL.graph, 4, seed=2))])
    for found, wanted in zip(outputs(model, batch), before, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_classes_are_matched_by_label():
    source, batch = seeded_pyramid(), seeded_batch(SMALL.graph, 2)
    other = dataclasses.replace(SMALL, classes=("no_mask", "visor"))
    model = TrainableGraph(other.graph, other.classes)
    model.start_from(source.tensors, SMALL.classes)
    expected = reference.forward(source.program, batch)["cls_branch_concat"]
    found = outputs(model, batch)[1]
    np.testing.assert_allclose(found[..., 0], expected[..., 1], atol=1e-4)
    assert found[..., 1].max() < 0.5


def test_other_layers_are_refused():
    wider = dataclasses.replace(SMALL, neck=24)
    with pytest.raises(WeightsError, match="expected shape"):
        TrainableGraph(wider.graph, SMALL.classes).start_from(
            seeded_pyramid().tensors, SMALL.classes
        )


def test_layers_that_cannot_be_trained_are_refused():
    b = GraphBuilder("data", (4,))
    b.add(ops.Linear, "loc_branch_concat", "data", features=4)
    b.add(ops.Sigmoid, "cls_branch_concat", "data")
    with pytest.raises(UnsupportedOperationError, match="Linear"):
        TrainableGraph(b.finish("loc_branch_concat", "cls_branch_concat"), ("mask",))
