"""A program out of the layers that a Keras file describes, and their variables."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.formats.channels_last import TO_LAST, ChannelsLastImporter
from facemask_zoo.converters.formats.emitting import same_padding
from facemask_zoo.converters.formats.importing import settled_shape
from facemask_zoo.converters.formats.keras_config import LayerNode, ModelConfig, Place, model_config
from facemask_zoo.converters.formats.keras_layers import (
    HALF_OF_SIX,
    LAST,
    SIXTH,
    nonnegative_values,
)
from facemask_zoo.converters.limits import Budget
from facemask_zoo.errors import UnsupportedOperationError, WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.graph import MAX_OPERATIONS
from facemask_zoo.graph.operations import Operation, Padding, Pair, Shape, Window
from facemask_zoo.graph.program import Program

Array = NDArray[Any]
Scope = tuple[str, ...]
"""Names of the models that a layer lies in, from the outermost."""

_MAX_NESTED = 4
_MAX_STEPS = 4 * MAX_OPERATIONS
_BYTES_OF_A_SCALE = 16  # for each channel, while it is made
_TINY = 1e-6
_SLOPE_OF_KERAS = {"LeakyReLU": 0.3, "leaky_relu": 0.2}
_EPSILON = 1e-3
_FLOATS = ("float32", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16", None)


class Variables(Protocol):
    """Where the variables of layers come from."""

    def of(self, scope: Scope, layer: LayerNode, names: Sequence[str]) -> Sequence[Array]:
        """The variables of a layer.

        Args:
            scope: The models that it lies in.
            layer: The layer.
            names: What Keras calls them, in its order.

        Raises:
            WeightsError: One is missing.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Meaning:
    """Where the readers of one format do not do what others do.

    Attributes:
        format: Name of the format.
        hard_slope: What ``hard_sigmoid`` multiplies by.
        half_pixels: Whether a bilinear enlargement samples between the centres of cells.
    """

    format: str
    hard_slope: float = SIXTH
    half_pixels: bool = True


def read_program(
    config: ModelConfig, variables: Variables, meaning: Meaning, card: str = ""
) -> Program:
    """Follow the layers of a model.

    Args:
        config: Its layers.
        variables: Where their variables come from.
        meaning: What the format's readers make of them.
        card: JSON text of the card in the file.

    Raises:
        WeightsError: A layer or a variable is missing or does not fit.
        UnsupportedOperationError: A layer does what graphs cannot.
    """
    if len(config.inputs) != 1:
        raise WeightsError(f"Expected one input, but the model has {list(config.inputs[:5])}.")
    image = config.layers.get(config.inputs[0])
    if image is None:
        raise WeightsError(f"The configuration has no layer {config.inputs[0]!r:.100}.")
    importer = ChannelsLastImporter(meaning.format, image.name, _input_shape(image))
    reader = _Reader(importer, variables, meaning)
    outputs = reader.model(config, (), [importer.input], outermost=True)
    ends = [importer.as_stored(value) for value in outputs]
    if len(set(ends)) != len(ends):
        raise WeightsError("The model gives the same value as two outputs.")
    return importer.program(ends, card, [layer for layer, _, _ in config.outputs])


def _input_shape(image: LayerNode) -> Shape:
    shape = image.config.get("batch_shape", image.config.get("batch_input_shape"))
    kind = image.config.get("dtype")
    if isinstance(kind, str | None) and kind not in _FLOATS:
        raise WeightsError(f"Input {image.name!r:.100}: expected floats, but got {kind!r:.100}.")
    good = isinstance(shape, list) and 2 <= len(shape) <= 6
    if not good or not all(size is None or type(size) is int for size in shape[1:]):
        raise WeightsError(f"Input {image.name!r:.100} has the shape {shape!r:.100}.")
    return settled_shape(image.name, shape[1:])


class _Reader:
    """Adds the layers of a model to a graph; values are names of the graph."""

    def __init__(
        self, importer: ChannelsLastImporter, variables: Variables, meaning: Meaning
    ) -> None:
        self.importer = importer
        self.meaning = meaning
        self.scaled: dict[str, tuple[str, float, float]] = {}
        self.turned: set[str] = set()  # made channels last by the file itself
        self._variables = variables
        self._budget = Budget()
        self._made: dict[str, Operation] = {}
        self._scope: Scope = ()
        self._nested: dict[Scope, ModelConfig] = {}
        self._steps_left = _MAX_STEPS

    def model(
        self, config: ModelConfig, scope: Scope, inputs: Sequence[str], *, outermost: bool = False
    ) -> list[str]:
        """Read a model, given the values of its inputs."""
        if len(scope) > _MAX_NESTED or len(inputs) != len(config.inputs):
            raise WeightsError(f"The model {scope} is nested too deeply, or lacks an input.")
        values: dict[Place, str] = {
            (name, 0, 0): value for name, value in zip(config.inputs, inputs, strict=True)
        }
        ends = {place[0] for place in config.outputs} if outermost else set()
        for layer, index in config.in_order():
            if (layer.name, index, 0) in values:
                continue
            self._scope = scope
            self._step()
            seen = [self._seen(values, place) for place in layer.calls[index].inputs]
            results = self._results(layer, index, seen, is_end=layer.name in ends)
            values |= {(layer.name, index, part): each for part, each in enumerate(results)}
        return [self._seen(values, place) for place in config.outputs]

    def _results(
        self, layer: LayerNode, index: int, inputs: Sequence[str], *, is_end: bool
    ) -> list[str]:
        scope = self._scope
        if layer.is_model:
            inner = (*scope, layer.name)
            if inner not in self._nested:
                stored = {"class_name": layer.class_name, "config": layer.config}
                self._nested[inner] = model_config(stored)
            return self.model(self._nested[inner], inner, inputs)
        rule = _RULES.get(layer.class_name)
        if rule is None:
            raise self.importer.unsupported(layer.class_name, layer.name)
        if not inputs:
            raise WeightsError(f"The layer {layer.name!r:.100} sees nothing.")
        try:
            return [rule(self, _Use(layer, index, is_end), inputs)]
        except UnsupportedOperationError:
            raise
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            text = f"{layer.class_name} {layer.name!r:.100} is described wrongly: {error!r:.200}."
            raise WeightsError(text) from error

    def _step(self) -> None:
        """Models within models may be called over and over by a short text."""
        self._steps_left -= 1
        if self._steps_left < 0:
            raise WeightsError(f"The model takes over {_MAX_STEPS} steps.")

    def channels(self, value: str) -> int:
        """Channels of a value for which something is made that the file does not hold."""
        count = self.importer.shape(value)[0]
        self._budget.spend(_BYTES_OF_A_SCALE * count)
        return count

    def scale(self, name: str, value: str, scale: Array | None, shift: Array | None) -> str:
        """A value times numbers plus others, in the order in which it is stored."""
        self.channels(value)
        return self.like(self.importer.scaled(name, value, scale, shift), value)

    def axis(self, axis: int, value: str) -> int:
        """The graph's number for an axis as the file counts."""
        rank = len(self.importer.shape(value)) + 1
        if not -rank <= axis < rank:
            raise ValueError(f"there is no axis {axis}")
        return self.importer.axis(axis, value)

    def _seen(self, values: Mapping[Place, str], place: Place) -> str:
        if place not in values:
            raise WeightsError(f"Nothing gives the value {place} of the config.")
        return values[place]

    def variables(self, layer: LayerNode, *names: str) -> list[Array]:
        """Variables of a layer, in single precision."""
        found = self._variables.of(self._scope, layer, names)
        for values in found:
            self._budget.spend(values.nbytes)
        return list(found)

    def activated(self, use: _Use, value: str) -> str:
        """A value after the activation that a layer ends with."""
        name = _activation_name(self, use, use.config.get("activation"))
        return self.activation(use, name, use.name, value)

    def activation(self, use: _Use, kind: str, name: str, value: str) -> str:
        """A value after an activation."""
        if kind == "linear":
            return value
        rule = _ACTIVATIONS.get(kind)
        if rule is None:
            raise self.importer.unsupported(f"the activation {kind!r:.100}", use.layer.name)
        return self.like(rule(self, name, value), value)

    def inner(self, use: _Use) -> str:
        """Name of what a layer computes before its activation."""
        kind = _activation_name(self, use, use.config.get("activation"))
        if kind == "linear":
            return use.name
        return f"{use.name}_linear" if use.is_end else use.name

    def like(self, value: str, other: str) -> str:
        """A value, in the order in which another is stored."""
        return self.importer.mark(value) if self.importer.is_feature_map(other) else value

    def operation(self, value: str) -> Operation | None:
        """What gives a value; None for the input."""
        for operation in self.importer.builder.operations[len(self._made) :]:
            self._made[operation.name] = operation
        return self._made.get(value)


@dataclasses.dataclass(frozen=True)
class _Use:
    """A call of a layer.

    Attributes:
        layer: The layer.
        index: Which call.
        is_end: Whether it gives an output of the model.
    """

    layer: LayerNode
    index: int
    is_end: bool

    @property
    def config(self) -> Mapping[str, Any]:
        return self.layer.config

    @property
    def name(self) -> str:
        """Name for what it gives."""
        return self.layer.name

    def pair(self, key: str, default: Any = 1) -> Pair:
        """Two integers, or one for both."""
        stored = self.config.get(key, default)
        values = stored if isinstance(stored, list | tuple) else [stored, stored]
        if len(values) != 2 or not all(type(value) is int for value in values):
            raise ValueError(f"{key} is {stored!r:.100}")
        return (values[0], values[1])

    def number(self, key: str, default: float | None) -> float | None:
        """A number, or None."""
        value = self.config.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise TypeError(f"{key} is {value!r:.100}")
        return None if value is None else float(value)

    def sides(self, key: str) -> Padding:
        """Rows and columns at the top, left, bottom and right."""
        stored = self.config[key]
        if isinstance(stored, int):
            stored = [stored, stored]
        rows, columns = ([each, each] if isinstance(each, int) else each for each in stored)
        values = (rows[0], columns[0], rows[1], columns[1])
        if len(rows) != 2 or len(columns) != 2 or not all(type(value) is int for value in values):
            raise ValueError(f"{key} is {stored!r:.100}")
        return values


def _activation_name(r: _Reader, use: _Use, stored: Any) -> str:
    if stored is None:
        return "linear"
    if isinstance(stored, dict):  # Keras 3 may write a function, or a layer
        inner = stored.get("config")
        stored = inner if isinstance(inner, str) else stored.get("class_name")
    if not isinstance(stored, str):
        raise r.importer.unsupported(f"the activation {stored!r:.100}", use.layer.name)
    return stored


def _check_last(r: _Reader, use: _Use) -> None:
    if use.config.get("data_format") not in (LAST, None):
        raise r.importer.unsupported(f"{use.layer.class_name}, channels first", use.name)


def _map(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    """The one input of a layer, as a feature map."""
    _check_last(r, use)
    value = r.importer.as_feature_map(x[0])
    r.importer.spatial(value)
    return value


def _padding(r: _Reader, use: _Use, x: str, window: Window) -> Padding:
    mode = str(use.config.get("padding", "valid")).lower()
    if mode == "valid":
        return (0, 0, 0, 0)
    if mode != "same":
        raise r.importer.unsupported(f"the padding {mode!r:.100}", use.name)
    window.check()
    return same_padding(window, r.importer.spatial(x))


def _convolve(
    r: _Reader, use: _Use, name: str, x: str, weight: Array, bias: Array | None, groups: int
) -> str:
    window = ops.Convolution(
        name="window",
        inputs=(),
        filters=groups,
        groups=groups,
        kernel=(weight.shape[2], weight.shape[3]),
        strides=use.pair("strides"),
        dilations=use.pair("dilation_rate"),
    )
    return r.importer.mark(
        r.importer.convolution(
            name,
            x,
            weight,
            bias,
            strides=window.strides,
            padding=_padding(r, use, x, window),
            dilations=window.dilations,
            groups=groups,
        )
    )


def _bias_of(use: _Use) -> tuple[str, ...]:
    return ("bias",) if use.config.get("use_bias", True) else ()


def _kernel(r: _Reader, use: _Use, values: Array, rank: int) -> Array:
    if values.ndim != rank:
        text = f"expected a kernel of {rank} axes, but got shape {values.shape}"
        raise WeightsError(f"{use.layer.class_name} {use.name!r:.100}: {text}.")
    return values


def _read_convolution(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    image = _map(r, use, x)
    kernel, *bias = r.variables(use.layer, "kernel", *_bias_of(use))
    weight = _kernel(r, use, kernel, 4).transpose(3, 2, 0, 1)
    groups = use.config.get("groups", 1)
    if type(groups) is not int or groups < 1:
        raise ValueError(f"groups is {groups!r:.100}")
    value = _convolve(r, use, r.inner(use), image, weight, bias[0] if bias else None, groups)
    return r.activated(use, value)


def _by_depth(r: _Reader, use: _Use, kernel: Array) -> Array:
    """A kernel (height, width, channels, multiplier) as one of ours."""
    height, width, channels, multiplier = _kernel(r, use, kernel, 4).shape
    return kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)


def _read_depthwise(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    image = _map(r, use, x)
    kernel, *bias = r.variables(use.layer, "depthwise_kernel", *_bias_of(use))
    weight, groups = _by_depth(r, use, kernel), kernel.shape[2]
    value = _convolve(r, use, r.inner(use), image, weight, bias[0] if bias else None, groups)
    return r.activated(use, value)


def _read_separable(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    image = _map(r, use, x)
    names = ("depthwise_kernel", "pointwise_kernel", *_bias_of(use))
    deep, mixing, *bias = r.variables(use.layer, *names)
    weight, groups = _by_depth(r, use, deep), deep.shape[2]
    value = _convolve(r, use, f"{use.name}_depthwise", image, weight, None, groups)
    mix = _kernel(r, use, mixing, 4).transpose(3, 2, 0, 1)
    mixed = r.importer.convolution(r.inner(use), value, mix, bias[0] if bias else None)
    return r.activated(use, r.importer.mark(mixed))


def _read_dense(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    kernel, *bias = r.variables(use.layer, "kernel", *_bias_of(use))
    weight, shift = _kernel(r, use, kernel, 2).T, bias[0] if bias else None
    name, importer = r.inner(use), r.importer
    if importer.is_feature_map(x[0]):
        value = importer.mark(importer.convolution(name, x[0], weight[:, :, None, None], shift))
    else:
        value = importer.linear(name, x[0], weight, shift)
    return r.activated(use, value)


def _read_norm(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    importer = r.importer
    rank = len(importer.shape(x[0]))
    axis = use.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if type(axis) is not int or axis % (rank + 1) != rank or rank not in (1, 3):
        raise importer.unsupported(f"a BatchNormalization of the axis {axis!r:.100}", use.name)
    value = importer.as_feature_map(x[0])
    channels = r.channels(value)
    present = [
        part
        for part, key in (("gamma", "scale"), ("beta", "center"), ("moving_mean", ""), _VARIANCE)
        if use.config.get(key, True)
    ]
    found = dict(zip(present, r.variables(use.layer, *present), strict=True))
    norm = {
        "gamma": found.get("gamma", np.ones(channels, np.float32)),
        "beta": found.get("beta", np.zeros(channels, np.float32)),
        "mean": found["moving_mean"],
        "variance": found["moving_variance"],
    }
    epsilon = use.number("epsilon", _EPSILON)
    if epsilon is None:
        raise TypeError("epsilon is null")
    return importer.mark(importer.batch_norm(use.name, value, norm, epsilon))


_VARIANCE = ("moving_variance", "")
_LEAST_DEVIATION = 1e-7


def _read_normalization(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    """What was learnt from the data, or given: ``(x - mean) / standard deviation``."""
    value = r.importer.as_feature_map(x[0])
    channels, rank = r.channels(value), len(r.importer.shape(value))
    axis = use.config.get("axis", -1)
    axes = axis if isinstance(axis, list) else [axis]
    if [each % (rank + 1) for each in axes] not in ([rank], []) or use.config.get("invert"):
        raise r.importer.unsupported(f"a Normalization of the axes {axis!r:.100}", use.name)
    stored = [use.config.get(key) for key in ("mean", "variance")]
    found = r.variables(use.layer, "mean", "variance") if None in stored else stored
    mean, variance = (
        np.broadcast_to(np.asarray(each, np.float64).reshape(-1), (channels,)) for each in found
    )
    scale = 1 / np.maximum(np.sqrt(variance), _LEAST_DEVIATION)
    return r.importer.mark(r.importer.scaled(use.name, value, scale, -mean * scale))


def _read_pool(kind: type[ops.MaxPool | ops.AveragePool]) -> Any:
    def read_it(r: _Reader, use: _Use, x: Sequence[str]) -> str:
        image = _map(r, use, x)
        kernel = use.pair("pool_size", 2)
        strides = kernel if use.config.get("strides") is None else use.pair("strides")
        window = kind(name="window", inputs=(), kernel=kernel, strides=strides)
        padding = _padding(r, use, image, window)
        window = dataclasses.replace(window, padding=padding)
        image, window = _merged(r, image, window)
        more = (
            {"count_padding": window.count_padding} if isinstance(window, ops.AveragePool) else {}
        )
        value = r.importer.add(
            type(window),
            use.name,
            image,
            kernel=window.kernel,
            strides=window.strides,
            padding=window.padding,
            **more,
        )
        return r.importer.mark(value)

    return read_it


_Pool = ops.MaxPool | ops.AveragePool


def _merged(r: _Reader, image: str, window: _Pool) -> tuple[str, _Pool]:
    """A pool with the padding, or the dense pool, before it; as they are where they differ."""
    before = r.operation(image)
    plain = not any(window.padding)
    if isinstance(before, ops.Pad) and plain and not any(before.channels):
        return _with_padding(r, image, window, before)
    dense = isinstance(before, _Pool) and before.strides == (1, 1) and window.kernel == (1, 1)
    if dense and plain:
        assert isinstance(before, _Pool)
        spatial = r.importer.spatial(before.inputs[0])
        if r.importer.spatial(image) == spatial:
            return before.inputs[0], dataclasses.replace(before, strides=window.strides)
    return image, window


def _with_padding(r: _Reader, image: str, window: _Pool, pad: ops.Pad) -> tuple[str, _Pool]:
    top, left, bottom, right = pad.padding
    height, width = window.kernel
    if max(top, bottom) >= height or max(left, right) >= width:
        return image, window
    source = pad.inputs[0]
    if isinstance(window, ops.AveragePool):
        return source, dataclasses.replace(window, padding=pad.padding, count_padding=True)
    if source in nonnegative_values(r.importer.builder.operations):
        return source, dataclasses.replace(window, padding=pad.padding)
    return image, window


def _read_mean(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    image = _map(r, use, x)
    kept = bool(use.config.get("keepdims", False))
    name = use.name if kept else f"{use.name}_cell"
    value = r.importer.mark(r.importer.add(ops.GlobalAveragePool, name, image))
    return value if kept else _vector(r, use, value)


def _read_most(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    image = _map(r, use, x)
    kept, size = bool(use.config.get("keepdims", False)), r.importer.spatial(image)
    name = use.name if kept else f"{use.name}_cell"
    value = r.importer.mark(r.importer.add(ops.MaxPool, name, image, kernel=size, strides=size))
    return value if kept else _vector(r, use, value)


def _vector(r: _Reader, use: _Use, value: str) -> str:
    target = r.importer.shape(value)[:1]
    return r.importer.add(ops.Reshape, use.name, value, target=target)


def _read_pad(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    _check_last(r, use)
    top, left, bottom, right = use.sides("padding")
    importer = r.importer
    if importer.is_feature_map(x[0]) or x[0] in r.turned:
        value, padding = importer.as_feature_map(x[0]), (top, left, bottom, right)
        return importer.mark(importer.add(ops.Pad, use.name, value, padding=padding))
    # Of what is no feature map the first two axes are the graph's channels and rows.
    padding, channels = (left, 0, right, 0), (top, bottom)
    return importer.add(ops.Pad, use.name, x[0], padding=padding, channels=channels)


def _read_crop(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    _check_last(r, use)
    top, left, bottom, right = use.sides("cropping")
    if len(r.importer.shape(x[0])) != 3:
        raise r.importer.unsupported(f"{use.layer.class_name} of other than three axes", use.name)
    return _cropped(r, use, _cropped(r, use, x[0], 1, top, bottom), 2, left, right)


def _read_crop_rows(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    before, after = use.pair("cropping")
    return _cropped(r, use, x[0], 1, before, after)


def _cropped(r: _Reader, use: _Use, value: str, axis: int, before: int, after: int) -> str:
    if not before and not after:
        return value
    place = r.importer.axis(axis, value)
    stop = r.importer.shape(value)[place - 1] - after
    cut = r.importer.add(ops.Slice, use.name, value, axis=place, start=before, stop=stop)
    return r.like(cut, value)


def _read_upsample(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    image, mode = _map(r, use, x), str(use.config.get("interpolation", "nearest"))
    if mode not in ("nearest", "bilinear") or (mode == "bilinear" and not r.meaning.half_pixels):
        raise r.importer.unsupported(f"UpSampling2D by {mode!r:.100}", use.name)
    scales = use.pair("size", 2)
    return r.importer.mark(r.importer.add(ops.Upsample, use.name, image, scales=scales, mode=mode))


def _read_arithmetic(kind: type[Operation]) -> Any:
    def read_it(r: _Reader, use: _Use, x: Sequence[str]) -> str:
        numbers = use.layer.calls[use.index].numbers
        if len(x) == 1 and len(numbers) == 1:
            scale, offset = (1.0, numbers[0]) if kind is ops.Add else (numbers[0], 0.0)
            return _rescaled(r, use, x[0], scale, offset)
        if len(x) < 2:
            raise r.importer.unsupported(f"{use.layer.class_name} of one value", use.name)
        total = x[0]
        for number, other in enumerate(x[1:], 2):
            name = use.name if number == len(x) else f"{use.name}_{number}"
            total = _of_two(r, kind, name, total, other)
        return total

    return read_it


def _of_two(r: _Reader, kind: type[Operation], name: str, left: str, right: str) -> str:
    importer = r.importer
    if kind is ops.Multiply:
        for gate, other in ((left, right), (right, left)):
            before = r.operation(gate)
            if isinstance(before, ops.HardSigmoid) and before.inputs[0] == other:
                return r.like(importer.add(ops.HardSwish, name, other), other)
    if importer.is_feature_map(left) or importer.is_feature_map(right):
        left, right = importer.as_feature_map(left), importer.as_feature_map(right)
    return r.like(importer.add(kind, name, left, right), left)


def _read_concatenate(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    importer, axis = r.importer, use.config.get("axis", -1)
    if type(axis) is not int:
        raise TypeError(f"axis is {axis!r:.100}")
    values = list(x)
    if any(importer.is_feature_map(value) for value in values):
        values = [importer.as_feature_map(value) for value in values]
    if len(values) == 1:
        return values[0]
    place = r.axis(axis, values[0])
    joined = importer.add(ops.Concatenate, use.name, *values, axis=place)
    return r.like(joined, values[0])


def _read_reshape(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    importer, target = r.importer, use.config["target_shape"]
    total = math.prod(importer.shape(x[0]))
    if not isinstance(target, list) or not all(type(size) is int for size in target):
        raise TypeError(f"target_shape is {target!r:.100}")
    known = math.prod(size for size in target if size != -1)
    if target.count(-1) > 1 or known < 1 or total % known:
        raise ValueError(f"{total} numbers cannot become {target!r:.100}")
    shape = tuple(total // known if size == -1 else size for size in target)
    source = importer.as_stored(x[0])
    if len(shape) == 3 and shape[:2] == (1, 1):  # a feature map of one cell
        return importer.mark(importer.add(ops.Reshape, use.name, source, target=(total, 1, 1)))
    return importer.add(ops.Reshape, use.name, source, target=shape)


def _read_flatten(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    _check_last(r, use)
    source = r.importer.as_stored(x[0])
    target = (math.prod(r.importer.shape(source)),)
    return r.importer.add(ops.Reshape, use.name, source, target=target)


def _read_permute(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    dims = use.config["dims"]
    if not isinstance(dims, list) or not all(type(axis) is int for axis in dims):
        raise TypeError(f"dims is {dims!r:.100}")
    source, order = r.importer.as_stored(x[0]), (0, *dims)
    value = r.importer.add(ops.Transpose, use.name, source, order=order)
    if order == TO_LAST:
        r.turned.add(value)
    return value


def _read_activation(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    kind = _activation_name(r, use, use.config["activation"])
    if kind == "linear" and use.is_end and not r.importer.is_feature_map(x[0]):
        return r.importer.add(ops.Concatenate, use.name, x[0], axis=1)  # the output keeps its name
    return r.activation(use, kind, use.name, x[0])


def _read_relu(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    most, slope = use.number("max_value", None), use.number("negative_slope", 0.0) or 0.0
    if use.number("threshold", 0.0):
        raise r.importer.unsupported("ReLU with a threshold", use.name)
    if most is not None and (most != 6 or slope):
        raise r.importer.unsupported(f"ReLU up to {most:g} with the slope {slope:g}", use.name)
    if most is not None:
        return r.activation(use, "relu6", use.name, x[0])
    if slope:
        value = r.importer.add(ops.LeakyRelu, use.name, x[0], slope=slope)
        return r.like(value, x[0])
    return r.activation(use, "relu", use.name, x[0])


def _read_leaky(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    key = "negative_slope" if "negative_slope" in use.config else "alpha"
    slope = use.number(key, _SLOPE_OF_KERAS["LeakyReLU"])
    if slope is None:
        raise TypeError(f"{key} is null")
    value = r.importer.add(ops.LeakyRelu, use.name, x[0], slope=slope)
    return r.like(value, x[0])


def _read_prelu(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    (alpha,) = r.variables(use.layer, "alpha")
    importer, value = r.importer, x[0]
    rank = len(importer.shape(value))
    if rank == 3 and alpha.shape[:2] == (1, 1):
        value = importer.as_feature_map(value)
    shape, size = importer.shape(value), alpha.size
    by_channel = (1, 1, size) if importer.is_feature_map(value) else (size, *[1] * (rank - 1))
    if alpha.shape != by_channel or size not in (1, shape[0]):
        raise importer.unsupported(f"PReLU with slopes of shape {alpha.shape}", use.name)
    r.channels(value)
    return r.like(importer.prelu(use.name, value, alpha), value)


def _read_softmax(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    axis = use.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if type(axis) is not int:
        raise r.importer.unsupported(f"Softmax over the axes {axis!r:.100}", use.name)
    return _softmax(r, use.name, x[0], axis)


def _softmax(r: _Reader, name: str, value: str, axis: int = -1) -> str:
    place = r.axis(axis, value)
    return r.like(r.importer.add(ops.Softmax, name, value, axis=place), value)


def _read_rescaling(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    scale, offset = (
        np.asarray(use.config.get(key, default), np.float64)
        for key, default in (("scale", 1.0), ("offset", 0.0))
    )
    if scale.size == offset.size == 1:
        return _rescaled(r, use, x[0], float(scale.reshape(())), float(offset.reshape(())))
    value = r.importer.as_feature_map(x[0])
    return r.scale(use.name, value, scale, np.broadcast_to(offset, scale.shape))


def _rescaled(r: _Reader, use: _Use, value: str, scale: float, offset: float) -> str:
    """A value times a number plus another; or the hard sigmoid that this is the last step of."""
    importer, before = r.importer, r.operation(value)
    if isinstance(before, ops.Relu6) and abs(scale - SIXTH) < _TINY and not offset:
        source, *numbers = r.scaled.get(before.inputs[0], ("",))
        if numbers == [1.0, HALF_OF_SIX]:
            return r.like(importer.add(ops.HardSigmoid, use.name, source), source)
    scaled = r.scale(use.name, value, np.array(scale), np.array(offset))
    r.scaled[scaled] = (value, scale, offset)
    return scaled


def _hard_sigmoid(r: _Reader, name: str, value: str) -> str:
    slope = 6 * r.meaning.hard_slope
    if abs(slope - 1) > _TINY:
        value = r.scale(f"{name}_scaled", value, np.array(slope), None)
    return r.importer.add(ops.HardSigmoid, name, value)


def _swish(r: _Reader, name: str, value: str) -> str:
    gate = r.importer.add(ops.Sigmoid, f"{name}_gate", value)
    return r.importer.add(ops.Multiply, name, value, gate)


def _plain(kind: type[Operation], **attributes: Any) -> Callable[[_Reader, str, str], str]:
    return lambda r, name, value: r.importer.add(kind, name, value, **attributes)


_ACTIVATIONS: Mapping[str, Callable[[_Reader, str, str], str]] = {
    "relu": _plain(ops.Relu),
    "relu6": _plain(ops.Relu6),
    "leaky_relu": _plain(ops.LeakyRelu, slope=_SLOPE_OF_KERAS["leaky_relu"]),
    "sigmoid": _plain(ops.Sigmoid),
    "tanh": _plain(ops.Tanh),
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": _plain(ops.HardSwish),
    "hard_swish": _plain(ops.HardSwish),
    "silu": _swish,
    "swish": _swish,
    "softmax": _softmax,
}


def _read_same(r: _Reader, use: _Use, x: Sequence[str]) -> str:
    return x[0]


_IDENTITIES = (
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout", "GaussianDropout"),
    *("GaussianNoise", "ActivityRegularization", "Identity", "InputLayer"),
    # They alter pictures in training alone. RandomCrop is none of them: it always cuts.
    *("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomShear"),
    *("RandomContrast", "RandomBrightness", "RandomHue", "RandomSaturation", "RandomColorJitter"),
    *("RandomGrayscale", "RandomInvert", "RandomSharpness", "RandomErasing", "RandomPerspective"),
)

_RULES: Mapping[str, Callable[[_Reader, _Use, Sequence[str]], str]] = {
    "Conv2D": _read_convolution,
    "DepthwiseConv2D": _read_depthwise,
    "SeparableConv2D": _read_separable,
    "Dense": _read_dense,
    "BatchNormalization": _read_norm,
    "Normalization": _read_normalization,
    "MaxPooling2D": _read_pool(ops.MaxPool),
    "AveragePooling2D": _read_pool(ops.AveragePool),
    "GlobalAveragePooling2D": _read_mean,
    "GlobalMaxPooling2D": _read_most,
    "ZeroPadding2D": _read_pad,
    "Cropping1D": _read_crop_rows,
    "Cropping2D": _read_crop,
    "UpSampling2D": _read_upsample,
    "Add": _read_arithmetic(ops.Add),
    "Multiply": _read_arithmetic(ops.Multiply),
    "Concatenate": _read_concatenate,
    "Reshape": _read_reshape,
    "Flatten": _read_flatten,
    "Permute": _read_permute,
    "Activation": _read_activation,
    "ReLU": _read_relu,
    "LeakyReLU": _read_leaky,
    "PReLU": _read_prelu,
    "Softmax": _read_softmax,
    "Rescaling": _read_rescaling,
    **dict.fromkeys(_IDENTITIES, _read_same),
}
"""From Keras's layers to ours."""
