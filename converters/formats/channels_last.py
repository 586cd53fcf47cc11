"""Channels last (N, H, W, C), as TensorFlow and its relatives store feature maps, in and out.

Graphs are channels first. A file's feature maps hold the same numbers in another order; only where
an operation depends on the order (a reshape, say) is it written out as a transposition.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, Generic, TypeVar

from facemask_zoo.converters.formats.importing import Importer
from facemask_zoo.graph.operations import Reshape, Shape, Transpose

Value = TypeVar("Value")

TO_LAST = (0, 2, 3, 1)
TO_FIRST = (0, 3, 1, 2)
_LAST_AXIS_OF = {1: 3, 2: 1, 3: 2}
_FIRST_AXIS_OF = {3: 1, 1: 2, 2: 3}


class ChannelsLastImporter(Importer):
    """An importer of files whose feature maps are channels last.

    Values that came out of a feature-map operation are channels first in the graph and channels
    last in the file; `as_stored` gives such a value in the order of the file.
    """

    def __init__(self, format_name: str, input_name: str, stored: Shape) -> None:
        shape = (stored[2], stored[0], stored[1]) if len(stored) == 3 else stored
        super().__init__(format_name, input_name, shape)
        self._last = {self.input} if len(stored) == 3 else set()
        self._first_of: dict[str, str] = {}
        self._stored_of: dict[str, str] = {}

    def is_feature_map(self, value: str) -> bool:
        """Whether the file stores the value in another order than the graph."""
        return value in self._last

    def mark(self, value: str) -> str:
        """Remember a value as a feature map: channels first here, channels last in the file."""
        if len(self.shape(value)) == 3:
            self._last.add(value)
        return value

    def stored_shape(self, value: str) -> Shape:
        """Shape that the file states for a value, without the batch."""
        shape = self.shape(value)
        return (shape[1], shape[2], shape[0]) if value in self._last else shape

    def as_feature_map(self, value: str) -> str:
        """The value channels first, for an operation on feature maps."""
        if value in self._last or len(self.shape(value)) != 3:
            return value
        if value not in self._first_of:
            name = f"{value}_first"
            self._first_of[value] = self.mark(self.add(Transpose, name, value, order=TO_FIRST))
        return self._first_of[value]

    def as_stored(self, value: str) -> str:
        """The value in the order of the file, for an operation that depends on it."""
        if value not in self._last:
            return value
        if value not in self._stored_of:
            channels, height, width = self.shape(value)
            name = f"{value}_last"
            if height == width == 1:
                stored = self.add(Reshape, name, value, target=(1, 1, channels))
            else:
                stored = self.add(Transpose, name, value, order=TO_LAST)
            self._stored_of[value] = stored
        return self._stored_of[value]

    def axis(self, axis: int, value: str) -> int:
        """The graph's number for an axis (the batch being 0) of a value as the file counts."""
        rank = len(self.shape(value)) + 1
        axis = axis % rank
        return _FIRST_AXIS_OF.get(axis, axis) if value in self._last else axis


@dataclasses.dataclass(frozen=True)
class Stored(Generic[Value]):
    """What a writer made of a value.

    Attributes:
        value: The file's tensor.
        shape: Shape of the graph's value, without the batch.
        last: Whether the file has it channels last.
    """

    value: Value
    shape: Shape
    last: bool


class ChannelsLastEmitter(abc.ABC, Generic[Value]):
    """The part of a writer that knows in which order each value is stored.

    A subclass says how its format transposes.
    """

    @abc.abstractmethod
    def transposed(self, value: Value, order: tuple[int, ...], shape: Shape, name: str) -> Value:
        """Write a transposition; `shape` is that of the result as stored, without the batch."""

    def image(self, value: Value, shape: Shape) -> Stored[Value]:
        """The input: channels last if it is a feature map."""
        return Stored(value, shape, len(shape) == 3)

    def as_last(self, stored: Stored[Value], name: str) -> Value:
        """The tensor channels last, for an operation on feature maps that is called `name`."""
        if stored.last or len(stored.shape) != 3:
            return stored.value
        channels, height, width = stored.shape
        return self.transposed(stored.value, TO_LAST, (height, width, channels), f"{name}_last")

    def as_graph(self, stored: Stored[Value], name: str) -> Value:
        """The tensor in the graph's own order."""
        if not stored.last or stored.shape[1:] == (1, 1):
            return stored.value
        return self.transposed(stored.value, TO_FIRST, stored.shape, f"{name}_first")

    def stored_axis(self, axis: int, *, last: bool) -> int:
        """The file's number for an axis of the graph, the batch being 0."""
        return _LAST_AXIS_OF.get(axis, axis) if last else axis


def file_shape(shape: Shape) -> Shape:
    """Shape of an input in the file, without the batch: channels last if it is a feature map."""
    return (shape[1], shape[2], shape[0]) if len(shape) == 3 else shape


def stored_shape(stored: Stored[Any]) -> Shape:
    """Shape of a value in the file, without the batch."""
    return file_shape(stored.shape) if stored.last else stored.shape
