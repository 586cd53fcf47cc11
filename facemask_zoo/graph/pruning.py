"""Exact pruning: channels that can change no output are removed from a graph, and nothing else."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.operations import (
    Add,
    AveragePool,
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
    Shape,
    Sigmoid,
    Slice,
    Tanh,
    Upsample,
)
from facemask_zoo.graph.program import Program

Mask = NDArray[np.bool_]
Slots = NDArray[np.int64]

_BY_CHANNEL = (
    MaxPool,
    AveragePool,
    GlobalAveragePool,
    Upsample,
    Relu,
    Relu6,
    LeakyRelu,
    Prelu,
    Sigmoid,
    Tanh,
    HardSigmoid,
    HardSwish,
)
"""Operations that compute each channel from that channel alone."""


def prune(program: Program, multiple: int = 1, *, nonnegative_input: bool = False) -> Program:
    """Remove every channel that is dead for all inputs, until none is left.

    A channel goes if no convolution or linear layer that is left sees anything of it: because it is
    always zero there (no positive weight and no positive bias, say, with a ReLU behind them), or
    because the weights for it are zero. Values below ``SUBNORMAL_LIMIT`` count as zero. The outputs
    stay the same up to the order of additions.

    A channel that is constant but not zero stays: zero padding makes its contribution smaller at
    the border, which no bias could imitate.

    Args:
        program: What to prune.
        multiple: Widths stay multiples of this where they were, which some runtimes need to be
            fast; 1 removes all that can go.
        nonnegative_input: Whether the input is never negative, as a picture in 0..1.

    Returns:
        A program with the same input, outputs and names.

    Raises:
        InvalidArgumentError: `multiple` is not a positive integer.
    """
    if not isinstance(multiple, int) or isinstance(multiple, bool) or multiple < 1:
        raise InvalidArgumentError(f"multiple: expected a positive integer, but got {multiple!r}.")
    program = program.without_subnormals()
    channels = _Channels(program.graph)
    zero = _Signs(program, nonnegative=nonnegative_input).zero
    alive = _alive(program, channels, zero)
    _keep_multiples(program.graph, channels, alive, multiple)
    return _narrowed(program, channels, alive)


class _Channels:
    """Which channels of different values have to stay or go together.

    Every channel of a value that has such has a slot. Slots that an addition ties are merged; those
    that must not go are `fixed`.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._parent: list[int] = []
        self._fixed: list[bool] = []
        self._slots: dict[str, Slots] = {}
        self._slots[graph.input] = self._fresh(graph.input_shape, fixed=True)
        for operation in graph.operations:
            inputs = [self._slots[name] for name in operation.inputs]
            self._slots[operation.name] = self._follow(operation, inputs)
        for name in graph.outputs:
            self._fix(self._slots[name])

    def __getitem__(self, name: str) -> Slots:
        """The representative slot of each channel of a value."""
        return np.array([self._find(slot) for slot in self._slots[name]], np.int64)

    @property
    def fixed(self) -> Mask:
        """Which slots may not go."""
        result = np.zeros(len(self._parent), np.bool_)
        for slot, fixed in enumerate(self._fixed):
            result[self._find(slot)] |= fixed
        return result

    def _follow(self, operation: Operation, inputs: Sequence[Slots]) -> Slots:
        shape = self._graph.shapes[operation.name]
        first = self._graph.shapes[operation.inputs[0]]
        if isinstance(operation, _BY_CHANNEL) or _is_depthwise(operation, first):
            return inputs[0]
        if isinstance(operation, Convolution | Linear) and reads_all_channels(operation, first):
            return self._fresh(shape, fixed=False)
        if isinstance(operation, Add | Multiply):
            for mine, theirs in zip(*inputs, strict=True):
                self._parent[self._find(theirs)] = self._find(mine)
            return inputs[0]
        if isinstance(operation, Concatenate) and operation.axis == 1:
            return np.concatenate(inputs)
        if isinstance(operation, Slice) and operation.axis == 1:
            return inputs[0][operation.start : operation.stop]
        if isinstance(operation, Pad) and not any(operation.channels):
            return inputs[0]
        if isinstance(operation, Reshape) and len(first) == 3 and len(shape) == 1:
            return inputs[0].repeat(math.prod(first[1:]))
        for slots in inputs:
            self._fix(slots)
        return self._fresh(shape, fixed=True)

    def _fresh(self, shape: Shape, *, fixed: bool) -> Slots:
        start = len(self._parent)
        self._parent += range(start, start + shape[0])
        self._fixed += [fixed] * shape[0]
        return np.arange(start, start + shape[0], dtype=np.int64)

    def _fix(self, slots: Iterable[int]) -> None:
        for slot in slots:
            self._fixed[slot] = True

    def _find(self, slot: int) -> int:
        while self._parent[slot] != slot:
            self._parent[slot] = slot = self._parent[self._parent[slot]]
        return int(slot)


class _Sign(NamedTuple):
    """By channel: whether it is never negative, and never positive."""

    low: Mask
    high: Mask


class _Signs:
    """What is known of the sign of every channel of every value, whatever the input."""

    def __init__(self, program: Program, *, nonnegative: bool) -> None:
        self._program = program
        graph = program.graph
        width = graph.input_shape[0]
        self._signs = {graph.input: _Sign(np.full(width, nonnegative), np.zeros(width, np.bool_))}
        for operation in graph.operations:
            inputs = [self._signs[name] for name in operation.inputs]
            self._signs[operation.name] = self._follow(operation, inputs)

    @property
    def zero(self) -> dict[str, Mask]:
        """Which channels of each value are always zero."""
        return {name: sign.low & sign.high for name, sign in self._signs.items()}

    def _follow(self, operation: Operation, inputs: Sequence[_Sign]) -> _Sign:
        first = self._program.graph.shapes[operation.inputs[0]]
        width = self._program.graph.shapes[operation.name][0]
        if isinstance(operation, Convolution | Linear):
            if reads_all_channels(operation, first) or _is_depthwise(operation, first):
                return self._weighted(operation, inputs[0])
            return _unknown(width)
        rule = _SIGN_RULES.get(type(operation))
        if rule is not None:
            return rule(inputs)
        if isinstance(operation, Concatenate) and operation.axis == 1:
            return _Sign(*(np.concatenate(side) for side in zip(*inputs, strict=True)))
        if isinstance(operation, Slice) and operation.axis == 1:
            return _Sign(*(side[operation.start : operation.stop] for side in inputs[0]))
        if isinstance(operation, Pad) and not any(operation.channels):
            return inputs[0]
        if isinstance(operation, LeakyRelu | Prelu):
            zero = inputs[0].low & inputs[0].high
            return _Sign(inputs[0].low | zero, zero)
        if isinstance(operation, Reshape) and len(first) == 3 and width == math.prod(first):
            return _Sign(*(side.repeat(math.prod(first[1:])) for side in inputs[0]))
        return _unknown(width)

    def _weighted(self, operation: Operation, sign: _Sign) -> _Sign:
        weight = self._program.tensors[f"{operation.name}.weight"]
        bias = self._program.tensors[f"{operation.name}.bias"]
        flat = weight.reshape(*weight.shape[:2], -1)
        least, most = flat.min(axis=2), flat.max(axis=2)
        if weight.shape[1] == 1 and len(sign.low) == len(weight):  # each channel by itself
            low, high = sign.low[:, None], sign.high[:, None]
        else:
            low, high = sign.low[None], sign.high[None]
        nothing = ((least == 0) & (most == 0)) | (low & high)
        never_negative = nothing | ((least >= 0) & low) | ((most <= 0) & high)
        never_positive = nothing | ((most <= 0) & low) | ((least >= 0) & high)
        return _Sign(
            never_negative.all(axis=1) & (bias >= 0), never_positive.all(axis=1) & (bias <= 0)
        )


def _product(inputs: Sequence[_Sign]) -> _Sign:
    (a, b), (c, d) = inputs
    zero = (a & b) | (c & d)
    return _Sign((a & c) | (b & d) | zero, (a & d) | (b & c) | zero)


def _same(inputs: Sequence[_Sign]) -> _Sign:
    return inputs[0]


def _positive(inputs: Sequence[_Sign]) -> _Sign:
    return _Sign(np.ones_like(inputs[0].low), np.zeros_like(inputs[0].low))


_SIGN_RULES: Mapping[type[Operation], Callable[[Sequence[_Sign]], _Sign]] = {
    MaxPool: _same,
    AveragePool: _same,
    GlobalAveragePool: _same,
    Upsample: _same,
    Tanh: _same,
    HardSwish: _same,
    Relu: lambda x: _Sign(np.ones_like(x[0].low), x[0].high),
    Relu6: lambda x: _Sign(np.ones_like(x[0].low), x[0].high),
    Sigmoid: _positive,
    HardSigmoid: _positive,
    Add: lambda x: _Sign(x[0].low & x[1].low, x[0].high & x[1].high),
    Multiply: _product,
}


def reads_all_channels(operation: Operation, shape: Shape) -> bool:
    """Whether every output channel of a layer is made of all channels of its input."""
    if isinstance(operation, Linear):
        return len(shape) == 1
    return isinstance(operation, Convolution) and operation.groups == 1 and shape[0] > 0


def _is_depthwise(operation: Operation, shape: Shape) -> bool:
    return (
        isinstance(operation, Convolution) and 1 < operation.groups == operation.filters == shape[0]
    )


def _unknown(width: int) -> _Sign:
    return _Sign(np.zeros(width, np.bool_), np.zeros(width, np.bool_))


def _alive(program: Program, channels: _Channels, zero: Mapping[str, Mask]) -> Mask:
    """Which slots matter to what is fixed, directly or through others."""
    graph = program.graph
    readers = [
        operation
        for operation in graph.operations
        if reads_all_channels(operation, graph.shapes[operation.inputs[0]])
    ]
    links = []
    for operation in readers:
        weight = program.tensors[f"{operation.name}.weight"]
        sees = (weight != 0).reshape(*weight.shape[:2], -1).any(axis=2)
        sees &= ~zero[operation.inputs[0]][None]
        links.append((channels[operation.name], channels[operation.inputs[0]], sees))
    alive = channels.fixed
    count = -1
    while count != int(alive.sum()):
        count = int(alive.sum())
        for outputs, inputs, sees in links:
            alive[inputs[sees[alive[outputs]].any(axis=0)]] = True
    return alive


def _keep_multiples(graph: Graph, channels: _Channels, alive: Mask, multiple: int) -> None:
    """Let dead channels stay until every width is a multiple, or what it was, and none is empty."""
    changed = True
    while changed:
        changed = False
        for name in graph.shapes:
            slots = channels[name]
            count = int(alive[slots].sum())
            wanted = min(max(-(-count // multiple), 1) * multiple, len(slots))
            if count < wanted:
                alive[slots[~alive[slots]][: wanted - count]] = True
                changed = True


def _narrowed(program: Program, channels: _Channels, alive: Mask) -> Program:
    graph = program.graph
    masks = {name: alive[channels[name]] for name in graph.shapes}
    operations: list[Operation] = []
    tensors: dict[str, NDArray[np.float32]] = {}
    for operation in graph.operations:
        seen, kept = masks[operation.inputs[0]], masks[operation.name]
        operations.append(_with_width(operation, graph, seen, kept))
        for part in operation.parameters(graph.input_shapes(operation)):
            values = program.tensors[f"{operation.name}.{part}"]
            if not (isinstance(operation, Linear) and len(graph.shapes[operation.name]) > 1):
                values = values[kept]  # rows of vectors keep their features
            if part == "weight" and reads_all_channels(
                operation, graph.shapes[operation.inputs[0]]
            ):
                values = values[:, seen]
            tensors[f"{operation.name}.{part}"] = values
    return Program(graph.replaced(operations), tensors, program.card)


def _with_width(operation: Operation, graph: Graph, seen: Mask, kept: Mask) -> Operation:
    """The operation for the channels that are left of its input and its output."""
    width = int(kept.sum())
    changes: dict[str, Any] = {}
    if isinstance(operation, Convolution):
        changes["filters"] = width
        if _is_depthwise(operation, graph.shapes[operation.inputs[0]]):
            changes["groups"] = width
    elif isinstance(operation, Linear) and len(graph.shapes[operation.name]) == 1:
        changes["features"] = width
    elif isinstance(operation, Slice) and operation.axis == 1:
        changes["start"] = int(seen[: operation.start].sum())
        changes["stop"] = int(seen[: operation.stop].sum())
    elif isinstance(operation, Reshape) and len(operation.target) == 1:
        changes["target"] = (width,)
    return dataclasses.replace(operation, **changes) if changes else operation
