"""MXNet carries every operation, there and back, and MXNet agrees with the reference."""

from __future__ import annotations

import dataclasses
import json

import needs
import numpy as np
import onnxruntime
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program, single
from seeded import FULL

from facemask_zoo import WeightsError
from facemask_zoo.converters.formats import mxnet as format_
from facemask_zoo.converters.formats import onnx
from facemask_zoo.converters.formats.importing import LooseTensors
from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph import reference
from facemask_zoo.graph.matching import renamed_like
from facemask_zoo.graph.program import Program

GRAPHS = {**SINGLE, **NETWORKS, "ssd": FULL.graph}
REWRITTEN = {"pad_channels"}
"""What comes back as other operations that compute the same."""


def imported(path, image):
    mx = needs.framework("mxnet").mx
    symbol = str(format_.symbol_path(path))
    return mx, mx.gluon.SymbolBlock.imports(symbol, [image], str(path), ctx=mx.cpu())


def assert_near(found, expected, tolerance=2e-5):
    assert len(found) == len(expected)
    for answer, right in zip(found, expected.values(), strict=True):
        assert answer.shape == right.shape
        np.testing.assert_allclose(answer, right, atol=tolerance)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_comes_back(name, tmp_path):
    program = dataclasses.replace(seeded_program(GRAPHS[name]), card='{"name": "x"}')
    path = tmp_path / "file.params"
    format_.write(program, path)
    read = format_.read(path)
    assert isinstance(read, Program)
    assert read.card == program.card
    batch = seeded_batch(program.graph, 2) * 4 - 2
    if name in REWRITTEN:
        assert_near(reference.forward(read, batch).values(), reference.forward(program, batch))
        return
    found = renamed_like(read, program.graph)
    assert found is not None
    assert found.digest == program.digest


@pytest.mark.parametrize("name", GRAPHS)
def test_mxnet_runs_it(name, tmp_path):
    program = seeded_program(GRAPHS[name])
    path = tmp_path / "file.params"
    format_.write(program, path)
    mx, block = imported(path, program.graph.input)
    for count in (1, 3):
        batch = seeded_batch(program.graph, count) * 4 - 2
        answers = block(mx.nd.array(batch))
        answers = answers if isinstance(answers, list | tuple) else [answers]
        answers = [answer.asnumpy() for answer in answers]
        expected = reference.forward(program, batch)
        assert_near(answers, expected, 1e-4 if name == "ssd" else 2e-5)


UNEVEN = {
    "max": (ops.MaxPool, {}),
    "counted_mean": (ops.AveragePool, {"count_padding": True}),
}


@pytest.mark.parametrize("kind", UNEVEN)
def test_padding_of_one_side_is_written_before_the_window(kind, tmp_path):
    operation, more = UNEVEN[kind]
    graph = single(
        operation, (3, 8, 8), kernel=(3, 3), strides=(2, 2), padding=(1, 0, 1, 2), **more
    )
    program = seeded_program(graph)
    path = tmp_path / "file.params"
    format_.write(program, path)
    mx, block = imported(path, "image")
    batch = seeded_batch(graph, 2) - 2
    expected = reference.forward(program, batch)
    assert_near([block(mx.nd.array(batch)).asnumpy()], expected)
    assert_near(reference.forward(format_.read(path), batch).values(), expected)


def test_a_mean_with_uneven_padding_is_refused(tmp_path):
    graph = single(ops.AveragePool, (3, 8, 8), kernel=(3, 3), strides=(2, 2), padding=(1, 0, 1, 2))
    with pytest.raises(UnsupportedOperationError, match="AveragePool"):
        format_.write(seeded_program(graph), tmp_path / "file.params")


def gluon_network(mx, name, size):
    """A network of Gluon's model zoo with weights and statistics from a seed."""
    block = getattr(mx.gluon.model_zoo.vision, name)(classes=7)
    block.initialize(mx.init.Zero())
    block(mx.nd.zeros((1, 3, size, size)))
    rng = np.random.Generator(np.random.PCG64(3))
    for key, parameter in block.collect_params().items():
        uniform = rng.random(parameter.shape) * 2 - 1
        bound = np.sqrt(6 / np.prod(parameter.shape[1:])) if len(parameter.shape) > 1 else 0.2
        offset = 1.0 if key.endswith(("gamma", "running_var")) else 0.0
        parameter.set_data(mx.nd.array(uniform * bound + offset))
    block.hybridize()
    return block


@pytest.mark.parametrize(
    "name", ["mobilenet0_25", "mobilenet_v2_0_25", "squeezenet1_1", "resnet18_v2"]
)
def test_gluons_networks_become_graphs(name, tmp_path):
    mx = needs.framework("mxnet").mx
    block = gluon_network(mx, name, 224)
    batch = np.random.Generator(np.random.PCG64(5)).random((2, 3, 224, 224)).astype(np.float32)
    expected = block(mx.nd.array(batch)).asnumpy()
    block.export(str(tmp_path / "net"))
    program = format_.read(tmp_path / "net-0000.params")
    assert isinstance(program, Program)
    assert program.graph.input_shape == (3, 224, 224)
    (output,) = program.graph.outputs
    tolerance = 1e-4 * np.abs(expected).max()
    onnx.write(program, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (answer,) = session.run([output], {program.graph.input: batch})
    np.testing.assert_allclose(answer, expected, atol=tolerance)
    format_.write(program, tmp_path / "again.params")
    again, copy = imported(tmp_path / "again.params", program.graph.input)
    np.testing.assert_allclose(copy(again.nd.array(batch)).asnumpy(), expected, atol=tolerance)


def module_symbol(mx):
    """What programs for MXNet's older interface save: labels, slices, codes of shapes."""
    x = mx.sym.var("data", shape=(0, 3, 16, 12))
    x = mx.sym.Convolution(x, kernel=(3, 3), num_filter=8, no_bias=True, name="conv")
    x = mx.sym.BatchNorm(x, name="norm")
    left, right = mx.sym.SliceChannel(x, num_outputs=2)
    x = mx.sym.Concat(left * 2 + 1, mx.sym.LeakyReLU(right), 1 - right)
    x = mx.sym.Pooling(x, kernel=(3, 3), stride=(2, 2), pool_type="max", pooling_convention="full")
    x = mx.sym.Reshape(x, shape=(0, -4, 2, -1, -2))
    x = mx.sym.Reshape(mx.sym.SwapAxis(x, dim1=1, dim2=2), shape=(0, -3, -2))
    x = mx.sym.Dropout(mx.sym.hard_sigmoid(x))
    x = mx.sym.FullyConnected(mx.sym.Flatten(x), num_hidden=5, name="dense")
    return mx.sym.SoftmaxOutput(x, name="softmax")


def test_symbols_of_the_module_interface_become_graphs(tmp_path):
    mx = needs.framework("mxnet").mx
    symbol = module_symbol(mx)
    executor = symbol.simple_bind(mx.cpu(), data=(2, 3, 16, 12), grad_req="null")
    rng = np.random.Generator(np.random.PCG64(4))
    arrays = {}
    for mark, values in (("arg", executor.arg_dict), ("aux", executor.aux_dict)):
        for key, value in values.items():
            value[:] = mx.nd.array(rng.random(value.shape) + 0.5 * key.endswith("var"))
            if key not in ("data", "softmax_label"):
                arrays[f"{mark}:{key}"] = value
    symbol.save(str(tmp_path / "net-symbol.json"))
    mx.nd.save(str(tmp_path / "net-0003.params"), arrays)
    expected = executor.forward(is_train=False)[0].asnumpy()
    program = format_.read(tmp_path / "net-0003.params")
    (found,) = reference.forward(program, executor.arg_dict["data"].asnumpy()).values()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def written(tmp_path, name="squeezing_classifier"):
    path = tmp_path / "file.params"
    format_.write(seeded_program(NETWORKS[name]), path)
    return path, json.loads(format_.symbol_path(path).read_text())


def damaged(change, tmp_path):
    path, symbol = written(tmp_path)
    change(symbol)
    format_.symbol_path(path).write_text(json.dumps(symbol))
    return path


def node(symbol, kind):
    return next(each for each in symbol["nodes"] if each["op"] == kind)


DAMAGES = {
    "cycle": lambda s: node(s, "Convolution")["inputs"].__setitem__(0, [len(s["nodes"]) - 1, 0, 0]),
    "missing input": lambda s: node(s, "FullyConnected")["inputs"].pop(),
    "no such output": lambda s: node(s, "Convolution")["inputs"].__setitem__(0, [0, 7, 0]),
    "negative node": lambda s: s["heads"].__setitem__(0, [-1, 0, 0]),
    "head beyond the end": lambda s: s["heads"].__setitem__(0, [9999, 0, 0]),
    "no heads": lambda s: s["heads"].clear(),
    "another array": lambda s: s["nodes"][1].update(name="nothing"),
    "huge kernel": lambda s: node(s, "Convolution")["attrs"].update(kernel="(99999999, 3)"),
    "huge input": lambda s: s["nodes"][0]["attrs"].update(__shape__="(0, 3, 99999999, 9999999)"),
    "huge stride": lambda s: node(s, "Convolution")["attrs"].update(stride="(0, 0)"),
    "long attribute": lambda s: node(s, "Convolution")["attrs"].update(pad="(" * 5000),
    "nested attribute": lambda s: node(s, "Convolution")["attrs"].update(pad="(" * 150),
    "reshape": lambda s: node(s, "Reshape")["attrs"].update(shape="(0, -4, 3)"),
    "attribute of another kind": lambda s: node(s, "softmax")["attrs"].update(axis="None"),
    "names as numbers": lambda s: s["nodes"][0].update(inputs=[["x"]]),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damaged_symbols_are_refused(what, tmp_path):
    with pytest.raises(WeightsError):
        format_.read(damaged(DAMAGES[what], tmp_path))


def test_an_unknown_operator_is_named(tmp_path):
    path = damaged(lambda s: node(s, "softmax").update(op="LRN"), tmp_path)
    with pytest.raises(UnsupportedOperationError, match=r"mxnet.*LRN.*probabilities"):
        format_.read(path)


def test_arrays_alone_are_loose(tmp_path):
    path, _ = written(tmp_path)
    format_.symbol_path(path).unlink()
    found = format_.read(path)
    assert isinstance(found, LooseTensors)
    assert "logits.weight" in found.tensors


def small(mx, settle, shape, folder):
    """The file of a symbol without weights, a batch, and what MXNet answers to it."""
    symbol = settle(mx.sym, mx.sym.var("data", shape=(0, *shape)))
    symbol.save(str(folder / "net-symbol.json"))
    mx.nd.save(str(folder / "net-0000.params"), {"arg:unused": mx.nd.zeros((1,))})
    batch = np.random.Generator(np.random.PCG64(7)).random((2, *shape)).astype(np.float32) - 2
    answers = symbol.bind(mx.cpu(), {"data": mx.nd.array(batch)}).forward(is_train=False)
    return folder / "net-0000.params", batch, answers[0].asnumpy()


def full(kernel, stride, pad, kind="max", **more):
    settings = {"kernel": (kernel,) * 2, "stride": (stride,) * 2, "pad": (pad,) * 2, **more}
    return lambda f, x: f.Pooling(x, pool_type=kind, pooling_convention="full", **settings)


def cells(size):
    return lambda f, x: f.contrib.AdaptiveAvgPooling2D(x, output_size=size)


def after_padding(f, x):
    """Padding that is never the largest, before a maximum that is rounded up."""
    sides = {"mode": "constant", "pad_width": (0, 0, 0, 0, 1, 0, 1, 0), "constant_value": -3e38}
    return full(3, 2, 0)(f, f.Pad(x, **sides))


CARRIED = {
    "a maximum, rounded up": (full(3, 2, 1), (3, 14, 13)),
    "a maximum after padding, rounded up": (after_padding, (3, 13, 14)),
    "a mean, rounded up": (full(3, 2, 1, "avg", count_include_pad=False), (3, 14, 13)),
    "a mean of one cell": (cells(1), (3, 4, 6)),
    "a mean of four cells": (cells(2), (3, 4, 6)),
    "a mean of four cells, by two numbers": (cells((2, 2)), (3, 4, 6)),
    "a mean of two cells": (cells((1, 2)), (3, 5, 6)),
    "a dropout": (lambda f, x: f.Dropout(f.tanh(x)), (5,)),
}


@pytest.mark.parametrize("name", CARRIED)
def test_settings_are_carried(name, tmp_path):
    mx = needs.framework("mxnet").mx
    path, batch, expected = small(mx, *CARRIED[name], tmp_path)
    (found,) = reference.forward(format_.read(path), batch).values()
    assert_near([found], {"data": expected})


REFUSED = {
    "a maximum of padding alone": (full(2, 3, 1), "Pooling"),
    "a mean of padding alone": (full(2, 3, 1, "avg"), "Pooling"),
    "a maximum outside of the input": (full(1, 4, 0), "Pooling"),
    "a mean of uneven cells": (cells(3), "AdaptiveAvgPooling2D"),
    "a dropout that always drops": (lambda f, x: f.Dropout(x, mode="always"), "Dropout"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_come_out_otherwise_is_refused(name, tmp_path):
    mx = needs.framework("mxnet").mx
    settle, message = REFUSED[name]
    path, _, _ = small(mx, settle, (3, 14, 14), tmp_path)
    with pytest.raises(UnsupportedOperationError, match=message):
        format_.read(path)


def test_a_maximum_of_uneven_padding_is_written_as_it_is(tmp_path):
    """MXNet would round it up to a window that sees padding alone."""
    graph = single(ops.MaxPool, (3, 14, 14), kernel=(2, 3), strides=(3, 2), padding=(1, 0, 1, 1))
    program = seeded_program(graph)
    format_.write(program, tmp_path / "file.params")
    mx, block = imported(tmp_path / "file.params", "image")
    batch = seeded_batch(graph, 2) - 2
    assert_near([block(mx.nd.array(batch)).asnumpy()], reference.forward(program, batch))
