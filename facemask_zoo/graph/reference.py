"""Any graph in float64 NumPy: slow, short, and what every framework is compared with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.graph.operations import (
    Add,
    AveragePool,
    BatchNorm,
    Concatenate,
    Convolution,
    GlobalAveragePool,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Linear,
    MaxPool,
    Multiply,
    Operation,
    Pad,
    Prelu,
    Relu,
    Relu6,
    Reshape,
    Sigmoid,
    Slice,
    Softmax,
    Tanh,
    Transpose,
    Upsample,
    Window,
)
from facemask_zoo.graph.program import Program

Doubles = NDArray[np.float64]
Parameters = Mapping[str, Doubles]


def forward(program: Program, batch: NDArray[np.floating[Any]]) -> dict[str, Doubles]:
    """Run a program in double precision.

    Args:
        program: What to run.
        batch: (N, ...) samples of the graph's input shape.

    Returns:
        (N, ...) by name of output.
    """
    graph = program.graph
    values: dict[str, Doubles] = {graph.input: np.asarray(batch, np.float64)}
    last_use = {name: each.name for each in graph.operations for name in each.inputs}
    for operation in graph.operations:
        inputs = [values[name] for name in operation.inputs]
        parts = operation.parameters(graph.input_shapes(operation))
        parameters = {
            part: program.tensors[f"{operation.name}.{part}"].astype(np.float64) for part in parts
        }
        values[operation.name] = _RULES[type(operation)](operation, inputs, parameters)
        for name in set(operation.inputs):  # feature maps are large in double precision
            if last_use[name] == operation.name and name not in graph.outputs:
                del values[name]
    return {name: values[name] for name in graph.outputs}


def _convolution(op: Convolution, inputs: Sequence[Doubles], parameters: Parameters) -> Doubles:
    weight, bias = parameters["weight"], parameters["bias"]
    x = _padded(inputs[0], op, 0.0)
    height, width = _steps(x, op)
    parts = np.split(x, op.groups, axis=1) if op.groups > 1 else [x]
    kernels = np.split(weight, op.groups) if op.groups > 1 else [weight]
    if op.groups == x.shape[1] == op.filters:
        return _depthwise(op, x, weight, height, width) + bias[:, None, None]
    totals = []
    for part, kernel in zip(parts, kernels, strict=True):
        total = np.zeros((x.shape[0], len(kernel), height, width))
        for (dy, dx), window in _windows(part, op, height, width):
            tap = np.tensordot(kernel[:, :, dy, dx], window, axes=(1, 1))
            total += tap.transpose(1, 0, 2, 3)
        totals.append(total)
    result = np.concatenate(totals, axis=1) if op.groups > 1 else totals[0]
    result += bias[:, None, None]
    return result


def _depthwise(op: Convolution, x: Doubles, weight: Doubles, height: int, width: int) -> Doubles:
    total = np.zeros((x.shape[0], op.filters, height, width))
    for (dy, dx), window in _windows(x, op, height, width):
        total += weight[:, 0, dy, dx][:, None, None] * window
    return total


def _max_pool(op: MaxPool, inputs: Sequence[Doubles], parameters: Parameters) -> Doubles:
    x = _padded(inputs[0], op, -np.inf)
    largest = np.full((*x.shape[:2], *_steps(x, op)), -np.inf)
    for _, window in _windows(x, op, *_steps(x, op)):
        np.maximum(largest, window, out=largest)
    return largest


def _average_pool(op: AveragePool, inputs: Sequence[Doubles], parameters: Parameters) -> Doubles:
    x = _padded(inputs[0], op, 0.0)
    total = np.zeros((*x.shape[:2], *_steps(x, op)))
    for _, window in _windows(x, op, *_steps(x, op)):
        total += window
    inside = np.ones_like(inputs[0][:1, :1])
    counted = _padded(inside, op, 1.0 if op.count_padding else 0.0)
    total /= sum(window for _, window in _windows(counted, op, *_steps(counted, op)))
    return total


def _linear(op: Linear, inputs: Sequence[Doubles], parameters: Parameters) -> Doubles:
    return np.asarray(inputs[0] @ parameters["weight"].T + parameters["bias"])


def _batch_norm(op: BatchNorm, inputs: Sequence[Doubles], parameters: Parameters) -> Doubles:
    x = inputs[0]
    epsilon = np.float64(np.float32(op.epsilon))
    scale = parameters["gamma"] / np.sqrt(parameters["variance"] + epsilon)
    shift = parameters["beta"] - parameters["mean"] * scale
    return np.asarray(x * _by_channel(scale, x) + _by_channel(shift, x))


def _upsample(op: Upsample, inputs: Sequence[Doubles], parameters: Parameters) -> Doubles:
    x = inputs[0]
    if op.mode == "nearest":
        return x.repeat(op.scales[0], axis=2).repeat(op.scales[1], axis=3)
    for axis, scale in zip((2, 3), op.scales, strict=True):
        x = _stretched(x, axis, scale)
    return x


def _stretched(x: Doubles, axis: int, scale: int) -> Doubles:
    size = x.shape[axis]
    places = np.clip((np.arange(size * scale) + 0.5) / scale - 0.5, 0, size - 1)
    low = np.floor(places).astype(np.int64)
    high = np.minimum(low + 1, size - 1)
    share = (places - low).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    return np.asarray(x.take(low, axis) * (1 - share) + x.take(high, axis) * share)


def _slice(op: Slice, inputs: Sequence[Doubles], parameters: Parameters) -> Doubles:
    index = [slice(None)] * inputs[0].ndim
    index[op.axis] = slice(op.start, op.stop)
    return inputs[0][tuple(index)].copy()  # a view would keep all of the input


def _pad(op: Pad, inputs: Sequence[Doubles], parameters: Parameters) -> Doubles:
    top, left, bottom, right = op.padding
    return np.pad(inputs[0], [(0, 0), op.channels, (top, bottom), (left, right)])


def _softmax(op: Softmax, inputs: Sequence[Doubles], parameters: Parameters) -> Doubles:
    powers = np.exp(inputs[0] - inputs[0].max(axis=op.axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=op.axis, keepdims=True))


def _prelu(op: Prelu, inputs: Sequence[Doubles], parameters: Parameters) -> Doubles:
    x = inputs[0]
    return np.where(x > 0, x, x * _by_channel(parameters["slope"], x))


def _sigmoid(x: Doubles) -> Doubles:
    with np.errstate(over="ignore"):  # 1 / (1 + inf) is the right answer
        return np.asarray(1 / (1 + np.exp(-x)))


def _hard_sigmoid(x: Doubles) -> Doubles:
    return np.asarray(np.clip(x / 6 + 0.5, 0, 1))


_RULES: dict[type[Operation], Callable[[Any, Sequence[Doubles], Parameters], Doubles]] = {
    Convolution: _convolution,
    MaxPool: _max_pool,
    AveragePool: _average_pool,
    GlobalAveragePool: lambda op, x, p: x[0].mean(axis=(2, 3), keepdims=True),
    Linear: _linear,
    BatchNorm: _batch_norm,
    Add: lambda op, x, p: x[0] + x[1],
    Multiply: lambda op, x, p: x[0] * x[1],
    Concatenate: lambda op, x, p: np.concatenate(x, axis=op.axis),
    Slice: _slice,
    Pad: _pad,
    Upsample: _upsample,
    Reshape: lambda op, x, p: x[0].reshape(len(x[0]), *op.target),
    Transpose: lambda op, x, p: x[0].transpose(op.order),
    Relu: lambda op, x, p: np.maximum(x[0], 0),
    Relu6: lambda op, x, p: np.clip(x[0], 0, 6),
    LeakyRelu: lambda op, x, p: np.where(x[0] > 0, x[0], x[0] * op.slope),
    Prelu: _prelu,
    Sigmoid: lambda op, x, p: _sigmoid(x[0]),
    Tanh: lambda op, x, p: np.tanh(x[0]),
    HardSigmoid: lambda op, x, p: _hard_sigmoid(x[0]),
    HardSwish: lambda op, x, p: x[0] * _hard_sigmoid(x[0]),
    Softmax: _softmax,
}


def _by_channel(values: Doubles, x: Doubles) -> Doubles:
    """(C,) in a shape that goes with (N, C, ...)."""
    return values.reshape(-1, *[1] * (x.ndim - 2))


def _padded(x: Doubles, window: Window, value: float) -> Doubles:
    top, left, bottom, right = window.padding
    if not any(window.padding):
        return x
    return np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)], constant_values=value)


def _steps(padded: Doubles, window: Window) -> tuple[int, int]:
    sizes = zip(padded.shape[2:], window.reach, window.strides, strict=True)
    height, width = ((size - reach) // stride + 1 for size, reach, stride in sizes)
    return height, width


def _windows(
    x: Doubles, window: Window, height: int, width: int
) -> Iterator[tuple[tuple[int, int], Doubles]]:
    """What each tap of the kernel sees, (N, C, height, width), row by row."""
    down, right = getattr(window, "dilations", (1, 1))
    for dy, dx in itertools.product(range(window.kernel[0]), range(window.kernel[1])):
        top, left = dy * down, dx * right
        yield (
            (dy, dx),
            x[
                :,
                :,
                top : top + (height - 1) * window.strides[0] + 1 : window.strides[0],
                left : left + (width - 1) * window.strides[1] + 1 : window.strides[1],
            ],
        )
