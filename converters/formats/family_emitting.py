"""What writers of TensorFlow's relatives share: one rule for each operation, channels last.

A subclass says how its format spells convolutions, pools and the like; which order a value is in,
how padding is expressed, and what is fused is decided here.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.formats.channels_last import (
    TO_FIRST,
    TO_LAST,
    ChannelsLastEmitter,
    Stored,
    file_shape,
    stored_shape,
)
from facemask_zoo.converters.formats.emitting import (
    Rules,
    emit,
    fused_activation,
    is_fused,
    same_padding,
)
from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.operations import Operation, Shape, Window
from facemask_zoo.graph.program import Program

Value = TypeVar("Value")
Pads = Sequence[tuple[int, int]]

SIXTH = 1 / 6
LOWEST = float(np.finfo(np.float32).min)
"""What pads the input of a maximum, where it is not known to be zero or more."""

NOT_NEGATIVE = (ops.Relu, ops.Relu6, ops.Sigmoid, ops.HardSigmoid, ops.Softmax)
"""Results that zeros around them do not exceed."""

_FUSING = (ops.Convolution, ops.Linear, ops.Add)


class FamilyEmitter(ChannelsLastEmitter[Value], abc.ABC, Generic[Value]):
    """Writes a program; shapes that it hands on are those in the file, without the batch.

    Args:
        program: What to write.
    """

    format: ClassVar[str]
    """For errors."""

    fused: ClassVar[tuple[type[Operation], ...]] = ()
    """Activations that the format has within convolutions, linear layers and sums."""

    ends_are_unseen: ClassVar[bool] = False
    """Whether an output is what nothing else sees, so that one that is seen has to be passed on."""

    plain: ClassVar[dict[type[Operation], str]]
    """What the format calls the activations that have no settings."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.graph = program.graph

    def emit(self) -> dict[str, Value]:
        """Write every operation.

        Returns:
            The outputs by name, in the graph's own order of axes.
        """
        shape = self.graph.input_shape
        image = self.image(self.input(self.graph.input, file_shape(shape)), shape)
        values = emit(self.graph, image, self, RULES, self.format)
        return {name: self._output(values[name], name) for name in self.graph.outputs}

    def _output(self, stored: Stored[Value], name: str) -> Value:
        if not self._has_inner_name(self.graph.by_name[name]):
            return stored.value
        if len(stored.shape) != 3:
            return self.passed(stored.value, stored.shape, name)
        if stored.last and stored.shape[1:] != (1, 1):
            return self.transposed(stored.value, TO_FIRST, stored.shape, name)
        return self.reshaped(stored.value, stored.shape, name)

    def name(self, operation: Operation) -> str:
        """Name for an operation's value; of some outputs it is another than that of the output."""
        inner = self._has_inner_name(operation)
        return f"{operation.name}/inner" if inner else operation.name

    def _has_inner_name(self, operation: Operation) -> bool:
        """Whether a step follows that gives an output: a map is turned to the graph's order."""
        if operation.name not in self.graph.outputs:
            return False
        return self._passes_on or len(self.graph.shapes[operation.name]) == 3

    @functools.cached_property
    def _passes_on(self) -> bool:
        """Whether outputs would not be what nothing else sees, in the graph's order."""
        if not self.ends_are_unseen:
            return False
        ends = [each.name for each in self.graph.operations if not self._is_seen(each)]
        is_map = any(len(shape) == 3 for shape in self.graph.output_shapes.values())
        return is_map or ends != list(self.graph.outputs)

    def _is_seen(self, operation: Operation) -> bool:
        return bool(self.graph.consumers[operation.name])

    def unsupported(self, operation: Operation, what: str) -> UnsupportedOperationError:
        """The error for a setting that the format lacks."""
        return UnsupportedOperationError(self.format, what, operation.name)

    def fill_of(self, operation: Operation) -> float:
        """What to pad with in front of a maximum."""
        before = self.graph.by_name.get(operation.inputs[0])
        return 0.0 if isinstance(before, NOT_NEGATIVE) else LOWEST

    def padded_for(
        self, operation: Window, value: Value, shape: Shape, fill: float = 0.0
    ) -> tuple[Value, bool]:
        """Padding as a step of its own, unless the format's SAME or VALID say it.

        Returns:
            What the window slides over, and whether its padding is SAME.
        """
        if not any(operation.padding):
            return value, False
        if operation.padding == same_padding(operation, shape[1:]):
            return value, True
        return self.surrounded(operation, value, shape, fill), False

    def surrounded(self, operation: Window, value: Value, shape: Shape, fill: float) -> Value:
        """A map with padding around it."""
        top, left, bottom, right = operation.padding
        channels, height, width = shape
        return self.padded(
            value,
            [(0, 0), (top, bottom), (left, right), (0, 0)],
            fill,
            (height + top + bottom, width + left + right, channels),
            f"{operation.name}/pad",
        )

    def tensor(self, operation: Operation, part: str, order: Sequence[int] | None = None) -> Value:
        """A tensor of the program, its axes in another order if one is given."""
        name = f"{operation.name}.{part}"
        values = self.program.tensors[name]
        return self.weight(name, values if order is None else values.transpose(order))

    @abc.abstractmethod
    def input(self, name: str, shape: Shape) -> Value:
        """Declare the input."""

    @abc.abstractmethod
    def constant(self, name: str, values: NDArray[Any]) -> Value:
        """A constant of float32 or int32."""

    @abc.abstractmethod
    def weight(self, name: str, values: NDArray[np.float32]) -> Value:
        """A trained constant, in the precision of the file."""

    @abc.abstractmethod
    def unary(self, kind: str, value: Value, shape: Shape, name: str) -> Value:
        """An operation without settings, of the format's own name."""

    @abc.abstractmethod
    def binary(
        self, kind: type[Operation], values: Sequence[Value], shape: Shape, name: str, fused: Any
    ) -> Value:
        """`ops.Add` or `ops.Multiply`; `fused` is an activation or None."""

    @abc.abstractmethod
    def convolved(
        self, op: ops.Convolution, value: Value, same: bool, shape: Shape, name: str, fused: Any
    ) -> Value:
        """A convolution with its bias."""

    @abc.abstractmethod
    def pooled(self, op: Window, value: Value, same: bool, shape: Shape, name: str) -> Value:
        """A maximum or a mean under a window."""

    @abc.abstractmethod
    def mean(self, value: Value, shape: Shape, name: str) -> Value:
        """The mean over height and width."""

    @abc.abstractmethod
    def linear(
        self, op: ops.Linear, value: Value, rank: int, shape: Shape, name: str, fused: Any
    ) -> Value:
        """A linear layer on values of `rank` axes besides the batch."""

    @abc.abstractmethod
    def joined(self, values: Sequence[Value], axis: int, shape: Shape, name: str) -> Value:
        """Values side by side."""

    @abc.abstractmethod
    def sliced(
        self, value: Value, begin: Sequence[int], sizes: Sequence[int], shape: Shape, name: str
    ) -> Value:
        """A part; -1 for all that is left of an axis."""

    @abc.abstractmethod
    def padded(self, value: Value, pads: Pads, fill: float, shape: Shape, name: str) -> Value:
        """A value with constants around it."""

    @abc.abstractmethod
    def resized(self, op: ops.Upsample, value: Value, shape: Shape, name: str) -> Value:
        """A larger map."""

    @abc.abstractmethod
    def reshaped(self, value: Value, shape: Shape, name: str) -> Value:
        """The same numbers in another shape."""

    @abc.abstractmethod
    def leaky(self, op: ops.LeakyRelu, value: Value, shape: Shape, name: str) -> Value:
        """A ReLU with one slope."""

    @abc.abstractmethod
    def prelu(self, slope: NDArray[Any], value: Value, shape: Shape, name: str) -> Value:
        """A ReLU with slopes that broadcast."""

    @abc.abstractmethod
    def softmax(self, value: Value, shape: Shape, name: str) -> Value:
        """Softmax along the last axis of the file."""

    def passed(self, value: Value, shape: Shape, name: str) -> Value:
        """The value under another name; a format may have something simpler for it."""
        return self.reshaped(value, shape, name)

    def hard_swish(self, value: Value, shape: Shape, name: str) -> Value:
        """The value times its hard sigmoid."""
        gate = self.hard_sigmoid(value, shape, f"{name}/gate")
        return self.binary(ops.Multiply, [value, gate], shape, name, None)

    def hard_sigmoid(self, value: Value, shape: Shape, name: str) -> Value:
        """relu6(x + 3) / 6."""
        three = self.constant(f"{name}/three", np.array(3, np.float32))
        sixth = self.constant(f"{name}/sixth", np.array(SIXTH, np.float32))
        raised = self.binary(ops.Add, [value, three], shape, f"{name}/raised", None)
        cut = self.unary(self.plain[ops.Relu6], raised, shape, f"{name}/cut")
        return self.binary(ops.Multiply, [cut, sixth], shape, name, None)


Emitter = FamilyEmitter[Any]
Any_ = Stored[Any]


def _made(e: Emitter, op: Operation, value: Any, *, last: bool) -> Any_:
    return Stored(value, e.graph.shapes[op.name], last)


def _file_shape(e: Emitter, op: Operation, *, last: bool) -> Shape:
    return stored_shape(Stored(None, e.graph.shapes[op.name], last))


def _map_of(e: Emitter, op: Operation, x: Any_) -> Any:
    return e.as_last(x, f"{op.name}/input")


def _convolution(e: Emitter, op: ops.Convolution, x: Sequence[Any_]) -> Any_:
    fused = fused_activation(e.graph, op, e.fused)
    value, same = e.padded_for(op, _map_of(e, op, x[0]), x[0].shape)
    shape = _file_shape(e, op, last=True)
    return _made(e, op, e.convolved(op, value, same, shape, e.name(fused or op), fused), last=True)


def _max_pool(e: Emitter, op: ops.MaxPool, x: Sequence[Any_]) -> Any_:
    value, same = e.padded_for(op, _map_of(e, op, x[0]), x[0].shape, e.fill_of(op))
    shape = _file_shape(e, op, last=True)
    return _made(e, op, e.pooled(op, value, same, shape, e.name(op)), last=True)


def _average_pool(e: Emitter, op: ops.AveragePool, x: Sequence[Any_]) -> Any_:
    value, same = _map_of(e, op, x[0]), False
    if any(op.padding) and op.count_padding:
        value = e.surrounded(op, value, x[0].shape, 0.0)
    elif any(op.padding):
        same = op.padding == same_padding(op, x[0].shape[1:])
        if not same:
            raise e.unsupported(op, f"AveragePool that leaves out the padding {op.padding}")
    shape = _file_shape(e, op, last=True)
    return _made(e, op, e.pooled(op, value, same, shape, e.name(op)), last=True)


def _mean(e: Emitter, op: ops.GlobalAveragePool, x: Sequence[Any_]) -> Any_:
    shape = _file_shape(e, op, last=True)
    return _made(e, op, e.mean(_map_of(e, op, x[0]), shape, e.name(op)), last=True)


def _linear(e: Emitter, op: ops.Linear, x: Sequence[Any_]) -> Any_:
    fused = fused_activation(e.graph, op, e.fused)
    shape = e.graph.shapes[op.name]
    value = _turned(e, op, x[0])
    made = e.linear(op, value, len(x[0].shape), shape, e.name(fused or op), fused)
    return _made(e, op, made, last=False)


def _binary(e: Emitter, op: ops.Add | ops.Multiply, x: Sequence[Any_]) -> Any_:
    fused = fused_activation(e.graph, op, e.fused) if isinstance(op, ops.Add) else None
    last = any(each.last for each in x)
    values = [
        e.as_last(each, f"{op.name}/input{index}") if last else each.value
        for index, each in enumerate(x)
    ]
    shape = _file_shape(e, op, last=last)
    return _made(e, op, e.binary(type(op), values, shape, e.name(fused or op), fused), last=last)


def _concatenate(e: Emitter, op: ops.Concatenate, x: Sequence[Any_]) -> Any_:
    last = any(each.last for each in x)
    values = [
        e.as_last(each, f"{op.name}/input{index}") if last else each.value
        for index, each in enumerate(x)
    ]
    shape, axis = _file_shape(e, op, last=last), e.stored_axis(op.axis, last=last)
    return _made(e, op, e.joined(values, axis, shape, e.name(op)), last=last)


def _slice(e: Emitter, op: ops.Slice, x: Sequence[Any_]) -> Any_:
    last = x[0].last
    rank = len(x[0].shape) + 1
    axis = e.stored_axis(op.axis, last=last)
    begin, sizes = [0] * rank, [-1] * rank
    begin[axis], sizes[axis] = op.start, op.stop - op.start
    shape = _file_shape(e, op, last=last)
    return _made(e, op, e.sliced(x[0].value, begin, sizes, shape, e.name(op)), last=last)


def _pad(e: Emitter, op: ops.Pad, x: Sequence[Any_]) -> Any_:
    top, left, bottom, right = op.padding
    pads = [(0, 0), (top, bottom), (left, right), op.channels]
    shape = _file_shape(e, op, last=True)
    return _made(e, op, e.padded(_map_of(e, op, x[0]), pads, 0.0, shape, e.name(op)), last=True)


def _upsample(e: Emitter, op: ops.Upsample, x: Sequence[Any_]) -> Any_:
    shape = _file_shape(e, op, last=True)
    return _made(e, op, e.resized(op, _map_of(e, op, x[0]), shape, e.name(op)), last=True)


def _reshape(e: Emitter, op: ops.Reshape, x: Sequence[Any_]) -> Any_:
    last = len(op.target) == 3 and op.target[1:] == (1, 1)
    shape = _file_shape(e, op, last=last)
    value = e.as_graph(x[0], f"{op.name}/input")
    return _made(e, op, e.reshaped(value, shape, e.name(op)), last=last)


def _transpose(e: Emitter, op: ops.Transpose, x: Sequence[Any_]) -> Any_:
    order = tuple(e.stored_axis(axis, last=x[0].last) for axis in op.order)
    # The file has it so already; of one cell it is written, or a reader could not know of it.
    if x[0].last and op.order == TO_LAST and x[0].shape[1:] != (1, 1):
        return _made(e, op, x[0].value, last=False)
    shape = e.graph.shapes[op.name]
    return _made(e, op, e.transposed(x[0].value, order, shape, e.name(op)), last=False)


def _activation(e: Emitter, op: Operation, x: Sequence[Any_]) -> Any_:
    if type(op) in e.fused and is_fused(e.graph, op, _FUSING):
        return x[0]
    shape = stored_shape(x[0])
    made = e.unary(e.plain[type(op)], x[0].value, shape, e.name(op))
    return _made(e, op, made, last=x[0].last)


def _same_order(method: str) -> Any:
    """A rule for an operation on each number, whatever their order."""

    def rule(e: Emitter, op: Operation, x: Sequence[Any_]) -> Any_:
        value = getattr(e, method)(x[0].value, stored_shape(x[0]), e.name(op))
        return _made(e, op, value, last=x[0].last)

    return rule


def _leaky(e: Emitter, op: ops.LeakyRelu, x: Sequence[Any_]) -> Any_:
    value = e.leaky(op, x[0].value, stored_shape(x[0]), e.name(op))
    return _made(e, op, value, last=x[0].last)


def _prelu(e: Emitter, op: ops.Prelu, x: Sequence[Any_]) -> Any_:
    slope = e.program.tensors[f"{op.name}.slope"]
    ones = [1] * (len(x[0].shape) - 1)
    shaped = slope.reshape([*ones, -1] if x[0].last else [-1, *ones])
    value = e.prelu(shaped, x[0].value, stored_shape(x[0]), e.name(op))
    return _made(e, op, value, last=x[0].last)


def _softmax(e: Emitter, op: ops.Softmax, x: Sequence[Any_]) -> Any_:
    rank = len(x[0].shape)
    shape, last = stored_shape(x[0]), x[0].last
    axis = e.stored_axis(op.axis, last=last)
    if axis == rank:
        return _made(e, op, e.softmax(x[0].value, shape, e.name(op)), last=last)
    order = [*range(rank + 1)]
    order[axis], order[rank] = order[rank], order[axis]
    turned = tuple(shape[place - 1] for place in order[1:])
    value = e.transposed(x[0].value, tuple(order), turned, f"{op.name}/turned")
    value = e.softmax(value, turned, f"{op.name}/softmax")
    return _made(e, op, e.transposed(value, tuple(order), shape, e.name(op)), last=last)


def _turned(e: Emitter, op: Operation, x: Any_) -> Any:
    """The value in the graph's order, in the graph's shape."""
    if not x.last:
        return x.value
    return e.transposed(x.value, TO_FIRST, x.shape, f"{op.name}/input")


RULES: Rules[Any, Any] = {
    ops.Convolution: _convolution,
    ops.MaxPool: _max_pool,
    ops.AveragePool: _average_pool,
    ops.GlobalAveragePool: _mean,
    ops.Linear: _linear,
    ops.Add: _binary,
    ops.Multiply: _binary,
    ops.Concatenate: _concatenate,
    ops.Slice: _slice,
    ops.Pad: _pad,
    ops.Upsample: _upsample,
    ops.Reshape: _reshape,
    ops.Transpose: _transpose,
    ops.Relu: _activation,
    ops.Relu6: _activation,
    ops.LeakyRelu: _leaky,
    ops.Prelu: _prelu,
    ops.Sigmoid: _activation,
    ops.Tanh: _activation,
    ops.HardSigmoid: _same_order("hard_sigmoid"),
    ops.HardSwish: _same_order("hard_swish"),
    ops.Softmax: _softmax,
}
