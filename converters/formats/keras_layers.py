"""A program as layers of Keras, whatever file or framework they are for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.formats.channels_last import (
    TO_FIRST,
    TO_LAST,
    ChannelsLastEmitter,
    Stored,
)
from facemask_zoo.converters.formats.emitting import Rules, emit, fused_activation, same_padding
from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.graph import Names
from facemask_zoo.graph.operations import Operation, Padding, Shape
from facemask_zoo.graph.program import Program

Config = Mapping[str, Any]
Array = NDArray[np.float32]

LAST = "channels_last"
SIXTH, HALF_OF_SIX = 1 / 6, 3.0
"""Keras 2, Keras 3 and TensorFlow.js do not mean the same by ``hard_sigmoid``; all of them can
compute min(max(x + 3, 0), 6) / 6."""


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """A layer and its place in a model.

    Attributes:
        name: Name of the layer and of what it gives.
        class_name: Class in ``keras.layers``.
        config: The layer's arguments, without its name.
        inputs: The layers whose outputs it takes.
        shape: What it gives for one sample, without the batch axis.
        weights: Its variables by name, in Keras's order.
    """

    name: str
    class_name: str
    config: Config
    inputs: tuple[Layer, ...]
    shape: Shape
    weights: Mapping[str, Array] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Dialect:
    """What the readers of a format understand.

    Attributes:
        format: Name of the format.
        slope: What it calls the slope of a leaky ReLU.
        groups: Whether convolutions may have groups.
        half_pixels: Whether a bilinear enlargement samples between the centres of cells.
        hard: Whether ``hard_sigmoid`` and ``hard_silu`` are those of Keras 3.
        any_softmax: Whether a softmax may be over another axis than the last.
    """

    format: str
    slope: str = "alpha"
    groups: bool = True
    half_pixels: bool = True
    hard: bool = False
    any_softmax: bool = True


@dataclasses.dataclass(frozen=True)
class LayerModel:
    """A model as layers.

    Attributes:
        image: The input.
        layers: All others, in the order in which Keras itself lists them.
        outputs: Names of those that are outputs.
    """

    image: Layer
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, image: Layer, ends: Sequence[Layer]) -> LayerModel:
        """The model that ends in these layers."""
        ordered = [layer for layer in keras_order(ends) if layer is not image]
        return cls(image, tuple(ordered), tuple(layer.name for layer in ends))


def layer_model(program: Program, dialect: Dialect, *, sort_outputs: bool = False) -> LayerModel:
    """The layers of a program.

    A feature map is stored channels last; as an input of the model, too, but as an output it has
    the order of the graph.

    Args:
        program: What to write.
        dialect: Who will read it.
        sort_outputs: Whether to order the outputs by name, for models that give a dictionary.

    Raises:
        UnsupportedOperationError: Layers cannot carry an operation.
    """
    graph, emitter = program.graph, _Emitter(program, dialect)
    shape = graph.input_shape
    image = Layer(graph.input, "InputLayer", {}, (), _last(shape) if len(shape) == 3 else shape)
    values = emit(graph, emitter.image(image, shape), emitter, _RULES, dialect.format)
    names = sorted(graph.outputs) if sort_outputs else graph.outputs
    return LayerModel.of(image, [emitter.output(name, values[name]) for name in names])


def keras_order(ends: Sequence[Layer]) -> list[Layer]:
    """Layers in the order in which Keras lists them.

    Keras numbers the weights of a file by this order, so it has to be Keras's own: by the longest
    way to an output, and among equals by a walk back from the outputs.
    """
    seen: dict[Layer, None] = {}
    waiting = list(reversed(ends))
    while waiting:
        layer = waiting.pop()
        if layer not in seen:
            seen[layer] = None
            waiting.extend(reversed(layer.inputs))
    depths = _depths(seen)
    return sorted(seen, key=lambda layer: -depths[layer])


def _depths(layers: Iterable[Layer]) -> dict[Layer, int]:
    """The longest way from each layer to an output."""
    depths = dict.fromkeys(layers, 0)
    readers = dict.fromkeys(depths, 0)
    for layer in depths:
        for source in layer.inputs:
            readers[source] += 1
    ready = [layer for layer, count in readers.items() if not count]
    while ready:
        layer = ready.pop()
        for source in layer.inputs:
            depths[source] = max(depths[source], depths[layer] + 1)
            readers[source] -= 1
            if not readers[source]:
                ready.append(source)
    return depths


def nonnegative_values(operations: Iterable[Operation]) -> set[str]:
    """Names of the values that cannot be negative: zeros around them never win a maximum."""
    found: set[str] = set()
    for operation in operations:
        kind = type(operation)
        kept = kind in _KEEP_SIGN and found.issuperset(operation.inputs)
        if kind in _NONNEGATIVE or kept:
            found.add(operation.name)
    return found


_NONNEGATIVE = (ops.Relu, ops.Relu6, ops.Sigmoid, ops.HardSigmoid, ops.Softmax)
_KEEP_SIGN = (
    *(ops.MaxPool, ops.AveragePool, ops.GlobalAveragePool, ops.Add, ops.Multiply, ops.Concatenate),
    *(ops.Slice, ops.Pad, ops.Upsample, ops.Reshape, ops.Transpose),
)
_FUSED: Mapping[type[Operation], str] = {
    ops.Relu: "relu",
    ops.Sigmoid: "sigmoid",
    ops.Tanh: "tanh",
}


class _Emitter(ChannelsLastEmitter[Layer]):
    """Makes layers; an operation's last one has its name."""

    def __init__(self, program: Program, dialect: Dialect) -> None:
        self.program = program
        self.graph = program.graph
        self.dialect = dialect
        self.nonnegative = nonnegative_values(self.graph.operations)
        self._names = Names()
        for name in self.graph.shapes:
            self._names.fresh(name)

    def unsupported(self, op: Operation, what: str) -> UnsupportedOperationError:
        """The error for an operation as it is here."""
        return UnsupportedOperationError(self.dialect.format, what, op.name)

    def tensor(self, op: Operation, part: str) -> Array:
        """A tensor of the program."""
        return self.program.tensors[f"{op.name}.{part}"]

    def between(
        self, name: str, kind: str, config: Config, x: Sequence[Layer], shape: Shape
    ) -> Layer:
        """A layer that is only a step of an operation."""
        return Layer(self._names.fresh(name), kind, config, tuple(x), shape)

    def result(
        self,
        op: Operation,
        kind: str,
        config: Config,
        x: Sequence[Layer],
        *,
        last: bool,
        weights: Mapping[str, Array] | None = None,
    ) -> Stored[Layer]:
        """The layer that gives an operation's value."""
        shape = self.graph.shapes[op.name]
        name = op.name
        if last and name in self.graph.outputs:  # which are given in the graph's order
            name = self._names.fresh(f"{name}_map")
        stored = _last(shape) if last else shape
        arrays = {
            key: np.ascontiguousarray(values, np.float32) for key, values in (weights or {}).items()
        }
        return Stored(Layer(name, kind, config, tuple(x), stored, arrays), shape, last)

    def alias(self, op: Operation, x: Layer, *, last: bool) -> Stored[Layer]:
        """The same numbers in the same order; a layer only where the value is an output."""
        if op.name in self.graph.outputs and not last:
            return self.result(op, "Activation", {"activation": "linear"}, [x], last=last)
        return Stored(x, self.graph.shapes[op.name], last)

    def output(self, name: str, stored: Stored[Layer]) -> Layer:
        """The layer of an output, in the graph's order."""
        if not stored.last:
            return stored.value
        kind, config = _transposition(TO_FIRST, stored.shape)
        return Layer(name, kind, config, (stored.value,), stored.shape)

    def transposed(self, value: Layer, order: tuple[int, ...], shape: Shape, name: str) -> Layer:
        kind, config = _transposition(order, shape)
        return self.between(name, kind, config, [value], shape)

    def ordered(self, stored: Stored[Layer], name: str) -> Layer:
        """The layer in the graph's own order and shape."""
        if not stored.last:
            return stored.value
        return self.transposed(stored.value, TO_FIRST, stored.shape, f"{name}_first")

    def fused(self, op: Operation) -> Operation | None:
        """The activation that is written with the operation before it."""
        activation = fused_activation(self.graph, op, tuple(_FUSED))
        return None if activation and activation.name in self.graph.outputs else activation

    def activation(self, op: Operation) -> str:
        """What the layer of an operation does at its end."""
        fused = self.fused(op)
        return _FUSED[type(fused)] if fused else "linear"

    def padded(self, x: Layer, padding: Padding, name: str) -> Layer:
        """Zeros around a layer's first two axes."""
        top, left, bottom, right = padding
        shape = (x.shape[0] + top + bottom, x.shape[1] + left + right, x.shape[2])
        return self.between(name, "ZeroPadding2D", _padding(padding), [x], shape)


def _transposition(order: tuple[int, ...], shape: Shape) -> tuple[str, Config]:
    """The layer that gives this shape, from an order to another."""
    if order in (TO_LAST, TO_FIRST) and _is_pixel(order, shape):
        return "Reshape", {"target_shape": list(shape)}
    return "Permute", {"dims": list(order[1:])}


def _is_pixel(order: tuple[int, ...], shape: Shape) -> bool:
    """Whether a feature map in `shape`, after `order`, has one cell."""
    return (shape[:2] if order == TO_LAST else shape[1:]) == (1, 1)


def _last(shape: Shape) -> Shape:
    return (shape[1], shape[2], shape[0])


def _padding(padding: Padding) -> Config:
    top, left, bottom, right = padding
    return {"padding": [[top, bottom], [left, right]], "data_format": LAST}


def _window(e: _Emitter, op: ops.Window, x: Layer) -> tuple[Layer, str]:
    """What a window with zeros around it sees, and which padding is left to the layer."""
    if not any(op.padding):
        return x, "valid"
    if op.padding == same_padding(op, x.shape[:2]):
        return x, "same"
    return e.padded(x, op.padding, f"{op.name}_pad"), "valid"


def _convolution(e: _Emitter, op: ops.Convolution, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    depthwise = op.groups == x[0].shape[0] > 1
    if max(op.strides) > 1 and max(op.dilations) > 1:
        raise e.unsupported(op, "a convolution with strides and dilations")
    if depthwise and op.strides[0] != op.strides[1]:
        raise e.unsupported(op, "a depthwise convolution with two strides")
    if op.groups > 1 and not depthwise and not e.dialect.groups:
        raise e.unsupported(op, "a convolution with groups")
    source, padding = _window(e, op, e.as_last(x[0], op.name))
    config: dict[str, Any] = {
        "kernel_size": list(op.kernel),
        "strides": list(op.strides),
        "padding": padding,
        "data_format": LAST,
        "dilation_rate": list(op.dilations),
        "activation": e.activation(op),
        "use_bias": True,
    }
    weight, bias = e.tensor(op, "weight"), e.tensor(op, "bias")
    if depthwise:
        config["depth_multiplier"] = op.filters // op.groups
        kernel = weight.reshape(op.groups, -1, *op.kernel).transpose(2, 3, 0, 1)
        weights = {"depthwise_kernel": kernel, "bias": bias}
        return e.result(op, "DepthwiseConv2D", config, [source], last=True, weights=weights)
    config = {"filters": op.filters, **config} | ({"groups": op.groups} if op.groups > 1 else {})
    weights = {"kernel": weight.transpose(2, 3, 1, 0), "bias": bias}
    return e.result(op, "Conv2D", config, [source], last=True, weights=weights)


def _linear(e: _Emitter, op: ops.Linear, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    config = {"units": op.features, "activation": e.activation(op), "use_bias": True}
    weights = {"kernel": e.tensor(op, "weight").T, "bias": e.tensor(op, "bias")}
    source = e.ordered(x[0], op.name)
    return e.result(op, "Dense", config, [source], last=False, weights=weights)


def _max_pool(e: _Emitter, op: ops.MaxPool, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    image = e.as_last(x[0], op.name)
    source, padding = _window(e, op, image)
    if source is not image and op.inputs[0] not in e.nonnegative:
        return _pool_in_steps(e, op, "MaxPooling2D", image)
    return e.result(op, "MaxPooling2D", _pool(op, padding), [source], last=True)


def _average_pool(e: _Emitter, op: ops.AveragePool, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    image = e.as_last(x[0], op.name)
    if op.count_padding and any(op.padding):
        padded = e.padded(image, op.padding, f"{op.name}_pad")
        return e.result(op, "AveragePooling2D", _pool(op, "valid"), [padded], last=True)
    source, padding = _window(e, op, image)
    if source is not image:
        return _pool_in_steps(e, op, "AveragePooling2D", image)
    return e.result(op, "AveragePooling2D", _pool(op, padding), [source], last=True)


def _pool(op: ops.Window, padding: str) -> Config:
    return {
        "pool_size": list(op.kernel),
        "strides": list(op.strides),
        "padding": padding,
        "data_format": LAST,
    }


def _pool_in_steps(e: _Emitter, op: ops.Window, kind: str, image: Layer) -> Stored[Layer]:
    """A pool around every cell, of which every second (or so) is kept.

    Keras pads pools only on the sides that it chooses itself, but of stride 1 on both.
    """
    dense = dataclasses.replace(op, strides=(1, 1))
    around = same_padding(dense, image.shape[:2])
    _, height, width = e.graph.shapes[op.name]
    kept = tuple(-(-n // s) for n, s in zip(image.shape[:2], op.strides, strict=True))
    if op.padding[:2] != around[:2] or (height, width) != kept:
        raise e.unsupported(op, f"{op.kind} with the padding {op.padding}")
    pooled = e.between(f"{op.name}_dense", kind, _pool(dense, "same"), [image], image.shape)
    picked = dataclasses.replace(op, kernel=(1, 1))
    return e.result(op, "MaxPooling2D", _pool(picked, "valid"), [pooled], last=True)


def _mean(e: _Emitter, op: ops.GlobalAveragePool, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    image = e.as_last(x[0], op.name)
    channels = image.shape[2]
    config = {"data_format": LAST}
    kind = "GlobalAveragePooling2D"
    mean = e.between(f"{op.name}_mean", kind, config, [image], (channels,))
    return e.result(op, "Reshape", {"target_shape": [1, 1, channels]}, [mean], last=True)


def _arranged(e: _Emitter, op: Operation, x: Sequence[Stored[Layer]]) -> tuple[list[Layer], bool]:
    """Inputs in one order, and whether that is channels last."""
    last = any(each.last for each in x)
    if not last:
        return [each.value for each in x], False
    return [e.as_last(each, f"{op.name}_{index}") for index, each in enumerate(x)], True


def _arithmetic(e: _Emitter, op: Operation, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    sources, last = _arranged(e, op, x)
    return e.result(op, op.kind, {}, sources, last=last)


def _concatenate(e: _Emitter, op: ops.Concatenate, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    if len(x) == 1:  # Concatenate wants two or more
        return e.alias(op, x[0].value, last=x[0].last)
    sources, last = _arranged(e, op, x)
    axis = e.stored_axis(op.axis, last=last)
    return e.result(op, "Concatenate", {"axis": axis}, sources, last=last)


def _slice(e: _Emitter, op: ops.Slice, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    before, after = op.start, x[0].shape[op.axis - 1] - op.stop
    if x[0].last and op.axis > 1:
        cropping = [[0, 0], [0, 0]]
        cropping[op.axis - 2] = [before, after]
        return e.result(op, "Cropping2D", _cropping(cropping), [x[0].value], last=True)
    source = e.ordered(x[0], op.name)
    if len(source.shape) == 3 and op.axis < 3:
        cropping = [[0, 0], [0, 0]]
        cropping[op.axis - 1] = [before, after]
        return e.result(op, "Cropping2D", _cropping(cropping), [source], last=False)
    return _slice_in_steps(e, op, source, [[0, 0], [before, after]])


def _slice_in_steps(
    e: _Emitter, op: ops.Slice, source: Layer, cropping: list[list[int]]
) -> Stored[Layer]:
    """By way of three axes, the one in question in the middle."""
    place = op.axis - 1
    outer, inner = math.prod(source.shape[:place]), math.prod(source.shape[place + 1 :])
    shape = (outer, source.shape[place], inner)
    flat = e.between(f"{op.name}_flat", "Reshape", {"target_shape": list(shape)}, [source], shape)
    kept = (outer, op.stop - op.start, inner)
    cut = e.between(f"{op.name}_cut", "Cropping2D", _cropping(cropping), [flat], kept)
    target = {"target_shape": list(e.graph.shapes[op.name])}
    return e.result(op, "Reshape", target, [cut], last=False)


def _cropping(cropping: list[list[int]]) -> Config:
    return {"cropping": cropping, "data_format": LAST}


def _pad(e: _Emitter, op: ops.Pad, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    image = e.as_last(x[0], op.name)
    if not any(op.channels):
        return e.result(op, "ZeroPadding2D", _padding(op.padding), [image], last=True)
    if any(op.padding):
        image = e.padded(image, op.padding, f"{op.name}_sides")
    height, width, channels = image.shape
    first = e.transposed(image, TO_FIRST, (channels, height, width), f"{op.name}_first")
    before, after = op.channels
    return e.result(op, "ZeroPadding2D", _padding((before, 0, after, 0)), [first], last=False)


def _upsample(e: _Emitter, op: ops.Upsample, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    if op.mode == "bilinear" and not e.dialect.half_pixels:
        raise e.unsupported(op, "a bilinear Upsample between the centres of cells")
    config = {"size": list(op.scales), "data_format": LAST, "interpolation": op.mode}
    return e.result(op, "UpSampling2D", config, [e.as_last(x[0], op.name)], last=True)


def _reshape(e: _Emitter, op: ops.Reshape, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    source = e.as_graph(x[0], op.name)
    return e.result(op, "Reshape", {"target_shape": list(op.target)}, [source], last=False)


def _transpose(e: _Emitter, op: ops.Transpose, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    if x[0].last and op.order == TO_LAST:
        return e.alias(op, x[0].value, last=False)
    if not x[0].last and op.order == TO_FIRST:
        return e.alias(op, x[0].value, last=True)
    source = e.ordered(x[0], op.name)
    return e.result(op, "Permute", {"dims": list(op.order[1:])}, [source], last=False)


def _activation(e: _Emitter, op: Operation, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    before = e.graph.by_name.get(op.inputs[0])
    if isinstance(before, ops.Convolution | ops.Linear) and e.fused(before) is op:
        return x[0]
    return _named(e, op, x[0], _FUSED[type(op)])


def _named(e: _Emitter, op: Operation, x: Stored[Layer], name: str) -> Stored[Layer]:
    return e.result(op, "Activation", {"activation": name}, [x.value], last=x.last)


def _relu6(e: _Emitter, op: ops.Relu6, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    return e.result(op, "ReLU", _TO_SIX, [x[0].value], last=x[0].last)


_TO_SIX = {"max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0}


def _leaky(e: _Emitter, op: ops.LeakyRelu, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    return e.result(op, "LeakyReLU", {e.dialect.slope: op.slope}, [x[0].value], last=x[0].last)


def _prelu(e: _Emitter, op: ops.Prelu, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    rank, slope = len(x[0].shape), e.tensor(op, "slope")
    last = rank == 3
    source = e.as_last(x[0], op.name)
    alpha = slope.reshape((1, 1, -1) if last else (-1, *[1] * (rank - 1)))
    shared = [1, 2] if last else list(range(2, rank + 1))
    config = {"shared_axes": shared or None}
    return e.result(op, "PReLU", config, [source], last=last, weights={"alpha": alpha})


def _hard_sigmoid(e: _Emitter, op: ops.HardSigmoid, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    if e.dialect.hard:
        return _named(e, op, x[0], "hard_sigmoid")
    config = {"scale": SIXTH, "offset": 0.0}
    return e.result(op, "Rescaling", config, [_clipped(e, op, x[0])], last=x[0].last)


def _clipped(e: _Emitter, op: Operation, x: Stored[Layer]) -> Layer:
    """min(max(x + 3, 0), 6)."""
    shape, config = x.value.shape, {"scale": 1.0, "offset": HALF_OF_SIX}
    shifted = e.between(f"{op.name}_shifted", "Rescaling", config, [x.value], shape)
    return e.between(f"{op.name}_clipped", "ReLU", _TO_SIX, [shifted], shape)


def _hard_swish(e: _Emitter, op: ops.HardSwish, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    if e.dialect.hard:
        return _named(e, op, x[0], "hard_silu")
    config = {"scale": SIXTH, "offset": 0.0}
    clipped = _clipped(e, op, x[0])
    gate = e.between(f"{op.name}_gate", "Rescaling", config, [clipped], clipped.shape)
    return e.result(op, "Multiply", {}, [x[0].value, gate], last=x[0].last)


def _softmax(e: _Emitter, op: ops.Softmax, x: Sequence[Stored[Layer]]) -> Stored[Layer]:
    axis = e.stored_axis(op.axis, last=x[0].last)
    if axis == len(x[0].shape):
        return _named(e, op, x[0], "softmax")
    if not e.dialect.any_softmax:
        raise e.unsupported(op, "a Softmax over another axis than the last")
    return e.result(op, "Softmax", {"axis": axis}, [x[0].value], last=x[0].last)


_RULES: Rules[_Emitter, Stored[Layer]] = {
    ops.Convolution: _convolution,
    ops.MaxPool: _max_pool,
    ops.AveragePool: _average_pool,
    ops.GlobalAveragePool: _mean,
    ops.Linear: _linear,
    ops.Add: _arithmetic,
    ops.Multiply: _arithmetic,
    ops.Concatenate: _concatenate,
    ops.Slice: _slice,
    ops.Pad: _pad,
    ops.Upsample: _upsample,
    ops.Reshape: _reshape,
    ops.Transpose: _transpose,
    ops.Relu: _activation,
    ops.Relu6: _relu6,
    ops.LeakyRelu: _leaky,
    ops.Prelu: _prelu,
    ops.Sigmoid: _activation,
    ops.Tanh: _activation,
    ops.HardSigmoid: _hard_sigmoid,
    ops.HardSwish: _hard_swish,
    ops.Softmax: _softmax,
}
