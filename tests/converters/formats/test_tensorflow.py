"""Frozen graphs and SavedModels carry every operation, and TensorFlow agrees with the reference."""

from __future__ import annotations

import dataclasses

import needs
import numpy as np
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program
from seeded import FULL

from facemask_zoo import WeightsError
from facemask_zoo.backends import Options
from facemask_zoo.converters.formats import tensorflow
from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph import reference
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.matching import renamed_like
from facemask_zoo.graph.signature import Signature

GRAPHS = {**SINGLE, **NETWORKS, "ssd": FULL.graph}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_comes_back(name, tmp_path):
    program = dataclasses.replace(seeded_program(GRAPHS[name]), card='{"name": "x"}')
    path = tmp_path / "file.pb"
    tensorflow.write(program, path)
    read = tensorflow.read(path)
    assert read.card == program.card
    assert tensorflow.read_card(path) == program.card.encode()
    found = renamed_like(read, program.graph)
    assert found is not None
    assert found.digest == program.digest
    assert read.graph.outputs == program.graph.outputs


@pytest.mark.parametrize("name", GRAPHS)
def test_the_backend_runs_any_graph(name, tmp_path):
    kind = needs.framework("tensorflow").TensorFlowBackend
    program = seeded_program(GRAPHS[name])
    tensorflow.write(program, tmp_path / "file.pb")
    backend = kind(tmp_path / "file.pb", Signature.of(program.graph), Options())
    for count in (1, 3):
        assert_near(backend, program, count, 1e-4 if name == "ssd" else 2e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_saved_model_runs(name, tmp_path):
    kind = needs.framework("tensorflow").TensorFlowBackend
    from facemask_zoo.converters.formats import saved_model

    program = dataclasses.replace(seeded_program(NETWORKS[name]), card='{"name": "x"}')
    saved_model.write(program, tmp_path / "saved")
    card = tmp_path / "saved" / "assets.extra" / "facemask_zoo.card.json"
    assert card.read_text() == program.card
    backend = kind(tmp_path / "saved", Signature.of(program.graph), Options())
    assert_near(backend, program, 3, 2e-5)


def assert_near(backend, program, count: int, tolerance: float) -> None:
    batch = seeded_batch(program.graph, count) * 4 - 2
    answers = backend.forward(batch)
    for output, expected in reference.forward(program, batch).items():
        assert answers[output].shape == expected.shape
        np.testing.assert_allclose(answers[output], expected, atol=tolerance)


def awkward():
    """Names that TensorFlow has not, and an output that something else sees."""
    b = GraphBuilder("_image", (3, 6, 6))
    window = {"filters": 4, "kernel": (3, 3)}
    x = b.add(ops.Convolution, "_first", "_image", **window)
    x = b.add(ops.Reshape, "_flat", x, target=(64,))
    x = b.add(ops.Relu, "_seen", b.add(ops.Linear, "_linear", x, features=5))
    y = b.add(ops.Linear, "_last", x, features=2)
    return b.finish("_first", "_seen", y)


def test_names_and_outputs_that_tensorflow_finds_awkward(tmp_path):
    program = seeded_program(awkward())
    path = tmp_path / "file.pb"
    tensorflow.write(program, path)
    found = tensorflow.read(path)
    assert found.graph.outputs == program.graph.outputs
    assert renamed_like(found, program.graph) is not None
    kind = needs.framework("tensorflow").TensorFlowBackend
    assert_near(kind(path, Signature.of(program.graph), Options()), program, 2, 2e-5)


def node(name: str, kind: str, *inputs: str, **attributes):
    message = tensorflow._SCHEMA["NodeDef"](name=name, op=kind, input=inputs)
    for key, value in attributes.items():
        message.attr.add(key=key, value=tensorflow._attribute_message(key, value))
    return message


IMAGE = node("image", "Placeholder", dtype=1, shape=(-1, 4))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([IMAGE, node("a", "Relu", "b"), node("b", "Relu", "a"), node("c", "Relu", "b")], "circle"),
        ([IMAGE, node("a", "Relu", "b")], "no node"),
        ([IMAGE, node("a", "Relu", "image"), node("a", "Relu", "image")], "one name"),
        ([IMAGE, node("a", "Relu", "image:7")], "result 7"),
        ([IMAGE, node("a", "Relu", "image:x")], "no input"),
        ([IMAGE, node("a", "Relu")], "lacks its input"),
        ([IMAGE], "different outputs"),
        ([node("a", "NoOp")], "one placeholder"),
        ([IMAGE, node("a", "Cos", "image")], r"Cos \(a\)"),
    ],
)
def test_graphs_that_are_none_are_refused(nodes, message, tmp_path):
    definition = tensorflow._SCHEMA["GraphDef"](node=nodes)
    (tmp_path / "file.pb").write_bytes(definition.SerializeToString())
    with pytest.raises(WeightsError, match=message):
        tensorflow.read(tmp_path / "file.pb")


def test_an_unknown_setting_is_named(tmp_path):
    pool = node("pool", "MaxPool", "image", data_format=b"NCHW")
    image = node("image", "Placeholder", dtype=1, shape=(-1, 4, 4, 4))
    definition = tensorflow._SCHEMA["GraphDef"](node=[image, pool])
    (tmp_path / "file.pb").write_bytes(definition.SerializeToString())
    with pytest.raises(UnsupportedOperationError, match="NCHW"):
        tensorflow.read(tmp_path / "file.pb")


def test_a_column_is_no_bias_of_the_features(tmp_path):
    """Where a matrix product has as many rows as features, a constant (rows, 1) fits both."""
    needs.framework("tensorflow")
    import tensorflow as tf

    weight, column = np.ones((16, 8), np.float32), np.ones((8, 1), np.float32)

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 16), tf.float32, "x")])
    def network(x):
        return tf.identity(tf.matmul(x, weight) + column, "y")

    graph = network.get_concrete_function().graph.as_graph_def()
    (tmp_path / "rows.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(UnsupportedOperationError, match=r"constant of shape \(8, 1\)"):
        tensorflow.read(tmp_path / "rows.pb")


def arithmetic(kind, values, path):
    """The file of a value and a constant; four numbers become eight."""
    weight = tensorflow.constant_node("weight", np.ones((4, 8), np.float32))
    product = node("product", "MatMul", "image", "weight")
    constant = tensorflow.constant_node("constant", np.array(values, np.float32))
    nodes = [IMAGE, weight, product, constant, node("result", kind, "product", "constant")]
    path.write_bytes(tensorflow._SCHEMA["GraphDef"](node=nodes).SerializeToString())
    return path


@pytest.mark.parametrize("kind", ["AddV2", "Mul", "Sub", "RealDiv"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 8), (1, 1, 1, 1), (8, 1)])
def test_arithmetic_that_adds_axes_is_refused(kind, shape, tmp_path):
    path = arithmetic(kind, np.full(shape, 2), tmp_path / "file.pb")
    with pytest.raises(UnsupportedOperationError, match="constant of shape"):
        tensorflow.read(path)


@pytest.mark.parametrize("kind", ["AddV2", "Mul", "Sub", "RealDiv"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (8,), (1, 8)])
def test_arithmetic_of_as_many_axes_is_read(kind, shape, tmp_path):
    path = arithmetic(kind, np.full(shape, 2), tmp_path / "file.pb")
    program = tensorflow.read(path)
    batch = seeded_batch(program.graph, 2)
    (answer,) = reference.forward(program, batch).values()
    function = {"AddV2": np.add, "Mul": np.multiply, "Sub": np.subtract, "RealDiv": np.divide}[kind]
    expected = function(batch @ np.ones((4, 8)), np.full(shape, 2))
    np.testing.assert_allclose(answer, expected, atol=1e-6)
