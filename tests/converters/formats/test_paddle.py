"""Paddle carries every operation, there and back; what Paddle itself saves becomes a graph."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import needs
import numpy as np
import onnxruntime
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program, single
from places import ROOT
from seeded import FULL

from facemask_zoo.backends import Options, find_framework
from facemask_zoo.converters.formats import onnx
from facemask_zoo.converters.formats import paddle as format_
from facemask_zoo.errors import UnsupportedOperationError, WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph import reference
from facemask_zoo.graph.matching import renamed_like
from facemask_zoo.graph.signature import Signature

GRAPHS = {**SINGLE, **NETWORKS, "ssd": FULL.graph}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_comes_back(name, tmp_path):
    program = dataclasses.replace(seeded_program(GRAPHS[name]), card='{"name": "x"}')
    path = tmp_path / "file.pdiparams"
    format_.write(program, path)
    read = format_.read(path)
    found = renamed_like(read, program.graph)
    assert found is not None
    assert (found.digest, found.card) == (program.digest, program.card)
    assert read.graph.outputs == program.graph.outputs


@pytest.mark.parametrize("name", GRAPHS)
def test_paddle_computes_it(name, need, tmp_path):
    backend = find_framework(need("paddle")).backend()
    program = seeded_program(GRAPHS[name])
    path = tmp_path / "file.pdiparams"
    format_.write(program, path)
    loaded = backend(path, Signature.of(program.graph), Options())
    for count in (1, 3):
        batch = seeded_batch(program.graph, count) * 4 - 2
        answers = loaded.forward(batch)
        for output, expected in reference.forward(program, batch).items():
            assert answers[output].shape == expected.shape
            tolerance = 1e-4 if name == "ssd" else 2e-5
            np.testing.assert_allclose(answers[output], expected, atol=tolerance)


@pytest.fixture(scope="session")
def strangers(tmp_path_factory):
    needs.package("paddle")
    folder = tmp_path_factory.mktemp("strangers")
    subprocess.run(
        [sys.executable, ROOT / "tests" / "paddle_strangers.py"],
        check=True,
        timeout=300,
        cwd=folder,
        env=os.environ | {"FLAGS_enable_pir_api": "0"},
    )
    return folder


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "various", "poolings"])
def test_what_paddle_saves_becomes_a_graph(name, strangers, tmp_path):
    program = format_.read(strangers / f"{name}.pdmodel")
    batch, *expected = np.load(strangers / f"{name}.npz").values()
    for answer, wanted in zip(reference.forward(program, batch).values(), expected, strict=True):
        np.testing.assert_allclose(answer, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    onnx.write(program, tmp_path / "file.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "file.onnx")
    answers = session.run(list(program.graph.outputs), {program.graph.input: batch})
    for answer, wanted in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def edited(path, change, name="linear"):
    """The file of a layer, changed."""
    format_.write(seeded_program(SINGLE[name]), path)
    program = format_._Program.FromString(path.with_suffix(".pdmodel").read_bytes())
    change(program.blocks[0])
    path.with_suffix(".pdmodel").write_bytes(program.SerializeToString())
    return path


def test_an_operator_outside_of_the_set_is_named(tmp_path):
    path = edited(tmp_path / "a.pdiparams", lambda b: setattr(b.ops[1], "type", "lstm"))
    with pytest.raises(UnsupportedOperationError, match="lstm") as caught:
        format_.read(path)
    assert (caught.value.format, caught.value.operation) == ("paddle", "lstm")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.ops[1].inputs[0].arguments.__setitem__(0, "result"), "nothing before"),
        (lambda b: b.ops[1].inputs[0].arguments.pop(), "expected one X"),
        (lambda b: b.ops[1].outputs[0].arguments.pop(), "gives nothing"),
        (lambda b: b.ops.pop(), "fetches no output"),
        (lambda b: b.ops.pop(0), "Expected one input"),
        (lambda b: b.ops[1].ClearField("attrs") or b.vars[2].ClearField("type"), "Input"),
        (lambda b: b.vars.pop(2), "whole Paddle model"),
        (lambda b: setattr(b.ops[1], "type", "conv2d"), "expected one Input|lacks"),
        (lambda b: setattr(b.ops[1], "type", "pool2d"), "feature map"),
    ],
)
def test_damage_is_refused(change, message, tmp_path):
    path = edited(tmp_path / "a.pdiparams", change)
    with pytest.raises(WeightsError, match=message):
        format_.read(path)


def test_a_constant_that_claims_gigabytes_is_refused(tmp_path):
    def change(block):
        fill = block.ops.add(type="fill_constant")
        fill.outputs.add(parameter="Out", arguments=["large"])
        fill.attrs.add(name="shape", type=11, longs=[1 << 20, 1 << 20])

    with pytest.raises(WeightsError, match="take over"):
        format_.read(edited(tmp_path / "a.pdiparams", change))


def test_a_sum_that_adds_axes_is_refused(tmp_path):
    """A constant of more axes than the value."""

    def change(block):
        (total,) = (each for each in block.ops if each.type == "elementwise_add")
        fill = type(total)(type="fill_constant")
        fill.outputs.add(parameter="Out", arguments=["one"])
        fill.attrs.add(name="shape", type=11, longs=[1, 1, 1])
        block.ops.insert(list(block.ops).index(total), fill)
        next(each for each in total.inputs if each.parameter == "Y").arguments[:] = ["one"]

    with pytest.raises(UnsupportedOperationError, match="constant of shape"):
        format_.read(edited(tmp_path / "a.pdiparams", change))


@pytest.mark.parametrize("kind", ["batch_norm", "dropout"])
def test_what_trains_is_refused(kind, tmp_path):
    def change(block):
        block.ops[1].type = kind
        block.ops[1].attrs.add(name="is_test", **format_._attribute(False))

    with pytest.raises(UnsupportedOperationError, match=f"{kind} in training"):
        format_.read(edited(tmp_path / "a.pdiparams", change))


def pooled(**attributes):
    """A change of what a pooling says of itself."""

    def change(block):
        (pool,) = (each for each in block.ops if each.type == "pool2d")
        for each in pool.attrs:
            if each.name in attributes:
                each.CopyFrom(
                    type(each)(name=each.name, **format_._attribute(attributes[each.name]))
                )

    return change


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"paddings": [1, 0, 0, 1]}, "half its padding"),
        ({"paddings": [1, 1], "ceil_mode": True}, "half its padding"),
        ({"paddings": [1, 1], "ksize": [2, 2], "strides": [3, 3], "ceil_mode": True}, "alone"),
    ],
)
def test_a_mean_of_part_of_its_padding_is_refused(attributes, message, tmp_path):
    path = edited(tmp_path / "a.pdiparams", pooled(**attributes), "counting_average_pool")
    with pytest.raises(UnsupportedOperationError, match=message):
        format_.read(path)


def test_a_mean_that_counts_more_padding_at_its_end_is_not_written(tmp_path):
    graph = single(
        ops.AveragePool,
        (3, 8, 8),
        kernel=(3, 3),
        strides=(2, 2),
        padding=(1, 0, 1, 1),
        count_padding=True,
    )
    with pytest.raises(UnsupportedOperationError, match="AveragePool"):
        format_.write(seeded_program(graph), tmp_path / "a.pdiparams")
