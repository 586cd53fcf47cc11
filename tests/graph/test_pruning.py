"""Exact pruning on any graph."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program

from facemask_zoo import InvalidArgumentError
from facemask_zoo.benchmarks import networks
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph import reference
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.program import Program
from facemask_zoo.graph.pruning import prune


def with_dead_channels(program: Program, seed: int) -> Program:
    """Half of the filters get no positive weight and bias, or nobody has a weight for them."""
    rng = np.random.Generator(np.random.PCG64(seed))
    tensors = {name: values.copy() for name, values in program.tensors.items()}
    for operation in program.graph.operations:
        if isinstance(operation, ops.Convolution | ops.Linear):
            weight, bias = (tensors[f"{operation.name}.{part}"] for part in ("weight", "bias"))
            silent = rng.random(len(weight)) < 0.3
            weight[silent] = -abs(weight[silent])
            bias[silent] = -abs(bias[silent])
            gone = rng.random(len(weight)) < 0.2
            weight[gone] = 0
            bias[gone] = 0
            weight[:, rng.random(weight.shape[1]) < 0.2] = 0
    return Program(program.graph, tensors)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("name", [*NETWORKS, *SINGLE])
def test_outputs_stay(name, multiple, seed):
    program = with_dead_channels(seeded_program({**SINGLE, **NETWORKS}[name], seed), seed)
    pruned = prune(program, multiple, nonnegative_input=True)
    assert pruned.graph.output_shapes == program.graph.output_shapes
    assert pruned.graph.parameter_count <= program.graph.parameter_count
    batch = seeded_batch(program.graph, 3)
    found, expected = reference.forward(pruned, batch), reference.forward(program, batch)
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_dead_channels_go(name):
    program = with_dead_channels(seeded_program(NETWORKS[name]), 1)
    pruned = prune(program, nonnegative_input=True)
    assert pruned.graph.parameter_count < 0.95 * program.graph.parameter_count
    again = prune(pruned, nonnegative_input=True)
    assert again.graph == pruned.graph


def residual(silent_sum: bool) -> Program:
    """Two branches of two channels are added; the second channel of one, or both, is dead."""
    b = GraphBuilder("image", (1, 4, 4))
    left = b.add(ops.Convolution, "left", "image", filters=2, kernel=(1, 1))
    left = b.add(ops.Relu, "left_act", left)
    right = b.add(ops.Convolution, "right", "image", filters=2, kernel=(1, 1))
    right = b.add(ops.Relu, "right_act", right)
    both = b.add(ops.Add, "both", left, right)
    graph = b.finish(b.add(ops.Convolution, "last", both, filters=1, kernel=(1, 1)))
    dead, live = np.array([[1.0], [-1.0]]), np.array([[1.0], [1.0]])
    tensors = {
        "left.weight": dead,
        "left.bias": np.zeros(2),
        "right.weight": dead if silent_sum else live,
        "right.bias": np.zeros(2),
        "last.weight": np.ones((1, 2)),
        "last.bias": np.zeros(1),
    }
    shapes = graph.tensor_shapes
    return Program(graph, {k: v.astype(np.float32).reshape(shapes[k]) for k, v in tensors.items()})


def test_channels_that_an_addition_ties_go_together_or_stay():
    assert prune(residual(False), nonnegative_input=True).graph == residual(False).graph
    pruned = prune(residual(True), nonnegative_input=True).graph
    assert pruned.shapes["left"] == pruned.shapes["right"] == (1, 4, 4)


def test_a_negative_input_makes_a_negative_weight_heard():
    program = residual(True)
    assert prune(program).graph == program.graph


def test_a_multiple_has_to_be_a_positive_integer():
    for bad in (0, -1, 1.5, True):
        with pytest.raises(InvalidArgumentError):
            prune(residual(True), bad)
