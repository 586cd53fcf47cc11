"""A graph with its tensors: what every format stores and every framework runs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import WeightsError
from facemask_zoo.graph.graph import Graph

Tensors = Mapping[str, NDArray[np.float32]]

SUBNORMAL_LIMIT = 1e-20
"""Published weights hold hundreds of thousands of values below this. They change no output, but
make for subnormal numbers, which some processors compute with many times more slowly."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A graph and the tensors that fit it.

    Attributes:
        graph: The computation.
        tensors: ``<operation>.<part>``, float32, read-only, in the graph's order.
        card: JSON text of the model card that travels with it; empty if there is none. To a program
            it is only text.

    Raises:
        WeightsError: A tensor is missing, superfluous, of another shape or type, or not finite.
    """

    graph: Graph
    tensors: Tensors
    card: str = ""

    def __post_init__(self) -> None:
        shapes = self.graph.tensor_shapes
        check_tensor_names(shapes, self.tensors)
        for name, shape in shapes.items():
            check_tensor(name, self.tensors[name], shape)
        # In the graph's order, so that writers give the same bytes wherever tensors came from.
        ordered = {name: read_only(self.tensors[name]) for name in shapes}
        object.__setattr__(self, "tensors", MappingProxyType(ordered))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied as what it is made of: read-only views are neither."""
        return type(self), (self.graph, dict(self.tensors), self.card)

    @property
    def digest(self) -> str:
        """SHA-256 over names, shapes and values of the tensors, in the graph's order."""
        total = hashlib.sha256()
        for name, shape in self.graph.tensor_shapes.items():
            total.update(f"{name}{shape}".encode())
            total.update(np.ascontiguousarray(self.tensors[name], dtype="<f4").data)
        return total.hexdigest()

    def renamed(self, names: Mapping[str, str]) -> Program:
        """The same program with other names for some of its values."""
        return Program(self.graph.renamed(names), renamed_tensors(self.tensors, names), self.card)

    def without_subnormals(self) -> Program:
        """The same program with every value below ``SUBNORMAL_LIMIT`` set to zero."""
        tensors = {
            name: np.where(np.abs(values) < SUBNORMAL_LIMIT, np.float32(0), values)
            for name, values in self.tensors.items()
        }
        return dataclasses.replace(self, tensors=tensors)


def renamed_tensors(tensors: Tensors, names: Mapping[str, str]) -> Tensors:
    """Tensors by the new names of their operations, where they have such."""
    parts = ((*key.rpartition("."), values) for key, values in tensors.items())
    return {f"{names.get(name, name)}.{part}": values for name, _, part, values in parts}


def check_tensor_names(expected: Mapping[str, object], found: Mapping[str, object]) -> None:
    """See that every tensor is there and no other.

    Raises:
        WeightsError: One is missing or superfluous.
    """
    missing, superfluous = sorted(expected.keys() - found), sorted(found.keys() - expected)
    if missing or superfluous:
        raise WeightsError(
            f"The tensors do not fit the network: missing {missing[:5]}, "
            f"superfluous {superfluous[:5]}."
        )


def check_tensor(name: str, values: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    """See that a tensor is what the graph expects.

    Raises:
        WeightsError: It has another shape or type, or values that are not finite.
    """
    if values.shape != shape or values.dtype != np.float32:
        raise WeightsError(
            f"Tensor {name!r}: expected float32 of shape {shape}, "
            f"but got {values.dtype} of shape {values.shape}."
        )
    if not np.isfinite(values).all():
        raise WeightsError(f"Tensor {name!r} holds values that are not finite.")


def read_only(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The array itself if nobody can write to it, otherwise a view that cannot be written to."""
    if not values.flags.writeable:
        return values
    view = values.view()
    view.flags.writeable = False
    return view
