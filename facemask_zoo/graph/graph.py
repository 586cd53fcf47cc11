"""A network as operations in order over named values, whatever architecture or file it is from."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from facemask_zoo.errors import WeightsError
from facemask_zoo.graph.operations import Operation, Shape

MAX_OPERATIONS = 4096
_MAX_AXES = 6
# Numbers of one sample: what a description may make a framework take, half a gigabyte and less.
_MAX_VALUES = 1 << 27
# Of one sample: minutes of a processor. The largest networks here take a hundredth.
_MAX_MULTIPLY_ADDS = 10**12
MAX_PARAMETERS = 1 << 24
"""Weights and biases of one network: 64 MiB, as of the tensors in one file."""
_MAX_NAME = 200
_NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{_MAX_NAME - 1}}}")
_FOREIGN = re.compile(r"[^A-Za-z0-9_]")

AnyOperation = TypeVar("AnyOperation", bound=Operation)


@dataclasses.dataclass(frozen=True)
class Graph:
    """A network: one input, operations in an order in which they can be computed, and outputs.

    Attributes:
        input: Name of the input.
        input_shape: Its shape, without the batch: (C, H, W) or (features,).
        operations: In an order in which each sees only what came before it.
        outputs: Names of the values that the network gives.

    Raises:
        WeightsError: A name is illegal or occurs twice, an operation sees what is not there yet, a
            shape does not fit, or a limit is exceeded.
    """

    input: str
    input_shape: Shape
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.operations) > MAX_OPERATIONS:
            raise WeightsError(f"The graph has more than {MAX_OPERATIONS} operations.")
        if not self.outputs or len(set(self.outputs)) != len(self.outputs):
            raise WeightsError(f"Expected different outputs, but got {list(self.outputs)}.")
        known = self.shapes
        missing = [name for name in self.outputs if name not in known or name == self.input]
        if missing:
            raise WeightsError(f"No operation gives the outputs {missing}.")

    def __deepcopy__(self, memo: dict[int, object]) -> Graph:
        """Itself: nothing in it changes, and its tables cannot be copied."""
        return self

    @functools.cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every value by name, without the batch."""
        _check_name(self.input)
        check_shape(self.input, self.input_shape)
        shapes = {self.input: self.input_shape}
        work = parameters = 0
        for operation in self.operations:
            _check_name(operation.name)
            if operation.name in shapes:
                raise operation.refuse("the name occurs twice")
            shape = _infer(operation, shapes)
            check_shape(operation.name, shape)
            inputs = [shapes[name] for name in operation.inputs]
            work += operation.multiply_adds(inputs, shape)
            parameters += operation.parameter_count(inputs)
            if work > _MAX_MULTIPLY_ADDS:
                raise operation.refuse(f"the network takes over {_MAX_MULTIPLY_ADDS} multiply-adds")
            if parameters > MAX_PARAMETERS:
                raise operation.refuse(f"the network has over {MAX_PARAMETERS} weights")
            shapes[operation.name] = shape
        return MappingProxyType(shapes)

    @functools.cached_property
    def by_name(self) -> Mapping[str, Operation]:
        """Operations by name."""
        return MappingProxyType({operation.name: operation for operation in self.operations})

    @functools.cached_property
    def consumers(self) -> Mapping[str, tuple[Operation, ...]]:
        """For every value, the operations that see it, in order; an output has one reader more."""
        seen: dict[str, list[Operation]] = {name: [] for name in self.shapes}
        for operation in self.operations:
            for name in dict.fromkeys(operation.inputs):
                seen[name].append(operation)
        return MappingProxyType({name: tuple(each) for name, each in seen.items()})

    @functools.cached_property
    def tensor_shapes(self) -> Mapping[str, Shape]:
        """Name and shape of every tensor, ``<operation>.<part>``, in the order of the graph."""
        return MappingProxyType(
            {
                f"{operation.name}.{part}": shape
                for operation in self.operations
                for part, shape in operation.parameters(self.input_shapes(operation)).items()
            }
        )

    @property
    def parameter_count(self) -> int:
        """Number of weights and biases."""
        return sum(math.prod(shape) for shape in self.tensor_shapes.values())

    @property
    def multiply_adds(self) -> int:
        """Multiply-accumulate operations for one sample."""
        return sum(
            operation.multiply_adds(self.input_shapes(operation), self.shapes[operation.name])
            for operation in self.operations
        )

    @property
    def output_shapes(self) -> dict[str, Shape]:
        """Shape of every output by name, without the batch."""
        return {name: self.shapes[name] for name in self.outputs}

    def __getstate__(self) -> dict[str, Any]:
        """What defines it; views that were computed from that are computed again."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def input_shapes(self, operation: Operation) -> tuple[Shape, ...]:
        """Shapes of what an operation sees."""
        return tuple(self.shapes[name] for name in operation.inputs)

    def of_kind(self, kind: type[AnyOperation]) -> tuple[AnyOperation, ...]:
        """The operations of one kind, in order."""
        return tuple(each for each in self.operations if isinstance(each, kind))

    def sole_consumer(self, name: str) -> Operation | None:
        """The operation that alone sees a value; None if others do, or it is an output."""
        readers = self.consumers[name]
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def replaced(self, operations: Iterable[Operation]) -> Graph:
        """The same input and outputs around other operations."""
        return dataclasses.replace(self, operations=tuple(operations))

    def renamed(self, names: Mapping[str, str]) -> Graph:
        """The same graph with other names for some of its values."""

        def new(name: str) -> str:
            return names.get(name, name)

        operations = (
            dataclasses.replace(each, name=new(each.name), inputs=tuple(map(new, each.inputs)))
            for each in self.operations
        )
        return Graph(
            new(self.input), self.input_shape, tuple(operations), tuple(map(new, self.outputs))
        )


class Names:
    """Turns the names of a file into legal, different ones: letters, digits and underscores."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}
        self._taken: set[str] = set()

    def __getitem__(self, name: str) -> str:
        """The legal form of a name; always the same for the same one."""
        if name not in self._given:
            self._given[name] = self.fresh(name)
        return self._given[name]

    @staticmethod
    def legal(name: str) -> str:
        """The legal name that is most like this one."""
        legal = _FOREIGN.sub("_", name)[: _MAX_NAME - 8] or "_"
        return legal if _NAME.fullmatch(legal) else f"_{legal}"

    def fresh(self, name: str) -> str:
        """A legal name that is like this one and that nothing has yet."""
        legal = self.legal(name)
        candidate, number = legal, 1
        while candidate in self._taken:
            number += 1
            candidate = f"{legal}_{number}"
        self._taken.add(candidate)
        return candidate


def _infer(operation: Operation, shapes: Mapping[str, Shape]) -> Shape:
    missing = [name for name in operation.inputs if name not in shapes]
    if missing:
        raise operation.refuse(f"nothing before it gives {missing}")
    arity = operation.arity
    if not operation.inputs or (arity is not None and len(operation.inputs) != arity):
        raise operation.refuse(f"expected {arity or 'some'} inputs, but got {operation.inputs}")
    operation.check()
    return operation.shape([shapes[name] for name in operation.inputs])


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise WeightsError(
            f"{name!r:.100} is no name: expected up to {_MAX_NAME} letters, digits and underscores."
        )


def check_shape(name: str, shape: Shape) -> None:
    """See that a value may have a shape, without the batch.

    Raises:
        WeightsError: It has too many axes or numbers, or an empty axis.
    """
    if not 1 <= len(shape) <= _MAX_AXES or not all(
        isinstance(size, int) and size >= 1 for size in shape
    ):
        raise WeightsError(f"{name!r} has the shape {shape}, which no value may have.")
    if math.prod(shape) > _MAX_VALUES:
        raise WeightsError(f"{name!r} has the shape {shape}, over {_MAX_VALUES} numbers.")
