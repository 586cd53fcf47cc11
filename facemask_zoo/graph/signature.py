"""What goes into a network and what comes out: the contract between a file and who runs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.operations import Shape

DEFAULT_TOLERANCE = 1e-4
"""Largest difference of an output between two frameworks in single precision."""


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """An input or an output, float32.

    Attributes:
        name: Its name.
        shape: Its shape, without the batch.
        tolerance: How far two frameworks' answers may be apart; 0 for an input.
    """

    name: str
    shape: Shape
    tolerance: float = 0.0


@dataclasses.dataclass(frozen=True)
class Signature:
    """The input and the outputs of a network.

    Attributes:
        input: What it sees.
        outputs: What it gives, in order.
    """

    input: TensorSpec
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, graph: Graph, tolerances: Mapping[str, float] | None = None) -> Signature:
        """The signature of a graph.

        Args:
            graph: The network.
            tolerances: By output; ``DEFAULT_TOLERANCE`` where one is not named.
        """
        known = tolerances or {}
        return cls(
            TensorSpec(graph.input, graph.input_shape),
            tuple(
                TensorSpec(name, shape, known.get(name, DEFAULT_TOLERANCE))
                for name, shape in graph.output_shapes.items()
            ),
        )

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return tuple(spec.name for spec in self.outputs)
