"""The detector with a top-down path: one set of weights at any input size."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnxruntime
import pytest
from graphs import seeded_batch
from pyramids import LABELS, SMALL, seeded_pyramid

from facemask_zoo import InvalidArgumentError, UnknownNameError, architectures, model_files
from facemask_zoo.architectures.pyramid import Level
from facemask_zoo.converters.formats.registry import format_for
from facemask_zoo.graph import reference
from facemask_zoo.ssd import anchors, decode

SIZES = (64, (64, 96), (32, 320), 320, (480, 640))


@pytest.mark.parametrize("size", SIZES)
def test_the_outputs_have_a_row_for_every_anchor(size):
    pyramid = SMALL.with_input_size(size)
    count = pyramid.anchor_count
    assert pyramid.graph.output_shapes == {
        "loc_branch_concat": (count, 4),
        "cls_branch_concat": (count, len(LABELS)),
    }
    assert anchors(pyramid).shape == (count, 4)


@pytest.mark.parametrize("size", SIZES)
def test_any_size_has_the_same_weights(size):
    assert SMALL.with_input_size(size).graph.tensor_shapes == SMALL.graph.tensor_shapes


@pytest.mark.parametrize("size", SIZES)
def test_anchors_are_sizes_in_pixels_at_the_centres_of_cells(size):
    pyramid = SMALL.with_input_size(size)
    height, width = pyramid.input_shape
    boxes = anchors(pyramid) * np.array([width, height, width, height])
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, 2:] + boxes[:, :2]) / 2
    np.testing.assert_allclose(centres[:2], [[4, 4], [4, 4]])
    np.testing.assert_allclose(np.sqrt(sides.prod(axis=1))[:2], [12, 20])
    coarse = 2 * (height // 32) * (width // 32)
    ratios = [0.8] * (len(sides) - coarse) + [0.8, 1.2] * (coarse // 2)
    np.testing.assert_allclose(sides[:, 0] / sides[:, 1], ratios)
    np.testing.assert_allclose(np.sqrt(sides[-1].prod()), 50)
    np.testing.assert_allclose(centres[-1], [width - 16, height - 16])


def test_rows_of_the_outputs_belong_to_the_anchors_of_their_cell():
    """A spot far from all others changes only rows whose anchors are near it."""
    model = seeded_pyramid(dataclasses.replace(SMALL, levels=(Level((12.0,)),), head_blocks=0))
    pyramid = model.card.detector.with_input_size((64, 512))
    dark = np.zeros((1, 3, 64, 512))
    bright = dark.copy()
    bright[:, :, 30:34, 440:444] = 1
    program = dataclasses.replace(model.program, graph=pyramid.graph)
    before, after = (reference.forward(program, x)["cls_branch_concat"] for x in (dark, bright))
    changed = np.flatnonzero(np.abs(before - after).max(axis=(0, 2)) > 1e-9)
    centres = (anchors(pyramid)[changed, 0] + anchors(pyramid)[changed, 2]) / 2 * 512
    assert len(changed)
    assert centres.min() > 256


def test_a_shifted_picture_gives_shifted_boxes():
    model = seeded_pyramid()
    pyramid = model.card.detector.with_input_size((32, 512))
    program = dataclasses.replace(model.program, graph=pyramid.graph)
    picture = np.zeros((1, 3, 32, 512))
    picture[..., 192:256] = np.random.default_rng(0).random((3, 32, 64))
    found = []
    for batch in (picture, np.roll(picture, 64, axis=3)):
        outputs = reference.forward(program, batch)
        best = outputs["cls_branch_concat"][0].max(axis=1)
        boxes = decode(outputs["loc_branch_concat"][0], anchors(pyramid), pyramid.variances)
        middle = np.abs((boxes[:, 0] + boxes[:, 2]) / 2 * 512 - 256) < 110
        row = np.flatnonzero(middle)[best[middle].argmax()]
        found.append(boxes[row])
    assert abs((found[1] - found[0])[0] * 512 - 64) < 1e-6


@pytest.mark.parametrize("size", [0, 33, 320.0, (64, 65), (64,), (64, 64, 64), "64", True, 1 << 20])
def test_other_sizes_are_refused(size):
    with pytest.raises(InvalidArgumentError, match="input_size"):
        SMALL.with_input_size(size)


def test_two_equal_sides_are_a_square():
    assert SMALL.with_input_size((96, 96)) == SMALL.with_input_size(96)


@pytest.mark.parametrize("size", [64, (32, 96)])
def test_the_configuration_comes_back(size):
    pyramid = SMALL.with_input_size(size)
    values = json.loads(json.dumps(pyramid.to_dict()))
    assert architectures.from_dict("pyramid", values) == pyramid
    assert architectures.name_of(pyramid) == "pyramid"


@pytest.mark.parametrize(
    "change",
    [
        {"stem": {"filters": 0}},
        {"stem": {"filters": 8, "stride": 3}},
        {"stem": {"filters": 8, "kernel": 4}},
        {"stages": []},
        {"stages": [{"filters": 8, "kind": "dense"}]},
        {"levels": [{"sizes": []}]},
        {"levels": [{"sizes": [-1.0]}]},
        {"levels": [{"sizes": 8}]},
        {"neck": 0},
        {"head_blocks": -1},
        {"classes": []},
        {"variances": [1.0]},
        {"x": 1},
    ],
)
def test_other_configurations_are_refused(change):
    with pytest.raises((InvalidArgumentError, UnknownNameError)):
        architectures.from_dict("pyramid", {**SMALL.to_dict(), **change})


@pytest.mark.parametrize("size", [64, (64, 96)])
@pytest.mark.parametrize("kind", ["onnx", "safetensors"])
def test_a_model_comes_back_from_a_file(size, kind, tmp_path):
    model = seeded_pyramid(SMALL.with_input_size(size))
    path = tmp_path / f"file.{kind}"
    model_files.write(model, path, kind)
    found = model_files.read(path)
    assert found.card.detector == model.card.detector
    assert found.card.preprocessing == model.card.preprocessing
    assert found.digest == model.digest


@pytest.mark.parametrize("size", [64, (64, 96)])
def test_onnx_computes_the_reference(size, tmp_path):
    model = seeded_pyramid(SMALL.with_input_size(size))
    path = tmp_path / "file.onnx"
    model_files.write(model, path, "onnx")
    batch = seeded_batch(model.graph, 2)
    session = onnxruntime.InferenceSession(path)
    answers = session.run(list(model.graph.outputs), {model.graph.input: batch})
    expected = reference.forward(model.program, batch)
    for answer, wanted in zip(answers, expected.values(), strict=True):
        np.testing.assert_allclose(answer, wanted, atol=2e-5)


def test_openvino_computes_the_reference(need, tmp_path):
    need("openvino")
    from facemask_zoo.detector import Detector

    path = tmp_path / "file.safetensors"
    model = seeded_pyramid()
    model_files.write(model, path, "safetensors")
    written = tmp_path / "file.xml"
    model_files.write(model, written, "openvino")
    assert model_files.read_card(written, format_for(written)) == model.card.portable()
    detector = Detector.load(path, framework="openvino")
    batch = seeded_batch(model.graph, 2)
    expected = reference.forward(model.program, batch)
    for answer, wanted in zip(detector.forward(batch), expected.values(), strict=True):
        np.testing.assert_allclose(answer, wanted, atol=2e-5)


@pytest.mark.parametrize("name", ["file.onnx", "file.xml"])
def test_conversion_is_proven(name, need, tmp_path):
    need("openvino")
    from facemask_zoo.converters import conversion

    source = tmp_path / "source.safetensors"
    model_files.write(seeded_pyramid(SMALL.with_input_size((64, 96))), source, "safetensors")
    conversion.convert(source, tmp_path / name)
    assert (tmp_path / name).is_file()
