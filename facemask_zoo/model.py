"""A model in memory: its card and its program, free of any framework."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from facemask_zoo.cards import ModelCard
from facemask_zoo.errors import WeightsError
from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.program import Program, Tensors
from facemask_zoo.graph.signature import Signature


@dataclasses.dataclass(frozen=True)
class Model:
    """A card and the tensors that fit it.

    Attributes:
        card: Says what the network is and what it is for.
        tensors: ``<operation>.<part>``, float32, with batch normalisation folded in; kept in the
            graph's order. They are shared, and so read-only.
        own_graph: The network, where the card names no architecture.

    Raises:
        WeightsError: A tensor is missing, superfluous, of another shape or type, or not finite; or
            nothing says what the network is.
    """

    card: ModelCard
    tensors: Tensors
    own_graph: Graph | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", self.program.tensors)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied as what it is made of."""
        return type(self), (self.card, dict(self.tensors), self.own_graph)

    @property
    def graph(self) -> Graph:
        """The network."""
        if self.card.architecture is not None:
            return self.card.architecture.graph
        if self.own_graph is None:
            raise WeightsError(f"Nothing says what the network of {self.card.name!r} is.")
        return self.own_graph

    @functools.cached_property
    def program(self) -> Program:
        """Graph, tensors and the card's text, as files hold them."""
        return Program(self.graph, self.tensors, self.card.portable().to_json())

    @property
    def signature(self) -> Signature:
        """Names and shapes of what goes in and out, with tolerances."""
        return Signature.of(self.graph)

    @property
    def digest(self) -> str:
        """SHA-256 over names, shapes and values of the tensors, in the graph's order."""
        return self.program.digest

    def without_subnormals(self) -> Model:
        """The same model with every value below ``SUBNORMAL_LIMIT`` set to zero."""
        return dataclasses.replace(self, tensors=self.program.without_subnormals().tensors)
