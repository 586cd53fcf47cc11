"""Pruning removes what no picture can excite, and changes no output."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import ssd_reference as reference
from graphs import NETWORKS as GRAPHS
from graphs import seeded_batch as graph_batch
from graphs import seeded_program
from hypothesis import given, settings
from hypothesis import strategies as st
from pyramids import seeded_pyramid
from seeded import NETWORKS, SMALL, random_network, seeded_batch, seeded_model

from facemask_zoo import InvalidArgumentError, model_files
from facemask_zoo.backends import Options, find_framework
from facemask_zoo.cards import NO_TASK, ModelCard, list_models
from facemask_zoo.converters.conversion import convert
from facemask_zoo.converters.formats import registry
from facemask_zoo.converters.pruning import prune
from facemask_zoo.graph import reference as graph_reference
from facemask_zoo.graph.operations import Convolution
from facemask_zoo.graph.program import SUBNORMAL_LIMIT
from facemask_zoo.graph.signature import Signature
from facemask_zoo.model import Model
from facemask_zoo.ssd import Network
from facemask_zoo.store import open_weights

EXACT = 1e-12


def hidden_layers(network: Network) -> list[str]:
    return [layer.name for layer in network.convolutions if layer.relu]


def listeners(network: Network, name: str) -> list[str]:
    """Names of the layers that see a hidden layer, worked out by hand."""
    if name.endswith("_insert_conv2d"):
        return [name.replace("insert_conv2d", "conv")]
    stage = int(name.removeprefix("conv2d_"))
    heads = [
        f"{branch}_{index}_insert_conv2d"
        for index, level in enumerate(network.levels)
        for branch in ("loc", "cls")
        if level.stage == stage
    ]
    following = [f"conv2d_{stage + 1}"] if stage + 1 < len(network.stages) else []
    return heads + following


def planted(model: Model, rng: np.random.Generator) -> tuple[Model, dict[str, int]]:
    """The model with about half of the filters dead, and how many of each layer."""
    network = model.card.network
    tensors = {name: values.copy() for name, values in model.tensors.items()}
    dead: dict[str, int] = {}
    for name in hidden_layers(network):
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        chosen = np.flatnonzero(rng.random(len(bias)) < 0.5)[: len(bias) - 1]
        for index in chosen:
            kind = rng.integers(4)
            if kind == 0:  # says nothing
                weight[index], bias[index] = 0, -abs(bias[index])
            elif kind == 1:  # only dust
                weight[index], bias[index] = SUBNORMAL_LIMIT / 3, -SUBNORMAL_LIMIT / 7
            elif kind == 2:  # never gets over zero
                weight[index], bias[index] = -np.abs(weight[index]), -abs(bias[index])
            else:  # speaks, but nobody listens
                for listener in listeners(network, name):
                    tensors[f"{listener}.weight"][:, index] = 0
        dead[name] = len(chosen)
    return dataclasses.replace(model, tensors=tensors), dead


def assert_same_outputs(pruned: Model, model: Model, tolerance: float = EXACT) -> None:
    batch = seeded_batch(model.card.network, 2)
    expected = reference.forward(model.card.network, model.tensors, batch)
    outputs = reference.forward(pruned.card.network, pruned.tensors, batch)
    for actual, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance)


@given(seed=st.integers(0, 2**32 - 1), multiple=st.sampled_from([1, 2, 8]))
@settings(max_examples=40, deadline=None)
def test_planted_filters_go_and_no_output_changes(seed, multiple):
    rng = np.random.default_rng(seed)
    model, dead = planted(seeded_model(random_network(rng), seed), rng)
    pruned = prune(model, multiple)
    assert_same_outputs(pruned, model)
    for layer in model.card.network.convolutions:
        width = pruned.tensors[f"{layer.name}.bias"].shape[0]
        if multiple == 1:
            assert 1 <= width <= layer.outputs - dead.get(layer.name, 0)
        else:
            assert width % multiple == 0 or width == layer.outputs


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_pruning_ends_where_it_is_done_again(seed):
    rng = np.random.default_rng(seed)
    pruned = prune(planted(seeded_model(random_network(rng), seed), rng)[0])
    assert prune(pruned).digest == pruned.digest
    assert prune(prune(pruned, 8)).digest == pruned.digest


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_model_without_dead_filters_stays_as_it_is(network):
    model = seeded_model(network, 1)
    assert prune(model).digest == model.digest
    assert prune(model).card == model.card.portable()


def test_one_dead_layer_silences_what_comes_after_it():
    """A chain of removals: each becomes possible through the one before."""
    model = seeded_model(SMALL, 2)
    tensors = {name: values.copy() for name, values in model.tensors.items()}
    tensors["conv2d_3.weight"][:] = 0
    tensors["conv2d_3.bias"][:] = -1
    tensors["conv2d_4.bias"][:] = -1
    silent = dataclasses.replace(model, tensors=tensors)
    pruned = prune(silent)
    assert [stage.filters for stage in pruned.card.network.stages] == [5, 8, 7, 1, 1]
    assert_same_outputs(pruned, silent)


def test_a_constant_filter_stays():
    """Its border differs from its middle, so that no bias could stand for it."""
    model = seeded_model(SMALL, 4)
    tensors = {name: values.copy() for name, values in model.tensors.items()}
    tensors["conv2d_1.weight"][2] = 0
    tensors["conv2d_1.bias"][2] = 0.5
    constant = dataclasses.replace(model, tensors=tensors)
    assert prune(constant).digest == constant.digest


def test_a_network_that_a_user_brings_is_pruned_and_proven(tmp_path):
    """Its graph alone says what it is; converted, it does what it did."""
    program = seeded_program(GRAPHS["squeezing_classifier"], 1)
    tensors = {key: values.copy() for key, values in program.tensors.items()}
    for operation in program.graph.operations:
        if isinstance(operation, Convolution):
            tensors[f"{operation.name}.weight"][:3] = 0
            tensors[f"{operation.name}.bias"][:3] = 0
    brought = Model(ModelCard("brought", "A user's.", None, task=NO_TASK), tensors, program.graph)
    model_files.write(brought, tmp_path / "brought.onnx", "onnx")
    convert(tmp_path / "brought.onnx", tmp_path / "pruned.onnx", prune=1)
    pruned = model_files.read(tmp_path / "pruned.onnx")
    assert pruned.graph.parameter_count < brought.graph.parameter_count
    batch = graph_batch(program.graph, 2)
    found = graph_reference.forward(pruned.program, batch)
    (expected,) = graph_reference.forward(brought.program, batch).values()
    np.testing.assert_allclose(*found.values(), expected, rtol=0, atol=1e-6)


def test_an_architecture_without_widths_of_its_own_keeps_dead_channels():
    model = seeded_pyramid()
    tensors = {name: values.copy() for name, values in model.tensors.items()}
    for name in tensors:
        if name.startswith("stem"):
            tensors[name][:2] = 0
    dead = dataclasses.replace(model, tensors=tensors)
    assert prune(dead).digest == dead.digest
    assert prune(dead).card == dead.card.portable()


@pytest.mark.parametrize("multiple", [0, -8, 1.5, "8", True, None])
def test_absurd_multiples_are_refused(multiple):
    with pytest.raises(InvalidArgumentError, match="multiple"):
        prune(seeded_model(SMALL, 5), multiple)


@functools.cache
def aizoo() -> Model:
    return open_weights("aizoo-260").model()


@pytest.mark.shared
def test_aizoos_model_has_303_thousand_parameters_that_matter():
    pruned = prune(aizoo())
    assert aizoo().card.network.parameter_count == 1_011_384
    assert pruned.card.network.parameter_count == 302_928
    widths = [stage.filters for stage in pruned.card.network.stages]
    assert widths == [21, 58, 63, 62, 83, 56, 22, 14]
    assert_same_outputs(pruned, aizoo())


@pytest.mark.shared
def test_aizoos_model_answers_alike_before_and_after(need, tmp_path):
    """In the single precision of one framework, where only the order of additions differs."""
    backend = find_framework(need("onnx")).backend()
    batch, outputs = seeded_batch(aizoo().card.network, 4), []
    for model in (aizoo(), prune(aizoo())):
        model_files.write(model, tmp_path / "model.onnx", "onnx", overwrite=True)
        loaded = backend(tmp_path / "model.onnx", Signature.of(model.graph), Options())
        outputs.append(loaded.forward(batch).values())
    for before, after in zip(*outputs, strict=True):
        np.testing.assert_allclose(after, before, rtol=0, atol=2e-5)


@pytest.mark.shared
@pytest.mark.parametrize("multiple", [1, 16])
def test_aizoos_model_runs_pruned_on_every_framework(framework, multiple, tmp_path):
    pruned = prune(aizoo(), multiple)
    backend = find_framework(framework).backend()
    row = registry.find_format(backend.formats[0])
    model_files.write(pruned, tmp_path / f"pruned{row.suffix}", row.name)
    loaded = backend(tmp_path / f"pruned{row.suffix}", Signature.of(pruned.graph), Options())
    batch = seeded_batch(pruned.card.network, 1)
    loc, scores = loaded.forward(batch).values()
    expected = reference.forward(aizoo().card.network, aizoo().tensors, batch)
    np.testing.assert_allclose(loc, expected[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(scores, expected[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", list_models())
def test_models_of_the_zoo_stay_what_they_are_when_pruned(name):
    weights = open_weights(name)
    if not weights.cached():
        pytest.skip(f"{name} is not at hand")
    model = weights.model()
    pruned = prune(model)
    assert pruned.graph.parameter_count <= model.graph.parameter_count
    assert pruned.graph.output_shapes == model.graph.output_shapes
    assert pruned.card.labels == model.card.labels
