"""TFLite carries every operation, there and back, and its interpreter agrees with the reference."""

from __future__ import annotations

import needs
import numpy as np
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program
from seeded import FULL

from facemask_zoo.backends import Options
from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph import reference
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.matching import renamed_like
from facemask_zoo.graph.program import Program
from facemask_zoo.graph.signature import Signature

GRAPHS = {**SINGLE, **NETWORKS, "ssd": FULL.graph}


@pytest.fixture
def format_(need):
    need("tflite")
    from facemask_zoo.converters.formats import tflite

    return tflite


def run(content: bytes, program: Program, batch: np.ndarray) -> dict[str, np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    images = batch.transpose(0, 2, 3, 1) if batch.ndim == 4 else batch
    runner = Interpreter(model_content=content).get_signature_runner()
    return runner(**{program.graph.input: images})


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_comes_back_and_runs(name, format_, tmp_path):
    program = seeded_program(GRAPHS[name])
    path = tmp_path / "file.tflite"
    format_.write(program, path)
    read = format_.read(path)
    assert read.graph.outputs == program.graph.outputs
    found = renamed_like(read, program.graph)
    assert found is not None
    assert found.digest == program.digest
    for count in (1, 3):
        batch = seeded_batch(program.graph, count) * 4 - 2
        answers = run(path.read_bytes(), program, batch)
        for output, expected in reference.forward(program, batch).items():
            assert answers[output].shape == expected.shape
            np.testing.assert_allclose(
                answers[output], expected, atol=1e-4 if name == "ssd" else 2e-5
            )


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_is_near_and_comes_back(name, format_, tmp_path):
    program = seeded_program(NETWORKS[name])
    path = tmp_path / "file.tflite"
    path.write_bytes(format_.graph_bytes(program, half=True))
    found = renamed_like(format_.read(path), program.graph)
    assert found is not None
    for key, values in program.tensors.items():
        np.testing.assert_array_equal(found.tensors[key], values.astype(np.float16))
    batch = seeded_batch(program.graph, 2)
    answers = run(path.read_bytes(), program, batch)
    for output, expected in reference.forward(program, batch).items():
        assert answers[output].dtype == np.float32
        np.testing.assert_allclose(answers[output], expected, atol=0.05)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_backend_runs_any_graph(name, format_, tmp_path):
    program = seeded_program(GRAPHS[name])
    format_.write(program, tmp_path / "file.tflite")
    kind = needs.framework("tflite").TFLiteBackend
    backend = kind(tmp_path / "file.tflite", Signature.of(program.graph), Options(threads=1))
    batch = seeded_batch(program.graph, 2)
    answers = backend.forward(batch)
    for output, expected in reference.forward(program, batch).items():
        np.testing.assert_allclose(answers[output], expected, atol=1e-4)


def test_a_mean_without_its_padding_is_refused_where_it_is_not_same(format_, tmp_path):
    b = GraphBuilder("image", (4, 8, 8))
    window = {"kernel": (3, 3), "strides": (2, 2), "padding": (1, 1, 1, 1)}
    graph = b.finish(b.add(ops.AveragePool, "mean", "image", **window))
    with pytest.raises(UnsupportedOperationError, match="AveragePool"):
        format_.write(seeded_program(graph), tmp_path / "file.tflite")


def test_an_unknown_operation_is_named(format_, tmp_path):
    writer = format_.GraphWriter()
    image = writer.tensor("image", (1, 4))
    result = writer.tensor("result", (1, 4))
    writer.operator("COS", [image], [result])
    path = tmp_path / "file.tflite"
    path.write_bytes(writer.finish("", {"image": image}, {"result": result}, {}))
    with pytest.raises(UnsupportedOperationError, match=r"COS \(result\)"):
        format_.read(path)


def test_what_nothing_gives_is_refused(format_, tmp_path):
    """A circle, and an operator that sees what comes later, are the same thing here."""
    writer = format_.GraphWriter()
    image, first, second = (writer.tensor(name, (1, 4)) for name in ("image", "a", "b"))
    writer.operator("LOGISTIC", [second], [first])
    writer.operator("LOGISTIC", [first], [second])
    path = tmp_path / "file.tflite"
    path.write_bytes(writer.finish("", {"image": image}, {"b": second}, {}))
    with pytest.raises(format_.WeightsError, match="nothing gives it"):
        format_.read(path)


def test_a_quantised_file_is_refused(format_, tmp_path):
    program = seeded_program(SINGLE["pointwise"])
    emitter = format_.TFLiteEmitter(program)
    outputs = emitter.emit()
    for tensor in emitter.writer._tensors:
        if tensor.name == "result.weight":
            tensor.type = format_.schema.TensorType.INT8
    path = tmp_path / "file.tflite"
    path.write_bytes(emitter.writer.finish("", {"image": emitter.image_tensor}, outputs, {}))
    with pytest.raises(format_.WeightsError, match="quantised"):
        format_.read(path)


def hostile(format_, tmp_path, inputs: int, size: int):
    """A file whose operator sees `inputs` constants that share `size` numbers."""
    writer = format_.GraphWriter()
    image, result = writer.tensor("image", (1, 4)), writer.tensor("result", (1, 4))
    constant = writer.constant("constant", np.zeros(size, np.float32))
    others = [writer.constant("other", np.zeros(1, np.float32)) for _ in range(5)]
    for tensor in writer._tensors[-5:]:
        tensor.buffer, tensor.shape = writer._tensors[constant.number].buffer, np.array([size])
    writer.operator("PACK", (others * inputs)[:inputs], [result])
    path = tmp_path / "file.tflite"
    path.write_bytes(writer.finish("", {"image": image}, {"result": result}, {}))
    return path


def test_constants_that_share_their_bytes_are_counted_each(format_, tmp_path):
    with pytest.raises(format_.WeightsError, match="take over"):
        format_.read(hostile(format_, tmp_path, 5, 4 << 20))


def test_more_references_than_a_network_has_are_refused(format_, tmp_path):
    with pytest.raises(format_.WeightsError, match="lists more than"):
        format_.read(hostile(format_, tmp_path, 200_000, 1))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 4)])
@pytest.mark.parametrize("code", ["ADD", "MUL"])
def test_arithmetic_that_adds_axes_is_refused(code, shape, format_, tmp_path):
    writer = format_.GraphWriter()
    image, result = writer.tensor("image", (1, 4)), writer.tensor("result", (1, 1, 4))
    constant = writer.constant("constant", np.full(shape, 2, np.float32))
    writer.operator(code, [image, constant], [result])
    path = tmp_path / "file.tflite"
    path.write_bytes(writer.finish("", {"image": image}, {"result": result}, {}))
    with pytest.raises(UnsupportedOperationError, match="constant of shape"):
        format_.read(path)
