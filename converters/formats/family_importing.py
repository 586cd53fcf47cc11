"""What readers of TensorFlow's relatives share: their operations, channels last, as steps of ours.

A *result* is what an operation of the file gives: the name of a value in the graph; an array, where
it does not depend on the input; or padding that waits for what slides over it. Arrays of integers
may hold -1 for the batch, where a file computes shapes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.formats.channels_last import ChannelsLastImporter
from facemask_zoo.converters.formats.emitting import same_padding
from facemask_zoo.converters.formats.family_emitting import LOWEST, NOT_NEGATIVE, SIXTH
from facemask_zoo.converters.limits import Computed
from facemask_zoo.errors import WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.operations import Operation, Padding, Pair, Shape, Window
from facemask_zoo.graph.program import Program

Array = NDArray[Any]

BATCH = -1
_TINY = 1e-6
_MOST_SHAPE_NUMBERS = 16
_ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
}


class Pending:
    """What becomes an operation of ours together with the one that comes after it."""


@dataclasses.dataclass(frozen=True)
class Padded(Pending):
    """A feature map with padding that has not been written down yet.

    Attributes:
        source: The map.
        padding: Rows and columns on each side.
        channels: Channels before and after.
        fill: What they hold.
        name: Of the operation.
    """

    source: str
    padding: Padding
    channels: Pair
    fill: float
    name: str


@dataclasses.dataclass(frozen=True)
class Repeated(Pending):
    """A map whose rows or columns are repeated along an axis of their own, as Keras enlarges maps.

    Attributes:
        source: The map, as the file has it.
        scales: How often rows and columns occur.
    """

    source: str
    scales: Pair


Result = str | Array | Pending


@dataclasses.dataclass(frozen=True)
class Masks:
    """What TensorFlow says of the axes of a strided slice, a bit for each.

    Attributes:
        begin: It begins where the axis does.
        end: It ends where the axis does.
        ellipsis: Any number of axes is left as it is.
        new_axis: An axis of length 1 is added.
        shrink: The axis is dropped, and its first number taken.
    """

    begin: int
    end: int
    ellipsis: int
    new_axis: int
    shrink: int


class FamilyImporter(ChannelsLastImporter):
    """Takes in the operations of a file; every method appends what one of them does.

    Args:
        format_name: For errors.
        input_name: Name of the input in the file.
        stored: Its shape as the file has it, without the batch.
    """

    def __init__(self, format_name: str, input_name: str, stored: Shape) -> None:
        super().__init__(format_name, input_name, stored)
        self.computed = Computed()
        self._file_names: dict[str, str] = {}
        self._pads: dict[Padded, str] = {}

    def value(self, result: Result, name: str) -> str:
        """A result that depends on the input, as a value of the graph."""
        if isinstance(result, str):
            return result
        if not isinstance(result, Padded):
            what = "a tile" if isinstance(result, Pending) else "a layer of constants"
            raise self.unsupported(what, name)
        if result.fill:
            raise self.unsupported(f"Pad with {result.fill:g}", result.name)
        if result not in self._pads:
            sides = {"padding": result.padding, "channels": result.channels}
            self._pads[result] = self.mark(self.add(ops.Pad, result.name, result.source, **sides))
        return self._pads[result]

    def array(self, result: Result, name: str) -> Array:
        """A result that does not depend on the input."""
        if isinstance(result, str | Pending):
            raise self.unsupported("an operation by computed numbers", name)
        return result

    def integers(self, result: Result, name: str) -> list[int]:
        """A short list of integers."""
        values = self.array(result, name)
        if values.dtype.kind not in "iu" or values.size > _MOST_SHAPE_NUMBERS:
            raise WeightsError(f"{name}: expected a few integers, but got {values.dtype}.")
        return [int(value) for value in values.ravel()]

    def end(self, results: Sequence[tuple[str, Result]], card: str) -> Program:
        """The program that gives these results under these names, their axes as in the file."""
        return self.program([self._output(name, result) for name, result in results], card)

    def _output(self, name: str, result: Result) -> str:
        value = self.as_stored(self.value(result, name))
        if self._file_names.get(value) == name:
            return value
        return self.add(ops.Reshape, name, value, target=self.shape(value))

    def _fresh(self, name: str) -> str:
        legal = super()._fresh(name)
        self._file_names[legal] = name
        return legal

    def feature_map(self, result: Result, name: str) -> str:
        """A result as a feature map, channels first."""
        value = self.as_feature_map(self.value(result, name))
        self.spatial(value)
        return value

    def activated(self, kind: type[Operation], name: str, x: Result, **settings: Any) -> str:
        """An operation on each number."""
        value = self.value(x, name)
        return self._like(value, self.add(kind, name, value, **settings))

    def convolved(
        self,
        name: str,
        x: Result,
        kernel: Array,
        bias: Array | None,
        *,
        strides: Pair,
        dilations: Pair,
        padding: Padding | bool,
        depthwise: bool = False,
    ) -> str:
        """A convolution.

        Args:
            name: Its name.
            x: What it sees.
            kernel: (filters, channels / groups, height, width).
            bias: (filters,), or None.
            strides: Steps down and to the right.
            dilations: Distance between taps.
            padding: On each side; or whether it is SAME.
            depthwise: Whether each channel is a group.
        """
        if kernel.ndim != 4 or 0 in kernel.shape:
            raise WeightsError(f"{name}: expected a 4-dimensional kernel, got {kernel.shape}.")
        value = self.feature_map(x, name)
        channels = self.shape(value)[0]
        if channels % kernel.shape[1]:
            raise WeightsError(f"{name}: {channels} channels do not fit kernel {kernel.shape}.")
        window = ops.Convolution(
            name=name,
            inputs=(),
            filters=1,
            kernel=(kernel.shape[2], kernel.shape[3]),
            strides=strides,
            dilations=dilations,
        )
        made = self.convolution(
            name,
            value,
            kernel,
            bias,
            strides=strides,
            dilations=dilations,
            padding=self._padding(window, padding, value),
            groups=channels if depthwise else channels // kernel.shape[1],
        )
        return self.mark(made)

    def pooled(
        self,
        kind: type[ops.MaxPool | ops.AveragePool],
        name: str,
        x: Result,
        *,
        kernel: Pair,
        strides: Pair,
        padding: Padding | bool,
    ) -> str:
        """A maximum or a mean under a window; what surrounds its input becomes its padding."""
        more: dict[str, Any] = {}
        window = Window(name=name, inputs=(), kernel=kernel, strides=strides)
        if padding is False and isinstance(x, Padded) and self._is_padding_of(kind, window, x):
            more["count_padding"] = True
            padding = x.padding
            x = x.source
        value = self.feature_map(x, name)
        more = more if kind is ops.AveragePool else {}
        sides = self._padding(window, padding, value)
        sizes = {"kernel": kernel, "strides": strides, "padding": sides}
        return self.mark(self.add(kind, name, value, **sizes, **more))

    def mean(self, name: str, x: Result, axes: Sequence[int], *, keep: bool) -> str:
        """The mean over height and width."""
        value = self.value(x, name)
        if len(self.shape(value)) != 3 or sorted(axis % 4 for axis in axes) != [1, 2]:
            raise self.unsupported(f"a mean over the axes {list(axes)}", name)
        value = self.as_feature_map(value)
        if keep:
            return self.mark(self.add(ops.GlobalAveragePool, name, value))
        pooled = self.mark(self.add(ops.GlobalAveragePool, f"{name}_pooled", value))
        return self.add(ops.Reshape, name, pooled, target=self.shape(pooled)[:1])

    def most(self, name: str, x: Result, axes: Sequence[int], *, keep: bool) -> str:
        """The largest number over height and width."""
        value = self.value(x, name)
        if len(self.shape(value)) != 3 or sorted(axis % 4 for axis in axes) != [1, 2]:
            raise self.unsupported(f"a maximum over the axes {list(axes)}", name)
        value = self.as_feature_map(value)
        inner, size = name if keep else f"{name}_pooled", self.spatial(value)
        pooled = self.mark(self.add(ops.MaxPool, inner, value, kernel=size, strides=size))
        if keep:
            return pooled
        return self.add(ops.Reshape, name, pooled, target=self.shape(pooled)[:1])

    def connected(
        self, name: str, x: Result, weight: Array, bias: Array | None, *, keep: bool
    ) -> str:
        """A linear layer.

        Args:
            name: Its name.
            x: What it sees.
            weight: (features, inputs).
            bias: (features,), or None.
            keep: Whether it works on the last axis alone; otherwise on all numbers of a sample.
        """
        value = self.as_stored(self.value(x, name))
        shape = self.shape(value)
        if weight.ndim == 2 and not keep and len(shape) > 1:
            if math.prod(shape) != weight.shape[1]:
                raise self.unsupported("a linear layer across the batch", name)
            value = self.add(ops.Reshape, f"{name}_flat", value, target=(math.prod(shape),))
        return self.linear(name, value, weight, bias)

    def normalised(self, name: str, x: Result, norm: dict[str, Array], epsilon: float) -> str:
        """A batch normalisation."""
        value = self.feature_map(x, name)
        return self.mark(self.batch_norm(name, value, norm, epsilon))

    def sloped(self, name: str, x: Result, slope: Array) -> str:
        """A ReLU with learnt slopes."""
        value = self.value(x, name)
        self._check_last_axis(name, slope, value)
        return self._like(value, self.prelu(name, value, slope))

    def arithmetic(self, kind: str, name: str, left: Result, right: Result) -> Result:
        """``"add"``, ``"sub"``, ``"mul"`` or ``"div"`` of values and constants."""
        arrays = [each for each in (left, right) if not isinstance(each, str | Pending)]
        if len(arrays) == 2:
            return self._of_constants(kind, name, arrays[0], arrays[1])
        if not arrays:
            return self._of_values(kind, name, self.value(left, name), self.value(right, name))
        is_reversed = isinstance(left, np.ndarray)
        value = self.value(right if is_reversed else left, name)
        return self._with_constant(kind, name, value, arrays[0], is_reversed)

    def negated(self, name: str, x: Result) -> Result:
        """The value times -1."""
        if isinstance(x, str | Pending):
            return self.arithmetic("mul", name, x, np.array(-1, np.float32))
        return self.computed.broadcast(np.negative, [x], x.dtype)

    def joined(self, name: str, parts: Sequence[Result], axis: int) -> Result:
        """Results side by side."""
        arrays = [each for each in parts if not isinstance(each, str | Pending)]
        if arrays and len(arrays) == len(parts):
            return self.computed.joined(arrays, axis)
        values = self._in_one_order([self.value(each, name) for each in parts])
        made = self.add(ops.Concatenate, name, *values, axis=self.axis(axis, values[0]))
        return self._like(values[0], made)

    def stacked(self, name: str, parts: Sequence[Result]) -> Array:
        """Numbers of a shape as a list."""
        arrays = [self.array(each, name) for each in parts]
        if any(each.size != 1 for each in arrays):
            raise self.unsupported("a stack of other than numbers", name)
        return np.array([each.reshape(()) for each in arrays])

    def reshaped(self, name: str, x: Result, wanted: Sequence[int]) -> Result:
        """The same numbers in another shape, of which the first axis is the batch."""
        if not isinstance(x, str | Pending):
            return self.computed.reshaped(x, wanted)
        if isinstance(x, Repeated):
            return self._enlarged(name, x, wanted)
        value = self.value(x, name)
        shape = self.stored_shape(value)
        target = _target(wanted, shape)
        if target is None:
            raise self.unsupported(f"Reshape of {shape} to {list(wanted)} across the batch", name)
        if target == shape and self.is_feature_map(value):
            return value
        stored = self.as_stored(value)
        if len(target) == 3 and target[:2] == (1, 1):
            return self.mark(self.add(ops.Reshape, name, stored, target=(target[2], 1, 1)))
        return self.add(ops.Reshape, name, stored, target=target)

    def repeated(self, name: str, x: Result, times: Sequence[int]) -> Repeated:
        """Repetition along an axis that was added behind the rows or columns of a map."""
        before = self._producer(self.value(x, name))
        if not isinstance(before, ops.Reshape) or len(before.target) != 4:
            raise self.unsupported("a tile of anything but rows and columns", name)
        height, width, channels = (*before.target[:1], *before.target[2:])
        chosen = [axis for axis, count in enumerate(times) if count != 1]
        source = before.inputs[0]
        if len(times) != 5 or len(chosen) > 1 or before.target[chosen[0] - 1 if chosen else 1] != 1:
            raise self.unsupported("a tile of anything but rows and columns", name)
        axis = chosen[0] if chosen else 2
        if axis == 3:
            height, width = before.target[:2]
        if axis not in (2, 3) or self.shape(source) != (height, width, channels):
            raise self.unsupported("a tile of anything but rows and columns", name)
        return Repeated(source, (times[2], 1) if axis == 2 else (1, times[3]))

    def _enlarged(self, name: str, x: Repeated, wanted: Sequence[int]) -> str:
        """A map with its repeated rows or columns beside those that they repeat."""
        height, width, channels = self.shape(x.source)
        target = (height * x.scales[0], width * x.scales[1], channels)
        if _target(wanted, target) != target:
            raise self.unsupported("a tile of anything but rows and columns", name)
        return self.resized(name, x.source, target[:2], "nearest")

    def squeezed(self, name: str, x: Result, axes: Sequence[int]) -> Result:
        """Without axes of length 1."""
        if not isinstance(x, str | Pending):
            return np.asarray(np.squeeze(x, tuple(axes) or None))
        shape = (BATCH, *self.stored_shape(self.value(x, name)))
        chosen = {axis % len(shape) for axis in axes}
        if not chosen or any(shape[axis] != 1 for axis in chosen):
            raise self.unsupported("Squeeze of unknown axes", name)
        return self.reshaped(name, x, [n for axis, n in enumerate(shape) if axis not in chosen])

    def expanded(self, name: str, x: Result, axis: int) -> Result:
        """With one more axis of length 1."""
        if not isinstance(x, str | Pending):
            return np.expand_dims(x, axis)
        shape = [BATCH, *self.stored_shape(self.value(x, name))]
        shape.insert(axis % (len(shape) + 1), 1)
        return self.reshaped(name, x, shape)

    def turned(self, name: str, x: Result, order: Sequence[int]) -> Result:
        """Axes in another order."""
        if not isinstance(x, str | Pending):
            return x.transpose(tuple(order))
        value = self.value(x, name)
        turned = tuple(self.axis(axis, value) for axis in order)
        return self.add(ops.Transpose, name, value, order=turned)

    def shape_of(self, x: Result, name: str) -> Array:
        """The shape as the file would compute it."""
        if not isinstance(x, str | Pending):
            return np.array(x.shape, np.int32)
        return np.array([BATCH, *self.stored_shape(self.value(x, name))], np.int32)

    def strided(
        self,
        name: str,
        x: Result,
        begin: Sequence[int],
        end: Sequence[int],
        strides: Sequence[int],
        masks: Masks,
        batch: int,
    ) -> Result:
        """A part, as TensorFlow's StridedSlice states it; `batch` is the file's, if it is fixed."""
        if masks.ellipsis or masks.new_axis or set(strides) != {1} or len(begin) != len(end):
            raise self.unsupported("StridedSlice with steps or new axes", name)
        if not isinstance(x, str | Pending):
            return self._part_of_array(name, x, begin, end, masks)
        shape = (batch, *self.stored_shape(self.value(x, name)))
        if len(begin) > len(shape) or masks.shrink & 1:
            raise self.unsupported("a part of the batch", name)
        ranges: list[tuple[int, int] | None] = []
        for axis, size in enumerate(shape[: len(begin)]):
            bit = 1 << axis
            first = 0 if masks.begin & bit else begin[axis]
            last = size if masks.end & bit else end[axis]
            last = first + 1 if masks.shrink & bit and first >= 0 else last
            ranges.append(_within(first, last, size))
        made = self.part(name, x, ranges)
        dropped = [axis for axis in range(len(begin)) if masks.shrink & 1 << axis]
        return self.squeezed(name, made, dropped) if dropped else made

    def window(
        self, name: str, x: Result, begin: Sequence[int], sizes: Sequence[int], batch: int
    ) -> Result:
        """A part, by where it begins and how long it is; -1 for all that is left."""
        shape = (batch, *self.stored_shape(self.value(x, name)))
        if not len(begin) == len(sizes) == len(shape):
            raise WeightsError(f"{name}: expected {len(shape)} axes, but got {len(begin)}.")
        ends = [
            size if length == -1 else first + length
            for first, length, size in zip(begin, sizes, shape, strict=True)
        ]
        return self.part(name, x, [_within(*each) for each in zip(begin, ends, shape, strict=True)])

    def _part_of_array(
        self, name: str, x: Array, begin: Sequence[int], end: Sequence[int], masks: Masks
    ) -> Array:
        if x.ndim != 1 or len(begin) != 1:
            raise self.unsupported("a part of constants", name)
        if masks.shrink:
            return np.asarray(x[begin[0]])
        return x[None if masks.begin else begin[0] : None if masks.end else end[0]]

    def part(self, name: str, x: Result, ranges: Sequence[tuple[int, int] | None]) -> Result:
        """A part of a value; for each axis where it begins and ends, or None for all of it."""
        value = self.value(x, name)
        shape = (BATCH, *self.stored_shape(value))
        if len(ranges) > len(shape) or ranges[0] is not None:
            raise self.unsupported("a part of the batch", name)
        for axis, limits in enumerate(ranges):
            if limits is None or limits == (0, shape[axis]):
                continue
            sizes = {"axis": self.axis(axis, value), "start": limits[0], "stop": limits[1]}
            value = self._like(value, self.add(ops.Slice, name, value, **sizes))
        return value

    def pieces(
        self, names: Sequence[str], x: Result, axis: int, sizes: Sequence[int] | None
    ) -> list[Result]:
        """A value cut along an axis, into equal parts unless their sizes are given."""
        value = self.value(x, names[0])
        shape = (BATCH, *self.stored_shape(value))
        axis %= len(shape)
        if sizes is None:
            if axis and shape[axis] % len(names):
                raise WeightsError(f"{names[0]}: {shape} cannot be cut in {len(names)}.")
            sizes = [shape[axis] // len(names)] * len(names)
        results: list[Result] = []
        start = 0
        for name, size in zip(names, sizes, strict=True):
            ranges: list[tuple[int, int] | None] = [None] * len(shape)
            ranges[axis] = (start, start + size)
            results.append(self.part(name, value, ranges))
            start += size
        return results

    def surrounded(self, name: str, x: Result, pads: Array, fill: float) -> Result:
        """Padding: (axes, 2) rows of how much before and after."""
        if pads.shape != (4, 2) or pads[0].any() or (pads < 0).any():
            raise self.unsupported("Pad of anything but a feature map", name)
        _, (top, bottom), (left, right), (before, after) = (
            (int(begin), int(end)) for begin, end in pads
        )
        source = self.feature_map(x, name)
        return Padded(source, (top, left, bottom, right), (before, after), fill, name)

    def resized(self, name: str, x: Result, size: Sequence[int], mode: str) -> str:
        """A feature map enlarged to a size, by whole factors."""
        value = self.feature_map(x, name)
        old = self.spatial(value)
        if len(size) != 2 or any(new < 1 or new % now for new, now in zip(size, old, strict=True)):
            raise self.unsupported("a resize by other than whole factors", name)
        scales = (size[0] // old[0], size[1] // old[1])
        return self.mark(self.add(ops.Upsample, name, value, scales=scales, mode=mode))

    def softmax(self, name: str, x: Result) -> str:
        """Softmax along the last axis of the file."""
        value = self.value(x, name)
        return self._like(value, self.add(ops.Softmax, name, value, axis=self.axis(-1, value)))

    def _like(self, source: str, made: str) -> str:
        """Remember that a value is stored as the one that it was made of."""
        return self.mark(made) if self.is_feature_map(source) else made

    def _padding(self, window: Window, padding: Padding | bool, value: str) -> Padding:
        window.check()
        if padding is True:
            return same_padding(window, self.spatial(value))
        return (0, 0, 0, 0) if padding is False else padding

    def _is_padding_of(self, kind: type[Operation], window: Window, x: Padded) -> bool:
        """Whether a window can count what surrounds its input as its own padding."""
        top, left, bottom, right = x.padding
        height, width = window.kernel
        if x.channels != (0, 0) or max(top, bottom) >= height or max(left, right) >= width:
            return False
        if kind is ops.AveragePool:
            return x.fill == 0
        harmless = isinstance(self._producer(x.source), NOT_NEGATIVE)
        return x.fill <= LOWEST or (x.fill == 0 and harmless)

    def _producer(self, value: str) -> Operation | None:
        found = (each for each in reversed(self.builder.operations) if each.name == value)
        return next(found, None)

    def _in_one_order(self, values: Sequence[str]) -> list[str]:
        """Values channels first if one of them is a feature map."""
        if any(self.is_feature_map(each) for each in values):
            return [self.as_feature_map(each) for each in values]
        return list(values)

    def _of_constants(self, kind: str, name: str, left: Array, right: Array) -> Array:
        integers = left.dtype.kind in "iu"
        if integers and ((left < 0).any() or (right < 0).any() or kind == "div"):
            raise self.unsupported("arithmetic of shapes with an unknown batch", name)
        return self.computed.broadcast(_ARITHMETIC[kind], [left, right], left.dtype)

    def _of_values(self, kind: str, name: str, left: str, right: str) -> str:
        if kind not in ("add", "mul"):
            raise self.unsupported(f"{kind} of two values", name)
        if kind == "add" and (found := self._prelu_of(left, right) or self._prelu_of(right, left)):
            source, slope = found
            return self._like(source, self.prelu(name, source, slope))
        if kind == "mul" and (gated := self._gated(left, right) or self._gated(right, left)):
            return self._like(gated, self.add(ops.HardSwish, name, gated))
        values = self._in_one_order([left, right])
        operation = ops.Add if kind == "add" else ops.Multiply
        return self._like(values[0], self.add(operation, name, *values))

    def _gated(self, value: str, gate: str) -> str | None:
        """The value, if the other is its hard sigmoid."""
        before = self._producer(gate)
        is_gate = isinstance(before, ops.HardSigmoid) and before.inputs == (value,)
        return value if is_gate else None

    def _prelu_of(self, positive: str, negative: str) -> tuple[str, Array] | None:
        """Source and slopes, if these are relu(x) and -slope * relu(-x)."""
        first, scaled = self._producer(positive), self._scale_of(negative)
        if not isinstance(first, ops.Relu) or scaled is None:
            return None
        second = self._producer(scaled[0])
        mirrored = self._scale_of(second.inputs[0]) if isinstance(second, ops.Relu) else None
        if mirrored is None or mirrored[0] != first.inputs[0] or (mirrored[1] != -1).any():
            return None
        return mirrored[0], -scaled[1]

    def _scale_of(self, value: str) -> tuple[str, Array] | None:
        """Source and factors of a value that is a plain multiple of another by channel."""
        before = self._producer(value)
        if not isinstance(before, ops.BatchNorm) or before.epsilon:
            return None
        gamma, beta = (self.tensors[f"{value}.{part}"] for part in ("gamma", "beta"))
        return None if beta.any() else (before.inputs[0], gamma)

    def _with_constant(
        self, kind: str, name: str, value: str, constant: Array, is_reversed: bool
    ) -> str:
        if constant.dtype.kind != "f" or (kind == "div" and is_reversed):
            raise self.unsupported(f"{kind} of a constant by a value", name)
        if constant.ndim > len(self.shape(value)) + 1:
            raise self.unsupported(f"{kind} of a constant of shape {constant.shape}", name)
        if kind == "add" and constant.shape[-1:] == (constant.size,):
            layer = self.biased(name, value, constant.reshape(-1))
            if layer is not None:
                return layer
        self._check_last_axis(name, constant, value)
        with np.errstate(all="ignore"):
            scale, shift = _scale_and_shift(kind, constant, is_reversed)
        if shift is None and (cut := self._cut_at_six(value, scale)) is not None:
            return self._like(value, self.add(ops.HardSigmoid, name, cut))
        return self._by_channel(name, value, scale, shift)

    def _by_channel(self, name: str, value: str, scale: Any, shift: Any) -> str:
        """Scale and shift, by way of a feature map where a vector has nothing to fold them into."""
        shape = self.shape(value)
        if len(shape) == 1 and not isinstance(self._producer(value), ops.Linear):
            one = self.add(ops.Reshape, f"{name}_map", value, target=(*shape, 1, 1))
            scaled = self.scaled(f"{name}_scaled", one, scale, shift)
            return self.add(ops.Reshape, name, scaled, target=shape)
        if len(shape) == 3:
            value = self.as_feature_map(value)
        return self._like(value, self.scaled(name, value, scale, shift))

    def _cut_at_six(self, value: str, scale: Array | None) -> str | None:
        """What a value is a hard sigmoid of, if it is relu6(x + 3) and is divided by 6."""
        if scale is None or scale.size != 1 or abs(float(scale.reshape(-1)[0]) - SIXTH) > _TINY:
            return None
        cut = self._producer(value)
        raised = self._producer(cut.inputs[0]) if isinstance(cut, ops.Relu6) else None
        if not isinstance(raised, ops.BatchNorm) or raised.epsilon:
            return None
        gamma, beta = (self.tensors[f"{raised.name}.{part}"] for part in ("gamma", "beta"))
        return raised.inputs[0] if (gamma == 1).all() and (beta == 3).all() else None

    def _check_last_axis(self, name: str, constant: Array, value: str) -> None:
        """A constant is one number, or one for each place of a map's or vector's last axis."""
        if constant.size == 1:
            return
        length = self.stored_shape(value)[-1]
        last = constant.shape[-1:] == (length,) and constant.size == length
        if not last or len(self.shape(value)) not in (1, 3):
            raise self.unsupported(f"arithmetic with a constant of shape {constant.shape}", name)


def _within(first: int, last: int, size: int) -> tuple[int, int] | None:
    """A range of an axis; None for all of it, as of a batch of any size."""
    if first == 0 and last == size:
        return None
    if size == BATCH:
        return (first, last)
    start, stop, _ = slice(first, last).indices(size)
    return None if (start, stop) == (0, size) else (start, stop)


def _scale_and_shift(
    kind: str, constant: Array, is_reversed: bool
) -> tuple[Array | None, Array | None]:
    if kind == "add":
        return None, constant
    if kind == "sub":
        minus = np.array(-1, np.float32)
        return (minus, constant) if is_reversed else (None, -constant)
    return (constant if kind == "mul" else 1 / constant.astype(np.float64)), None


def _target(wanted: Sequence[int], shape: Shape) -> Shape | None:
    """What a file's shape means for one sample; None if it moves the batch.

    -1 may be the batch, or what is left.
    """
    if len(wanted) < 2 or wanted[0] not in (1, BATCH):
        return None
    tail = list(wanted[1:])
    total, known = math.prod(shape), math.prod(size for size in tail if size != BATCH)
    if tail.count(BATCH) > 1 or min(tail) < BATCH or known < 1 or total % known:
        return None
    target = tuple(total // known if size == BATCH else size for size in tail)
    return target if math.prod(target) == total else None
