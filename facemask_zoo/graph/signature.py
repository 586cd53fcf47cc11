"""What goes into a network and what comes out: the contract between a file and who runs it."""

from __future__ import annotations

import dataclasses

from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.operations import (
    AveragePool,
    Concatenate,
    GlobalAveragePool,
    HardSigmoid,
    MaxPool,
    Reshape,
    Shape,
    Sigmoid,
    Slice,
    Softmax,
    Transpose,
)

DEFAULT_TOLERANCE = 1e-4
"""Largest difference of an output between two frameworks in single precision."""

PROBABILITY_TOLERANCE = 1e-5
"""The same for outputs that are probabilities, 0..1."""

_PASSES_ON = (AveragePool, Concatenate, GlobalAveragePool, MaxPool, Reshape, Slice, Transpose)
"""Operations whose outputs lie between the smallest and the largest of their inputs."""


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
    def of(cls, graph: Graph) -> Signature:
        """The signature of a graph; outputs that are probabilities have their own tolerance."""
        return cls(
            TensorSpec(graph.input, graph.input_shape),
            tuple(
                TensorSpec(name, shape, _tolerance(graph, name))
                for name, shape in graph.output_shapes.items()
            ),
        )

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return tuple(spec.name for spec in self.outputs)


def are_probabilities(graph: Graph, name: str) -> bool:
    """Whether a value is 0..1 by the operations that it ends in."""
    operation = graph.by_name.get(name)
    if isinstance(operation, _PASSES_ON):
        return all(are_probabilities(graph, each) for each in operation.inputs)
    return isinstance(operation, Sigmoid | HardSigmoid | Softmax)


def _tolerance(graph: Graph, name: str) -> float:
    return PROBABILITY_TOLERANCE if are_probabilities(graph, name) else DEFAULT_TOLERANCE
