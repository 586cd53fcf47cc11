"""Core ML carries every operation, and computes the reference's numbers.

Core ML runs on Apple's systems only; here the written program is interpreted in NumPy.
"""

from __future__ import annotations

import dataclasses

import needs
import numpy as np
import pytest
from graphs import NETWORKS, SINGLE, a_third, seeded_batch, seeded_program, single
from pyramids import SMALL as PYRAMID
from seeded import SMALL as SSD

from facemask_zoo import model_files
from facemask_zoo.cards import ModelCard
from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph import reference
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.model import Model

coremltools = needs.module("coremltools")
Program = needs.module("coreml_program").Program
format_ = needs.module("facemask_zoo.converters.formats.coreml")

GRAPHS = {
    **SINGLE,
    **NETWORKS,
    "linear_of_maps": single(ops.Linear, (6, 9, 8), features=5),
    "linear_of_four_axes": single(ops.Linear, (2, 3, 5, 8), features=4),
    "prelu_of_a_vector": single(ops.Prelu, (7,)),
    "prelu_of_rows": single(ops.Prelu, (7, 5)),
    "prelu_of_four_axes": single(ops.Prelu, (7, 2, 3, 4)),
    "softmax_of_channels": single(ops.Softmax, (6, 9, 8), axis=1),
    "enlarged_unevenly": single(ops.Upsample, (6, 9, 8), scales=(3, 1), mode="bilinear"),
    "a_number": single(ops.Linear, (3,), features=1),
    "ssd": SSD.graph,
    "pyramid": PYRAMID.graph,
    "wide_pyramid": PYRAMID.with_input_size((64, 96)).graph,
}


@pytest.mark.parametrize("name", a_third(GRAPHS))
def test_the_saved_program_computes_the_graph(name, tmp_path):
    program = seeded_program(GRAPHS[name])
    path = tmp_path / "modèle.mlpackage"
    format_.write(program, path)
    for count in (1, 3):
        batch = seeded_batch(program.graph, count) * 4 - 2
        answers = Program(path).run(batch)
        expected = reference.forward(program, batch)
        assert list(answers) == list(expected)
        for output, values in expected.items():
            assert answers[output].shape == values.shape
            np.testing.assert_allclose(answers[output], values, rtol=0, atol=1e-6)


def several_ends():
    """Outputs that others see, that are equal, and that are the input in another shape."""
    b = GraphBuilder("x", (4, 5, 6))
    first = b.add(ops.Relu, "first", "x")
    second = b.add(ops.Relu, "second", "x")
    same = b.add(ops.Reshape, "same", "x", target=(4, 5, 6))
    twice = b.add(ops.Add, "twice", first, first)
    third = b.add(
        ops.Transpose,
        "third",
        b.add(ops.Transpose, "t", twice, order=(0, 3, 1, 2)),
        order=(0, 2, 3, 1),
    )
    return b.finish(third, first, same, second)


def names_of_coremltools():
    """Values that are called as coremltools calls the constants of others."""
    b = GraphBuilder("x_0", (4, 5, 6))
    settings = {"filters": 4, "kernel": (1, 1)}
    x = b.add(ops.Convolution, "conv", "x_0", **settings)
    for name in ("conv_weight_0", "conv_pad_0", "conv_bias_0", "main", "const", "reshape"):
        x = b.add(ops.Convolution, name, x, **settings)
    x = b.add(ops.Reshape, "flat", x, target=(120,))
    return b.finish(b.add(ops.Relu, "flat_shape_0", x))


@pytest.mark.parametrize("graph", [several_ends(), names_of_coremltools()])
def test_outputs_and_names_are_those_of_the_graph(graph, tmp_path):
    program = seeded_program(graph)
    path = tmp_path / "file.mlpackage"
    format_.write(program, path)
    batch = seeded_batch(graph, 2) - 0.5
    answers = Program(path).run(batch)
    for output, values in reference.forward(program, batch).items():
        np.testing.assert_allclose(answers[output], values, rtol=0, atol=1e-6)


def test_the_same_program_gives_the_same_bytes(tmp_path):
    program = dataclasses.replace(seeded_program(NETWORKS["squeezing_classifier"]), card="{}")
    contents = []
    for name in ("one", "two"):
        path = tmp_path / name / "file.mlpackage"
        path.parent.mkdir()
        format_.write(program, path)
        files = sorted(part for part in path.rglob("*") if part.is_file())
        contents.append({part.relative_to(path): part.read_bytes() for part in files})
    assert contents[0] == contents[1]


def test_six_axes_are_refused(tmp_path):
    program = seeded_program(single(ops.Reshape, (16, 3, 3), target=(2, 2, 2, 2, 9)))
    with pytest.raises(UnsupportedOperationError, match="coreml") as caught:
        format_.write(program, tmp_path / "file.mlpackage")
    assert "result" in str(caught.value)


def test_apples_tools_load_what_was_written(tmp_path):
    graph = NETWORKS["landmark_regressor"]
    format_.write(seeded_program(graph), tmp_path / "file.mlpackage")
    loaded = coremltools.models.MLModel(str(tmp_path / "file.mlpackage"), skip_model_load=True)
    assert list(loaded.input_description) == [graph.input]
    assert list(loaded.output_description) == list(graph.outputs)


def test_the_description_names_inputs_outputs_and_card(tmp_path):
    card = ModelCard("x", "Finds masks.", SSD, license="MIT")
    model = Model(card, seeded_program(SSD.graph).tensors)
    model_files.write(model, tmp_path / "model.mlpackage", "coreml")
    description = Program(tmp_path / "model.mlpackage").spec.description
    (image,) = description.input
    assert image.name == "data"
    assert list(image.type.multiArrayType.shape) == [1, 3, 97, 97]
    batch = image.type.multiArrayType.shapeRange.sizeRanges[0]
    assert (batch.lowerBound, batch.upperBound) == (1, 64)
    assert [output.name for output in description.output] == list(SSD.graph.outputs)
    assert description.metadata.shortDescription == "Finds masks."
    assert description.metadata.license == "MIT"
    text = description.metadata.userDefined["facemask_zoo.card"]
    assert ModelCard.from_json(text) == card.portable()
