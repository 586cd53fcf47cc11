"""A model in memory: its card and its canonical tensors, free of any framework."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.cards import ModelCard
from facemask_zoo.errors import WeightsError

Tensors = Mapping[str, NDArray[np.float32]]

# Published weights hold hundreds of thousands of values below this. They change no output, but
# they make for subnormal numbers, which some processors compute with many times more slowly.
DUST = 1e-20


@dataclasses.dataclass(frozen=True)
class Model:
    """A card and the tensors that fit it.

    Attributes:
        card: Describes the network.
        tensors: ``<layer>.weight`` (out, in, 3, 3) and ``<layer>.bias`` (out,), float32, with batch
            normalisation folded in; kept in the network's order. They are shared, and so read-only.

    Raises:
        WeightsError: A tensor is missing, superfluous, of another shape or type, or not finite.
    """

    card: ModelCard
    tensors: Tensors

    def __post_init__(self) -> None:
        _check_names(self.card, self.tensors)
        shapes = self.card.network.tensor_shapes
        for name, shape in shapes.items():
            _check_tensor(name, self.tensors[name], shape)
        # In the network's order, so that writers give the same bytes wherever tensors came from.
        tensors = {name: _read_only(self.tensors[name]) for name in shapes}
        object.__setattr__(self, "tensors", MappingProxyType(tensors))

    @property
    def digest(self) -> str:
        """SHA-256 over names, shapes and values of the tensors, in the network's order."""
        total = hashlib.sha256()
        for name, shape in self.card.network.tensor_shapes.items():
            total.update(f"{name}{shape}".encode())
            total.update(np.ascontiguousarray(self.tensors[name], dtype="<f4").data)
        return total.hexdigest()

    def without_dust(self) -> Model:
        """The same model with every value below ``DUST`` set to zero."""
        tensors = {
            name: np.where(np.abs(values) < DUST, np.float32(0), values)
            for name, values in self.tensors.items()
        }
        return dataclasses.replace(self, tensors=tensors)


def _read_only(values: NDArray[np.float32]) -> NDArray[np.float32]:
    view = values.view()
    view.flags.writeable = False
    return view


def _check_names(card: ModelCard, tensors: Tensors) -> None:
    expected, found = set(card.network.tensor_shapes), set(tensors)
    if expected != found:
        raise WeightsError(
            f"The tensors do not fit the network of {card.name!r}: "
            f"missing {sorted(expected - found)[:5]}, superfluous {sorted(found - expected)[:5]}."
        )


def _check_tensor(name: str, values: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    if values.shape != shape or values.dtype != np.float32:
        raise WeightsError(
            f"Tensor {name!r}: expected float32 of shape {shape}, "
            f"but got {values.dtype} of shape {values.shape}."
        )
    if not np.isfinite(values).all():
        raise WeightsError(f"Tensor {name!r} holds values that are not finite.")
