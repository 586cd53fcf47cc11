"""Whether two graphs are the same computation under other names."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.operations import (
    Add,
    Convolution,
    Linear,
    Multiply,
    Operation,
    Reshape,
    Shape,
    Transpose,
)
from facemask_zoo.graph.program import Program

_MOST_PERMUTED = 4
_WIDTHS = {Convolution: "filters", Linear: "features", Reshape: "target"}


def match(graph: Graph, pattern: Graph, *, any_width: bool = False) -> dict[str, str] | None:
    """The names that the values of a graph have in a pattern.

    Args:
        graph: What to understand.
        pattern: What it may be.
        any_width: Whether channels, and with them shapes, may be other numbers.

    Returns:
        The pattern's name for each of the graph's; None if they are different computations. The
        outputs may come in another order, if there are few or their names say which is which.
        Reshapes that follow each other count as one, and so does a transposition that moves only
        axes of size 1: files do not tell them apart.
    """
    graph, pattern = _canonical(graph), _canonical(pattern)
    if len(graph.operations) != len(pattern.operations):
        return None
    if len(graph.outputs) != len(pattern.outputs):
        return None
    if graph.input_shape != pattern.input_shape and not any_width:
        return None
    for order in _orders(graph.outputs, pattern.outputs):
        names = _match_from(graph, pattern, dict(zip(graph.outputs, order, strict=True)), any_width)
        if names is not None:
            return names
    return None


def _orders(outputs: Sequence[str], theirs: Sequence[str]) -> Iterator[Sequence[str]]:
    """Orders in which the outputs of a pattern may be those of a graph."""
    if len(theirs) <= _MOST_PERMUTED:
        yield from itertools.permutations(theirs)
        return
    yield theirs
    if set(outputs) == set(theirs):
        yield outputs


def renamed_like(program: Program, pattern: Graph) -> Program | None:
    """A program with the names, and in the order, of a graph that it is the same computation as."""
    names = match(program.graph, pattern)
    if names is None:
        return None
    tensors = {
        f"{names[operation.name]}.{part}": program.tensors[f"{operation.name}.{part}"]
        for operation in program.graph.operations
        for part in operation.parameters(program.graph.input_shapes(operation))
    }
    return Program(pattern, tensors, program.card)


def _canonical(graph: Graph) -> Graph:
    """The same computation with one reshape for all that follow each other.

    Of the sums and products of values of different shapes, the larger value comes first.
    """
    new = GraphBuilder(graph.input, graph.input_shape)
    place = {graph.input: graph.input}
    sources: dict[str, str] = {}
    for operation in graph.operations:
        inputs = [place[name] for name in operation.inputs]
        name, shape = operation.name, graph.shapes[operation.name]
        if isinstance(operation, Add | Multiply):
            inputs.sort(key=lambda each: -math.prod(new.shapes[each]))
        if not _only_reshapes(operation, graph.shapes):
            place[name] = new.add(type(operation), name, *inputs, **_attributes(operation))
            continue
        source = sources.get(inputs[0], inputs[0])
        if new.shapes[source] == shape and name not in graph.outputs:
            place[name] = source
        else:
            place[name] = new.add(Reshape, name, source, target=shape)
            sources[name] = source
    return new.finish(*(place[name] for name in graph.outputs))


def _only_reshapes(operation: Operation, shapes: Mapping[str, Shape]) -> bool:
    if isinstance(operation, Transpose):
        sizes = (0, *shapes[operation.inputs[0]])
        moved = [axis for axis in operation.order if sizes[axis] != 1]
        return moved == sorted(moved)
    return isinstance(operation, Reshape)


def _attributes(operation: Operation) -> dict[str, Any]:
    return {
        field.name: getattr(operation, field.name)
        for field in dataclasses.fields(operation)
        if field.name not in ("name", "inputs")
    }


def _match_from(
    graph: Graph, pattern: Graph, names: dict[str, str], any_width: bool
) -> dict[str, str] | None:
    """Follow both graphs from their outputs back to their inputs."""
    for operation in reversed(graph.operations):
        other = pattern.by_name.get(names.get(operation.name, ""))
        if other is None or not _alike(operation, other, any_width):
            return None
        for mine, theirs in zip(operation.inputs, other.inputs, strict=True):
            if names.setdefault(mine, theirs) != theirs:
                return None
    if names.get(graph.input, pattern.input) != pattern.input:
        return None
    return names if len(set(names.values())) == len(names) else None


def _alike(operation: Operation, other: Operation, any_width: bool) -> bool:
    if type(operation) is not type(other) or len(operation.inputs) != len(other.inputs):
        return False
    ignored = {"name", "inputs"}
    if any_width:
        ignored.add(_WIDTHS.get(type(operation), "name"))
    return all(
        getattr(operation, field.name) == getattr(other, field.name)
        for field in dataclasses.fields(operation)
        if field.name not in ignored
    )
