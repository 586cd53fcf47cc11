"""What writers share: a walk over a graph, with a rule for every operation that a format has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.operations import Operation, Padding, Pair, Window

Emitter = TypeVar("Emitter")
Value = TypeVar("Value")
Rule = Callable[[Emitter, Any, Sequence[Value]], Value]
Rounding = Callable[[Window, Sequence[int]], Padding | None]
Rules = Mapping[type[Operation], Rule[Emitter, Value]]


def emit(
    graph: Graph, image: Value, emitter: Emitter, rules: Rules[Emitter, Value], format_name: str
) -> dict[str, Value]:
    """Write every operation of a graph, in order.

    Args:
        graph: What to write.
        image: What the format makes of the input.
        emitter: Collects what is written; handed to the rules.
        rules: From operation to what writes it: (emitter, operation, inputs) to its value.
        format_name: For the error.

    Returns:
        What the format made of every value, by name.

    Raises:
        UnsupportedOperationError: There is no rule for an operation.
    """
    values = {graph.input: image}
    for operation in graph.operations:
        rule = rules.get(type(operation))
        if rule is None:
            raise UnsupportedOperationError(format_name, operation.kind, operation.name)
        values[operation.name] = rule(
            emitter, operation, [values[name] for name in operation.inputs]
        )
    return values


def fused_activation(
    graph: Graph, operation: Operation, kinds: Collection[type[Operation]]
) -> Operation | None:
    """The activation that alone sees an operation's value, where a format writes both as one."""
    reader = graph.sole_consumer(operation.name)
    return reader if reader is not None and type(reader) in kinds else None


def is_fused(graph: Graph, activation: Operation, into: Collection[type[Operation]]) -> bool:
    """Whether the operation before an activation has been written with it, by the same rule."""
    (source,) = activation.inputs
    before = graph.by_name.get(source)
    return type(before) in into and graph.sole_consumer(source) is activation


def same_padding(window: Window, size: Sequence[int]) -> Padding:
    """The padding that TensorFlow calls SAME, for an input of this height and width."""
    sides = []
    for length, reach, stride in zip(size, window.reach, window.strides, strict=True):
        total = max((-(-length // stride) - 1) * stride + reach - length, 0)
        sides.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = sides
    return (top, left, bottom, right)


def ceil_padding(window: Window, size: Sequence[int]) -> Padding:
    """Padding with the bottom and right as long as a rounded-up number of windows needs.

    What frameworks call ``ceil_mode``: an odd row or column at the end gets a window of its own,
    unless that would begin outside of the input.
    """
    top, left, *given = window.padding
    ends = []
    for length, reach, stride, last, end in zip(
        size, window.reach, window.strides, _last_windows(window, size), given, strict=True
    ):
        begin = last - stride if last >= length else last
        is_enough = 0 <= length + end - reach - begin < stride
        ends.append(end if is_enough else max(begin + reach - length, 0))
    return (top, left, ends[0], ends[1])


def full_padding(window: Window, size: Sequence[int]) -> Padding | None:
    """The same where a format keeps every window; None if one of them sees padding alone."""
    lasts = _last_windows(window, size)
    if any(last >= length for last, length in zip(lasts, size, strict=True)):
        return None
    return ceil_padding(window, size)


def _last_windows(window: Window, size: Sequence[int]) -> list[int]:
    """The row and column of the input where the last of a rounded-up number of windows begins."""
    sides = zip(window.padding[:2], window.padding[2:], strict=True)
    return [
        -(-(length + begin + end - reach) // stride) * stride - begin
        for length, reach, stride, (begin, end) in zip(
            size, window.reach, window.strides, sides, strict=True
        )
    ]


def one_padding(window: Window, size: Sequence[int], rounded: Rounding) -> tuple[Pair, bool] | None:
    """The padding of a window for formats that have the same one on opposite sides.

    Args:
        window: What slides.
        size: Height and width of its input.
        rounded: The padding that the format makes of one by rounding up.

    Returns:
        Rows and columns on either side, and whether the number of steps has to be rounded up; None
        where the format cannot say it.
    """
    top, left, bottom, right = window.padding
    if (top, left) == (bottom, right):
        return (top, left), False
    even = dataclasses.replace(window, padding=(top, left, top, left))
    return ((top, left), True) if rounded(even, size) == window.padding else None
