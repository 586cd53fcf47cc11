"""ONNX carries every operation, there and back, and onnxruntime agrees with the reference."""

from __future__ import annotations

import numpy as np
import onnx as onnx_package
import onnxruntime
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program

from facemask_zoo.converters.formats import onnx
from facemask_zoo.errors import WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph import reference
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.matching import renamed_like
from facemask_zoo.graph.program import Program

GRAPHS = {**SINGLE, **NETWORKS}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_comes_back_and_runs(name, tmp_path):
    program = seeded_program(GRAPHS[name])
    path = tmp_path / "file.onnx"
    onnx.write(program, path)
    read = onnx.read(path)
    assert isinstance(read, Program)
    found = renamed_like(read, program.graph)
    assert found is not None
    assert found.digest == program.digest
    batch = seeded_batch(program.graph, 3) * 4 - 2
    session = onnxruntime.InferenceSession(path)
    answers = session.run(list(program.graph.outputs), {program.graph.input: batch})
    for answer, expected in zip(answers, reference.forward(program, batch).values(), strict=True):
        assert answer.shape == expected.shape
        np.testing.assert_allclose(answer, expected, atol=2e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_is_near(name, tmp_path):
    program = seeded_program(NETWORKS[name])
    batch = seeded_batch(program.graph, 2)
    session = onnxruntime.InferenceSession(onnx.graph_bytes(program, half=True))
    answers = session.run(list(program.graph.outputs), {program.graph.input: batch})
    for answer, expected in zip(answers, reference.forward(program, batch).values(), strict=True):
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, expected, atol=0.05)


def test_shapes_are_computed_as_exporters_do(tmp_path):
    """Channels over groups, a division of what the graph itself says of its shapes."""
    text = """
        <ir_version: 8, opset_import: ["" : 13]>
        g (float[1, 6, 4, 4] x) => (float[1, a, b, 4, 4] y)
        <int64 one = {1}, int64[1] two = {2}, int64[1] first = {0}, int64[2] size = {4, 4},
         int64[1] batch = {1}>
        {
            shape = Shape(x)
            channels = Gather<axis = 0>(shape, one)
            row = Unsqueeze(channels, first)
            each = Div(row, two)
            target = Concat<axis = 0>(batch, two, each, size)
            y = Reshape(x, target)
        }
    """
    onnx_package.save(onnx_package.parser.parse_model(text), tmp_path / "file.onnx")
    graph = onnx.read(tmp_path / "file.onnx").graph
    assert graph.output_shapes == {"y": (2, 3, 4, 4)}


_READ_AS_EXPORTERS_WRITE = {
    "a batch that is computed, and a size that is left over": """
        <ir_version: 8, opset_import: ["" : 13]>
        g (float[n, 6, 4, 4] x) => (float[n, a, 3] y)
        <int64[1] zero = {0}, int64[1] rest = {-1}, int64[1] three = {3}>
        {
            shape = Shape(x)
            batch = Gather<axis = 0>(shape, zero)
            last = Transpose<perm = [0, 2, 3, 1]>(x)
            target = Concat<axis = 0>(batch, rest, three)
            y = Reshape(last, target)
        }
    """,
    "a maximum over the map": """
        <ir_version: 8, opset_import: ["" : 13]>
        g (float[n, 6, 4, 4] x) => (float[n, 6] y)
        { y = ReduceMax<axes = [2, 3], keepdims = 0>(x) }
    """,
    "a maximum that keeps its axes": """
        <ir_version: 8, opset_import: ["" : 13]>
        g (float[n, 6, 4, 4] x) => (float[n, 6, 1, 1] y)
        { y = ReduceMax<axes = [-1, -2]>(x) }
    """,
    "an enlargement by a quotient of sizes": """
        <ir_version: 8, opset_import: ["" : 9]>
        g (float[1, 6, 4, 4] x) => (float[1, 6, 8, 8] y)
        <float[2] ones = {1, 1}, float[2] wanted = {8, 8}, int64[1] two = {2}, int64[1] four = {4}>
        {
            shape = Shape(x)
            sizes = Slice<starts = [2], ends = [4]>(shape)
            floats = Cast<to = 1>(sizes)
            factors = Div(wanted, floats)
            scales = Concat<axis = 0>(ones, factors)
            y = Upsample<mode = "nearest">(x, scales)
        }
    """,
}


@pytest.mark.parametrize("name", _READ_AS_EXPORTERS_WRITE)
def test_what_exporters_write_is_read(name, tmp_path):
    assert_read_as_it_runs(_READ_AS_EXPORTERS_WRITE[name], tmp_path / "file.onnx")


def assert_read_as_it_runs(text, path):
    onnx_package.save(onnx_package.parser.parse_model(text), path)
    program = onnx.read(path)
    batch = seeded_batch(program.graph, 1) * 4 - 2
    (answer,) = reference.forward(program, batch).values()
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": batch})
    assert answer.shape == expected.shape
    np.testing.assert_allclose(answer, expected, atol=1e-6)


def test_outputs_that_are_only_handed_on_keep_their_names(tmp_path):
    """A cast at the end, as files of half precision have, is no operation of ours."""
    nodes = [
        onnx_package.helper.make_node("Relu", ["x"], ["inner"]),
        onnx_package.helper.make_node("Cast", ["inner"], ["y"], to=onnx_package.TensorProto.FLOAT),
        onnx_package.helper.make_node("Relu", ["inner"], ["z"]),
    ]
    image, *ends = (
        onnx_package.helper.make_tensor_value_info(
            name, onnx_package.TensorProto.FLOAT, ["n", 3, 4, 4]
        )
        for name in ("x", "y", "z")
    )
    path = tmp_path / "handed_on.onnx"
    onnx_package.save(
        onnx_package.helper.make_model(onnx_package.helper.make_graph(nodes, "g", [image], ends)),
        path,
    )
    assert onnx.read(path).graph.outputs == ("y", "z")


@pytest.mark.parametrize("kind", [ops.MaxPool, ops.AveragePool])
@pytest.mark.parametrize("padding", [1, 2])
def test_zeros_before_a_pool_stay_zeros(kind, padding, tmp_path):
    """Padding of a pool's own never wins in a maximum; zeros win over negative numbers."""
    b = GraphBuilder("x", (3, 9, 8))
    x = b.add(ops.Pad, "padded", "x", padding=(padding,) * 4)
    program = Program(b.finish(b.add(kind, "y", x, kernel=(2, 2), strides=(2, 2))), {})
    path = tmp_path / "pool.onnx"
    onnx.write(program, path)
    batch = -1 - seeded_batch(program.graph, 2)
    (found,) = onnxruntime.InferenceSession(path).run(None, {"x": batch})
    (expected,) = reference.forward(program, batch).values()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert onnx.read(path).graph == program.graph


def test_a_value_times_its_hard_sigmoid_is_a_hard_swish(tmp_path):
    """As files have it that are older than the operation."""
    nodes = [
        onnx_package.helper.make_node("HardSigmoid", ["x"], ["gate"], alpha=1 / 6, beta=0.5),
        onnx_package.helper.make_node("Mul", ["x", "gate"], ["y"]),
    ]
    ends = [
        onnx_package.helper.make_tensor_value_info(
            name, onnx_package.TensorProto.FLOAT, ["n", 3, 4, 4]
        )
        for name in ("x", "y")
    ]
    graph = onnx_package.helper.make_graph(nodes, "g", ends[:1], ends[1:])
    onnx_package.save(onnx_package.helper.make_model(graph), tmp_path / "swish.onnx")
    read = onnx.read(tmp_path / "swish.onnx")
    assert [operation.kind for operation in read.graph.operations] == ["HardSwish"]


def pool(settings, kind="MaxPool", opset=13):
    """A graph of one pooling of 3x3 every two cells, or as the settings say."""
    return f"""
        <ir_version: 8, opset_import: ["" : {opset}]>
        g (float[n, 3, 8, 8] x) => (float[n, 3, a, b] y)
        {{ y = {kind}<{settings}>(x) }}
    """


def resize(settings, numbers="float[4] s = {1, 1, 2, 3}", inputs="x, , s", opset=18):
    """A graph of one resize."""
    return f"""
        <ir_version: 8, opset_import: ["" : {opset}]>
        g (float[1, 3, 8, 8] x) => (float[1, c, a, b] y)
        <{numbers}>
        {{ y = Resize<{settings}>({inputs}) }}
    """


def pad(pads, axes, count):
    """A graph of one padding along axes."""
    return f"""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[n, 3, 8, 8] x) => (float[n, c, a, b] y)
        <int64[{2 * count}] p = {{{pads}}}, int64[{count}] axes = {{{axes}}}>
        {{ y = Pad(x, p, , axes) }}
    """


def step(line, constants="", shape="n, 5", opset='"" : 15'):
    """A graph of one line."""
    return f"""
        <ir_version: 8, opset_import: [{opset}]>
        g (float[{shape}] x) => (float[a] y)
        <{constants}>
        {{ {line} }}
    """


UNEVEN = "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 0, 0, 1], ceil_mode = 1"
REPEATS = 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
LINEAR = 'mode = "linear", coordinate_transformation_mode'
NORM = "float[3] a = {1, 2, 3}, float[3] b = {3, 1, 2}, float[3] c = {0, 1, 0}"

CARRIED = {
    "a maximum with uneven padding, rounded up": pool(UNEVEN),
    "a mean with uneven padding, rounded up": pool(UNEVEN, "AveragePool", 19),
    "a maximum with the same size, rounded up": pool(
        'kernel_shape = [3, 2], strides = [2, 2], auto_pad = "SAME_LOWER", ceil_mode = 1'
    ),
    "a maximum whose last window would see padding alone": pool(
        "kernel_shape = [2, 2], strides = [3, 3], pads = [1, 1, 1, 1], ceil_mode = 1"
    ),
    "a mean that counts its padding, rounded up to the same": pool(
        "kernel_shape = [3, 3], strides = [1, 2], pads = [1, 1, 1, 0], ceil_mode = 1, "
        "count_include_pad = 1",
        "AveragePool",
        19,
    ),
    "a resize of height and width": resize(REPEATS + ", axes = [2, 3]", "float[2] s = {2, 3}"),
    "a resize of width and height": resize(REPEATS + ", axes = [-1, 2]", "float[2] s = {2, 3}"),
    "a resize of axes in another order": resize(REPEATS + ", axes = [0, 1, 3, 2]"),
    "a resize to sizes of axes": resize(
        REPEATS + ", axes = [3, 2]", "int64[2] s = {8, 24}", "x, , , s"
    ),
    "a resize by nearest centres": resize(
        'mode = "nearest", nearest_mode = "round_prefer_ceil"', opset=13
    ),
    "a linear resize by centres": resize(LINEAR + ' = "half_pixel"', opset=13),
    "a linear resize by symmetric centres": resize(LINEAR + ' = "half_pixel_symmetric"', opset=19),
    "padding of axes in another order": pad("0, 0, 1, 2, 0, 0, 3, 4", "0, 1, 3, 2", 4),
    "padding of height and width": pad("1, 2, 3, 4", "2, 3", 2),
    "padding of negative axes": pad("1, 2, 3, 4", "-1, -3", 2),
    "a clip without bounds": step("z = Clip(x) y = Relu(z)"),
    "a softmax over one axis, by the longer domain": step(
        "y = Softmax(x)", shape="n, 5, 2", opset='"ai.onnx" : 13'
    ),
    "a dropout": step("z = Dropout(x) y = Relu(z)"),
    "a product by one number of as many axes": step("y = Mul(x, k)", "float[1, 1] k = {2}"),
}


@pytest.mark.parametrize("name", CARRIED)
def test_settings_are_carried(name, tmp_path):
    assert_read_as_it_runs(CARRIED[name], tmp_path / "file.onnx")


REFUSED = {
    "a resize of cells that lie before centres": (
        resize('mode = "nearest", nearest_mode = "floor"'),
        "nearest resize",
    ),
    "a resize of cells that lie after centres": (
        resize('mode = "nearest", nearest_mode = "ceil"'),
        "nearest resize",
    ),
    "a linear resize for nearest cells": (
        resize(LINEAR + ' = "tf_half_pixel_for_nn"', opset=11),
        "linear resize",
    ),
    "a resize that keeps the aspect ratio": (
        resize(
            REPEATS + ', keep_aspect_ratio_policy = "not_larger"',
            "int64[4] s = {1, 3, 16, 24}",
            "x, , , s",
        ),
        "aspect ratio",
    ),
    "a resize of channels": (
        resize(REPEATS, "int64[4] s = {1, 6, 16, 16}", "x, , , s"),
        "whole factors",
    ),
    "a resize of the batch": (
        resize(REPEATS, "int64[4] s = {2, 3, 16, 16}", "x, , , s"),
        "whole factors",
    ),
    "a resize of an axis twice": (
        resize(REPEATS + ", axes = [2, 2]", "float[2] s = {2, 2}"),
        "twice",
    ),
    "padding of an axis twice": (pad("1, 2, 3, 4", "2, 2", 2), "twice"),
    "a normalisation in training": (
        step("y, m, v = BatchNormalization<training_mode = 1>(x, a, b, c, a)", NORM, "n, 3, 4, 4"),
        "BatchNormalization",
    ),
    "a dropout in training": (
        step("y = Dropout(x, r, t)", "float r = {0.5}, bool t = {1}"),
        "Dropout",
    ),
    "a softmax over several axes, by the longer domain": (
        step("y = Softmax(x)", shape="n, 5, 2", opset='"ai.onnx" : 9'),
        "Softmax",
    ),
    "a product that has more axes": (step("y = Mul(x, k)", "float[1, 1, 1] k = {2}"), "Mul"),
    "a sum that has more axes": (step("y = Add(x, k)", "float[1, 1, 1, 1] k = {2}"), "Add"),
    "a bias for each row": (
        step(
            "y = Gemm(x, w, k)",
            "float[5, 2] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, float[2, 1] k = {1, 2}",
        ),
        "Gemm",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_come_out_otherwise_is_refused(name, tmp_path):
    text, message = REFUSED[name]
    onnx_package.save(onnx_package.parser.parse_model(text), tmp_path / "file.onnx")
    with pytest.raises(WeightsError, match=message):
        onnx.read(tmp_path / "file.onnx")
