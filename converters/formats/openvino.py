"""OpenVINO's intermediate representation: ``.xml`` with the graph and ``.bin`` with the weights."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset8, opset11

from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.formats.emitting import Rules, emit
from facemask_zoo.errors import WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.operations import Operation
from facemask_zoo.graph.program import Program

FORMAT = "openvino"


@functools.cache
def core() -> openvino.Core:
    """The one runtime of this process, never given up.

    With its last runtime OpenVINO frees a stack that it has set for signals, and may leave it set:
    the next signal with a handler in Python would then end the process.
    """
    return openvino.Core()


def write(program: Program, path: Path) -> None:
    """Write a graph for any batch size, in full precision; the card is in its ``rt_info``."""
    openvino.save_model(graph_of(program), path, compress_to_fp16=False)


def read_card(path: Path) -> str | None:
    """The text of the card within a file of any precision; None if there is none.

    Raises:
        WeightsError: OpenVINO does not read the file.
    """
    try:
        graph = core().read_model(path)
    except RuntimeError as error:
        raise WeightsError(f"OpenVINO does not accept {path}: {error}") from error
    return str(graph.get_rt_info(CARD_KEY).value) if graph.has_rt_info(CARD_KEY) else None


def graph_of(program: Program) -> openvino.Model:
    """The program in OpenVINO's operations, every one of them named.

    OpenVINO would number what has no name by how many operations the process has made so far.
    """
    graph = program.graph
    shape = openvino.PartialShape([-1, *graph.input_shape])
    image = opset8.parameter(shape, np.float32, graph.input)
    image.set_friendly_name(graph.input)
    image.output(0).tensor.set_names({graph.input})
    values = emit(graph, image.output(0), _Emitter(program), _RULES, FORMAT)
    outputs = [values[name] for name in graph.outputs]
    for output, name in zip(outputs, graph.outputs, strict=True):
        output.tensor.set_names({name})
    model = openvino.Model(outputs, [image], "facemask_zoo")
    for result, name in zip(model.get_results(), graph.outputs, strict=True):
        result.set_friendly_name(f"{name}/result")
    if program.card:
        model.set_rt_info(program.card, [CARD_KEY])
    return model


class _Emitter:
    """Makes constants; values are outputs of OpenVINO's operations."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def tensor(self, op: Operation, part: str, shape: Sequence[int] | None = None) -> Any:
        """A tensor of the program, in another shape if one is given."""
        values = self.program.tensors[f"{op.name}.{part}"]
        shaped = values if shape is None else values.reshape(shape)
        return opset8.constant(np.ascontiguousarray(shaped), name=f"{op.name}.{part}")

    def integers(self, op: Operation, what: str, values: Sequence[int]) -> Any:
        """A constant of integers."""
        return self.constant(op, what, np.array(values, np.int64))

    def constant(self, op: Operation, what: str, values: NDArray[Any]) -> Any:
        """Any constant."""
        return opset8.constant(values, name=f"{op.name}/{what}")

    def by_channel(self, op: Operation) -> tuple[int, ...]:
        """The shape in which one number for each channel goes with the operation's value."""
        return (1, -1, *[1] * (len(self.program.graph.shapes[op.name]) - 1))


def _convolution(e: _Emitter, op: ops.Convolution, x: Sequence[Any]) -> Any:
    top, left, bottom, right = op.padding
    settings = (list(op.strides), [top, left], [bottom, right], list(op.dilations))
    name = f"{op.name}/product"
    if op.groups == 1:
        product = opset8.convolution(x[0], e.tensor(op, "weight"), *settings, name=name)
    else:
        weight = e.program.tensors[f"{op.name}.weight"].shape
        grouped = (op.groups, op.filters // op.groups, *weight[1:])
        product = opset8.group_convolution(
            x[0], e.tensor(op, "weight", grouped), *settings, name=name
        )
    bias = e.tensor(op, "bias", (1, -1, 1, 1))
    return opset8.add(product, bias, name=op.name).output(0)


def _max_pool(e: _Emitter, op: ops.MaxPool, x: Sequence[Any]) -> Any:
    top, left, bottom, right = op.padding
    ones = [1, 1]
    sides = ([top, left], [bottom, right])
    return opset8.max_pool(
        x[0], list(op.strides), ones, *sides, list(op.kernel), name=op.name
    ).output(0)


def _average_pool(e: _Emitter, op: ops.AveragePool, x: Sequence[Any]) -> Any:
    top, left, bottom, right = op.padding
    return opset8.avg_pool(
        x[0],
        list(op.strides),
        [top, left],
        [bottom, right],
        list(op.kernel),
        not op.count_padding,
        name=op.name,
    ).output(0)


def _mean(e: _Emitter, op: ops.GlobalAveragePool, x: Sequence[Any]) -> Any:
    axes = e.integers(op, "axes", [2, 3])
    return opset8.reduce_mean(x[0], axes, keep_dims=True, name=op.name).output(0)


def _linear(e: _Emitter, op: ops.Linear, x: Sequence[Any]) -> Any:
    product = opset8.matmul(x[0], e.tensor(op, "weight"), False, True, name=f"{op.name}/product")
    return opset8.add(product, e.tensor(op, "bias"), name=op.name).output(0)


def _slice(e: _Emitter, op: ops.Slice, x: Sequence[Any]) -> Any:
    limits = {"start": op.start, "stop": op.stop, "step": 1, "axis": op.axis}
    constants = [e.integers(op, key, [value]) for key, value in limits.items()]
    return opset8.slice(x[0], *constants, name=op.name).output(0)


def _pad(e: _Emitter, op: ops.Pad, x: Sequence[Any]) -> Any:
    top, left, bottom, right = op.padding
    before = e.integers(op, "before", [0, op.channels[0], top, left])
    after = e.integers(op, "after", [0, op.channels[1], bottom, right])
    zero = e.constant(op, "zero", np.array(0, np.float32))
    return opset8.pad(x[0], before, after, "constant", zero, name=op.name).output(0)


def _upsample(e: _Emitter, op: ops.Upsample, x: Sequence[Any]) -> Any:
    _, height, width = e.program.graph.shapes[op.name]
    nearest = op.mode == "nearest"
    return opset11.interpolate(
        x[0],
        e.integers(op, "sizes", [height, width]),
        "nearest" if nearest else "linear_onnx",
        "sizes",
        coordinate_transformation_mode="asymmetric" if nearest else "half_pixel",
        nearest_mode="floor",
        axes=e.integers(op, "axes", [2, 3]),
        name=op.name,
    ).output(0)


def _reshape(e: _Emitter, op: ops.Reshape, x: Sequence[Any]) -> Any:
    shape = e.integers(op, "shape", [0, *op.target])
    return opset8.reshape(x[0], shape, special_zero=True, name=op.name).output(0)


def _relu6(e: _Emitter, op: ops.Relu6, x: Sequence[Any]) -> Any:
    return opset8.clamp(x[0], 0.0, 6.0, name=op.name).output(0)


def _hard_sigmoid(e: _Emitter, op: ops.HardSigmoid, x: Sequence[Any]) -> Any:
    slope, offset = (
        e.constant(op, what, np.array(value, np.float32))
        for what, value in (("slope", 1 / 6), ("offset", 0.5))
    )
    return opset8.hard_sigmoid(x[0], slope, offset, name=op.name).output(0)


def _slopes(e: _Emitter, op: ops.LeakyRelu | ops.Prelu, x: Sequence[Any]) -> Any:
    if isinstance(op, ops.LeakyRelu):
        slope = e.constant(op, "slope", np.array([op.slope], np.float32))
    else:
        slope = e.tensor(op, "slope", e.by_channel(op))
    return opset8.prelu(x[0], slope, name=op.name).output(0)


def _transpose(e: _Emitter, op: ops.Transpose, x: Sequence[Any]) -> Any:
    return opset8.transpose(x[0], e.integers(op, "order", op.order), name=op.name).output(0)


_RULES: Rules[_Emitter, Any] = {
    ops.Convolution: _convolution,
    ops.MaxPool: _max_pool,
    ops.AveragePool: _average_pool,
    ops.GlobalAveragePool: _mean,
    ops.Linear: _linear,
    ops.Add: lambda e, op, x: opset8.add(*x, name=op.name).output(0),
    ops.Multiply: lambda e, op, x: opset8.multiply(*x, name=op.name).output(0),
    ops.Concatenate: lambda e, op, x: opset8.concat(list(x), op.axis, name=op.name).output(0),
    ops.Slice: _slice,
    ops.Pad: _pad,
    ops.Upsample: _upsample,
    ops.Reshape: _reshape,
    ops.Transpose: _transpose,
    ops.Relu: lambda e, op, x: opset8.relu(x[0], name=op.name).output(0),
    ops.Relu6: _relu6,
    ops.LeakyRelu: _slopes,
    ops.Prelu: _slopes,
    ops.Sigmoid: lambda e, op, x: opset8.sigmoid(x[0], name=op.name).output(0),
    ops.Tanh: lambda e, op, x: opset8.tanh(x[0], name=op.name).output(0),
    ops.HardSigmoid: _hard_sigmoid,
    ops.HardSwish: lambda e, op, x: opset8.hswish(x[0], name=op.name).output(0),
    ops.Softmax: lambda e, op, x: opset8.softmax(x[0], op.axis, name=op.name).output(0),
}
