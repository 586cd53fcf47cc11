"""Writes graphs down step by step, for architectures and for readers of files."""

from __future__ import annotations

from typing import Any, TypeVar

from facemask_zoo.errors import WeightsError
from facemask_zoo.graph.graph import MAX_OPERATIONS, MAX_PARAMETERS, Graph, check_shape
from facemask_zoo.graph.operations import Operation, Shape

AnyOperation = TypeVar("AnyOperation", bound=Operation)


class GraphBuilder:
    """Collects operations; every value is its name, and its shape is known at once.

    Args:
        name: Name of the input.
        shape: Its shape, without the batch.
    """

    def __init__(self, name: str, shape: Shape) -> None:
        self.input = name
        self.shapes: dict[str, Shape] = {name: shape}
        self.operations: list[Operation] = []
        self._input_shape = shape
        self._parameters = 0

    def add(self, kind: type[AnyOperation], name: str, *inputs: str, **attributes: Any) -> str:
        """Append an operation and return the name of its value.

        Raises:
            WeightsError: The operation cannot be applied to these inputs.
        """
        operation = kind(name=name, inputs=inputs, **attributes)
        if len(self.operations) >= MAX_OPERATIONS:
            raise WeightsError(f"The graph has more than {MAX_OPERATIONS} operations.")
        missing = [each for each in inputs if each not in self.shapes]
        if missing or (kind.arity is not None and len(inputs) != kind.arity) or not inputs:
            raise operation.refuse(f"{list(inputs)} is not what it can see")
        operation.check()
        seen = [self.shapes[each] for each in inputs]
        shape = operation.shape(seen)
        check_shape(name, shape)
        # One step may take the place of another, with the same tensor: a graph is stricter.
        self._parameters += operation.parameter_count(seen)
        if self._parameters > 2 * MAX_PARAMETERS:
            raise operation.refuse(f"the network has over {MAX_PARAMETERS} weights")
        self.shapes[name] = shape
        self.operations.append(operation)
        return name

    def finish(self, *outputs: str) -> Graph:
        """The graph of what the outputs need; what nothing sees is left out."""
        needed = set(outputs)
        for operation in reversed(self.operations):
            if operation.name in needed:
                needed.update(operation.inputs)
        kept = tuple(each for each in self.operations if each.name in needed)
        return Graph(self.input, self._input_shape, kept, outputs)
