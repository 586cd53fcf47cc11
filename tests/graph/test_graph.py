"""Graphs: what they refuse, what they know, and the reference against independent arithmetic."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program
from seeded import NETWORKS as SSD
from seeded import seeded_model

from facemask_zoo import WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph import reference, text
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.graph import MAX_OPERATIONS, Graph, Names
from facemask_zoo.graph.matching import match, renamed_like
from facemask_zoo.graph.program import Program
from facemask_zoo.graph.signature import DEFAULT_TOLERANCE, PROBABILITY_TOLERANCE, Signature
from facemask_zoo.graph.simplify import simplify

RELU = ops.Relu(name="a", inputs=("image",))


def graph(*operations: ops.Operation, outputs=("a",), shape=(3, 4, 4)) -> Graph:
    return Graph("image", shape, operations, outputs)


@pytest.mark.parametrize("name", [*SINGLE, *NETWORKS])
def test_text_and_matching_bring_a_graph_back(name):
    original = {**SINGLE, **NETWORKS}[name]
    assert text.from_json(text.to_json(original)) == original
    renamed = original.renamed({each: f"x_{each}" for each in original.shapes})
    assert match(renamed, original) == {f"x_{each}": each for each in original.shapes}
    program = seeded_program(original)
    tensors = {f"x_{key}": values for key, values in program.tensors.items()}
    back = renamed_like(Program(renamed, tensors), original)
    assert back is not None
    assert back.digest == program.digest


def test_different_computations_do_not_match():
    for first in SINGLE:
        for second in SINGLE:
            if first != second:
                assert match(SINGLE[first], SINGLE[second]) is None, (first, second)


def test_outputs_in_another_order_match():
    original = NETWORKS["depthwise_ssd"]
    turned = dataclasses.replace(original, outputs=original.outputs[::-1])
    assert match(turned, original) == {name: name for name in original.shapes}


@pytest.mark.parametrize("name", SSD)
def test_the_ssd_is_a_graph(name):
    model = seeded_model(SSD[name], 3)
    network = model.card.network
    assert network.graph.tensor_shapes == network.tensor_shapes
    assert network.graph.multiply_adds == network.multiply_adds
    assert network.graph.output_shapes == {
        "loc_branch_concat": (network.anchor_count, 4),
        "cls_branch_concat": (network.anchor_count, len(network.classes)),
    }


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ((ops.Relu(name="a", inputs=("b",)), ops.Relu(name="b", inputs=("a",))), "nothing before"),
        ((ops.Relu(name="a", inputs=("missing",)),), "nothing before"),
        ((RELU, RELU), "occurs twice"),
        ((ops.Relu(name="not legal", inputs=("image",)),), "is no name"),
        ((ops.Relu(name="a", inputs=()),), "inputs"),
        ((ops.Add(name="a", inputs=("image",)),), "inputs"),
        ((ops.Convolution(name="a", inputs=("image",), filters=0, kernel=(3, 3)),), "filters"),
        ((ops.Convolution(name="a", inputs=("image",), filters=4, kernel=(9, 9)),), "larger than"),
        (
            (ops.Convolution(name="a", inputs=("image",), filters=4, kernel=(1, 1), groups=2),),
            "groups",
        ),
        ((ops.Reshape(name="a", inputs=("image",), target=(7,)),), "cannot become"),
        ((ops.Transpose(name="a", inputs=("image",), order=(1, 0, 2, 3)),), "no order"),
        ((ops.Softmax(name="a", inputs=("image",), axis=0),), "no axis"),
        ((ops.Upsample(name="a", inputs=("image",), scales=(10**6, 1)),), "scales"),
        ((ops.Convolution(name="a", inputs=("image",), filters=1 << 30, kernel=(1, 1)),), "over"),
        (
            (ops.MaxPool(name="a", inputs=("image",), kernel=(2, 2), padding=(2, 0, 0, 0)),),
            "padding",
        ),
    ],
)
def test_what_is_no_graph_is_refused(operations, message):
    with pytest.raises(WeightsError, match=message):
        graph(*operations)


def test_outputs_have_to_be_there():
    for outputs in ((), ("b",), ("image",), ("a", "a")):
        with pytest.raises(WeightsError):
            graph(RELU, outputs=outputs)


def test_the_number_of_operations_is_limited():
    many = [RELU]
    for index in range(MAX_OPERATIONS):
        many.append(ops.Relu(name=f"a{index}", inputs=(many[-1].name,)))
    with pytest.raises(WeightsError, match="more than"):
        graph(*many)
    builder = GraphBuilder("image", (3,))
    value = "image"
    with pytest.raises(WeightsError, match="more than"):
        for index in range(MAX_OPERATIONS + 1):
            value = builder.add(ops.Relu, f"a{index}", value)


@pytest.mark.parametrize(
    "damage",
    [
        '"kind": 5',
        '"kind": "Relu", "name": "a", "inputs": "image"',
        '"kind": "Relu", "name": "a", "inputs": ["image"], "extra": 1',
        '"kind": "LeakyRelu", "name": "a", "inputs": ["image"], "slope": "1"',
        '"kind": "LeakyRelu", "name": "a", "inputs": ["image"], "slope": Infinity',
        '"kind": "Reshape", "name": "a", "inputs": ["image"], "target": [3.0, 16]',
        '"kind": "Reshape", "name": "a", "inputs": ["image"], "target": [-48, -1]',
        '"kind": "MaxPool", "name": "a", "inputs": ["image"], "kernel": [1]',
        '"kind": "MaxPool", "name": "a", "inputs": ["image"], "kernel": [true, true]',
    ],
)
def test_a_damaged_text_is_refused(damage):
    whole = '{"input": "image", "input_shape": [3, 4, 4], "operations": [{%s}], "outputs": ["a"]}'
    good = '"kind": "Relu", "name": "a", "inputs": ["image"]'
    assert text.from_json(whole % good) == graph(RELU)
    with pytest.raises(WeightsError):
        text.from_json(whole % damage)
    for other in ("", "[]", "{}", "[" * 100_000, "null"):
        with pytest.raises(WeightsError):
            text.from_json(other)


def test_names_become_legal_and_stay_different():
    names = Names()
    given = ["conv/1:0", "conv_1:0", "1", "", "é", "x" * 500, "x" * 501, "conv/1:0"]
    legal = [names[name] for name in given]
    assert legal[0] == legal[-1]
    assert len(set(legal)) == len(given) - 1
    Graph(legal[0], (3,), (ops.Relu(name=legal[5], inputs=(legal[0],)),), (legal[5],))


def test_a_program_refuses_tensors_that_do_not_fit():
    program = seeded_program(SINGLE["convolution"])
    key = "result.weight"
    for bad in (
        program.tensors[key][:1],
        program.tensors[key].astype(np.float64),
        np.full_like(program.tensors[key], np.nan),
    ):
        with pytest.raises(WeightsError, match=r"result\.weight"):
            Program(program.graph, {**program.tensors, key: bad})
    with pytest.raises(WeightsError, match="superfluous"):
        Program(program.graph, {**program.tensors, "more": program.tensors[key]})
    with pytest.raises(ValueError, match="read-only"):
        program.tensors[key][...] = 0


def test_the_signature_names_inputs_outputs_and_tolerances():
    signature = Signature.of(NETWORKS["depthwise_ssd"])
    assert (signature.input.name, signature.input.shape) == ("image", (3, 64, 64))
    assert signature.output_names == ("boxes", "scores")
    tolerances = [spec.tolerance for spec in signature.outputs]
    assert tolerances == [DEFAULT_TOLERANCE, PROBABILITY_TOLERANCE]


def test_simplifying_folds_normalisation_and_padding():
    b = GraphBuilder("image", (3, 8, 8))
    x = b.add(ops.Pad, "pad", "image", padding=(0, 0, 1, 1))
    x = b.add(ops.Convolution, "conv", x, filters=4, kernel=(3, 3), strides=(2, 2))
    x = b.add(ops.BatchNorm, "norm", x, epsilon=1e-3)
    x = b.add(ops.Relu, "act", x)
    alone = b.add(ops.BatchNorm, "alone", x, epsilon=1e-5)
    flat = b.add(ops.Reshape, "flat", alone, target=(4 * 16,))
    again = b.add(ops.Reshape, "again", flat, target=(64,))
    y = b.add(ops.Linear, "linear", again, features=5)
    y = b.add(ops.BatchNorm, "last", y, epsilon=1e-5)
    program = seeded_program(b.finish(y, x))
    found = simplify(program)
    kinds = [operation.kind for operation in found.graph.operations]
    assert kinds == ["Convolution", "Relu", "Convolution", "Reshape", "Linear"]
    assert found.graph.outputs == program.graph.outputs
    batch = seeded_batch(program.graph, 2)
    for name, expected in reference.forward(program, batch).items():
        np.testing.assert_allclose(reference.forward(found, batch)[name], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(8,), (6, 5), (3, 2, 4, 5)])
def test_normalisation_of_what_is_no_feature_map_becomes_a_convolution(shape):
    """As it stands behind the activation of a linear layer in many a classifier's head."""
    b = GraphBuilder("image", shape)
    x = b.add(ops.Relu, "norm_map", "image")
    x = b.add(ops.BatchNorm, "norm", x, epsilon=1e-3)
    program = seeded_program(b.finish(x))
    found = simplify(program)
    kinds = [operation.kind for operation in found.graph.operations]
    assert kinds == ["Relu", "Reshape", "Convolution", "Reshape"]
    batch = seeded_batch(program.graph, 2)
    expected = reference.forward(program, batch)["norm"]
    np.testing.assert_allclose(reference.forward(found, batch)["norm"], expected, atol=1e-6)


@pytest.mark.parametrize("features", [6, 7])
def test_rows_of_vectors_are_normalised_by_row_behind_a_linear_layer(features):
    """Where there are as many rows as features, shapes alone do not tell which is meant."""
    b = GraphBuilder("image", (6, 5))
    x = b.add(ops.Linear, "linear", "image", features=features)
    program = seeded_program(b.finish(b.add(ops.BatchNorm, "norm", x, epsilon=1e-3)))
    found = simplify(program)
    batch = seeded_batch(program.graph, 2)
    expected = reference.forward(program, batch)["norm"]
    np.testing.assert_allclose(reference.forward(found, batch)["norm"], expected, atol=1e-5)


def test_transpositions_that_cancel_go():
    b = GraphBuilder("image", (3, 8, 6))
    x = b.add(ops.Transpose, "last", "image", order=(0, 2, 3, 1))
    x = b.add(ops.Transpose, "first", x, order=(0, 3, 1, 2))
    x = b.add(ops.Relu, "a", x)
    found = simplify(Program(b.finish(x), {})).graph
    assert found == graph(RELU, shape=(3, 8, 6))


def test_a_graph_is_copied_as_itself():
    """Whether or not its tables, which cannot be copied, have been made."""
    graph = next(iter(NETWORKS.values()))
    assert graph.shapes
    assert copy.deepcopy([graph])[0] is graph
