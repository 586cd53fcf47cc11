"""Architectures: configurations that become graphs, one file each."""

from __future__ import annotations

from typing import Any, Protocol

from facemask_zoo.architectures.landmarks import LandmarkNetwork
from facemask_zoo.architectures.mobilenet import MobileNet
from facemask_zoo.architectures.pyramid import InputSize, Pyramid
from facemask_zoo.arguments import look_up
from facemask_zoo.graph.graph import Graph
from facemask_zoo.ssd.network import Network
from facemask_zoo.structuring import structure


class Architecture(Protocol):
    """A configuration of some architecture."""

    @property
    def graph(self) -> Graph:
        """What it computes."""

    @property
    def input_size(self) -> InputSize:
        """Side of a square input, or its height and width, in pixels."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels that it tells apart."""

    def with_input_size(self, input_size: int) -> Architecture:
        """The same layers for another input size."""

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values."""


DetectorNetwork = Network | Pyramid
"""Architectures of detectors."""

ARCHITECTURES: dict[str, Any] = {
    "ssd": Network,
    "mobilenet": MobileNet,
    "pyramid": Pyramid,
    "landmarks": LandmarkNetwork,
}
"""Classes of configurations by name."""


def name_of(architecture: Architecture) -> str:
    """The name under which a configuration's class is listed."""
    return next(name for name, kind in ARCHITECTURES.items() if isinstance(architecture, kind))


def from_dict(name: str, values: object) -> Architecture:
    """A configuration from JSON values.

    Raises:
        InvalidArgumentError: The values are not its configuration.
        UnknownNameError: There is no such architecture, or it has no such field.
    """
    kind = look_up("architecture", name, ARCHITECTURES)
    architecture: Architecture = structure(values, kind, "network")
    return architecture
