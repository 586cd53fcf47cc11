"""What running a graph in the float64 reference costs, and the most that it may."""

from __future__ import annotations

import math
from collections.abc import Iterator

from facemask_zoo.errors import WeightsError
from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.operations import Operation, Window

_MAX_NUMBERS = 1 << 24
"""In one value of one sample: 64 channels at 512 x 512."""

_MAX_NUMBERS_AT_ONCE = 3 << 24
"""In all values that are still needed, of one sample."""

_MAX_ENDS = 1 << 22
"""In the input, and in all outputs together, which are kept of every sample: 1182 x 1182 pixels."""

_MAX_MULTIPLY_ADDS = 40 * 10**9
_MAX_MOVES = 8 * 10**9
"""Numbers that windows read and write: for each tap of a kernel all channels of every place."""


def check_cost(graph: Graph) -> None:
    """See that a graph can be run in double precision, in minutes and within a gigabyte.

    Raises:
        WeightsError: An operation is too large, or all up to it are.
    """
    ends = {"input": [graph.input_shape], "outputs": graph.output_shapes.values()}
    for what, shapes in ends.items():
        count = sum(map(math.prod, shapes))
        if count > _MAX_ENDS:
            raise _too_large(graph.operations[0], count, f"numbers in its {what}", _MAX_ENDS)
    work = moves = 0
    for operation, alive in _alive(graph):
        inputs, output = graph.input_shapes(operation), graph.shapes[operation.name]
        work += operation.multiply_adds(inputs, output)
        if isinstance(operation, Window):
            channels = inputs[0][0] + output[0]
            moves += math.prod(operation.kernel) * channels * math.prod(output[1:])
        numbers = max(math.prod(output), *(math.prod(shape) for shape in inputs))
        for count, most, what in (
            (numbers, _MAX_NUMBERS, "numbers in one value"),
            (alive, _MAX_NUMBERS_AT_ONCE, "numbers at once"),
            (work, _MAX_MULTIPLY_ADDS, "multiply-adds"),
            (moves, _MAX_MOVES, "numbers under the taps of its kernels"),
        ):
            if count > most:
                raise _too_large(operation, count, what, most)


def numbers_at_once(graph: Graph) -> int:
    """The most numbers, of one sample, that are needed at the same time."""
    return max(alive for _, alive in _alive(graph))


def _too_large(operation: Operation, count: int, what: str, most: int) -> WeightsError:
    return operation.refuse(f"up to here, the network takes {count} {what}, over {most}")


def _alive(graph: Graph) -> Iterator[tuple[Operation, int]]:
    """Each operation, and the numbers in all values that are needed while it runs."""
    last_use = {name: each.name for each in graph.operations for name in each.inputs}
    alive = math.prod(graph.input_shape)
    for operation in graph.operations:
        alive += math.prod(graph.shapes[operation.name])
        yield operation, alive
        for name in set(operation.inputs):
            if last_use[name] == operation.name and name not in graph.outputs:
                alive -= math.prod(graph.shapes[name])
