"""What readers share: the steps from a file's operations to a program of ours."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import UnsupportedOperationError, WeightsError
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.graph import Names
from facemask_zoo.graph.operations import (
    BatchNorm,
    Convolution,
    HardSigmoid,
    HardSwish,
    Linear,
    Multiply,
    Operation,
    Padding,
    Pair,
    Prelu,
    Shape,
)
from facemask_zoo.graph.program import Program, Tensors
from facemask_zoo.graph.simplify import fold_batch_norm, simplify

Array = NDArray[Any]
AnyOperation = TypeVar("AnyOperation", bound=Operation)

_SIXTH = 1 / 6
_TINY = 1e-6
_NORM_SUFFIX = "_bn"
_NORM_EPSILON = 1e-3
_TORCH_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "mean": "running_mean",
    "variance": "running_var",
}

OPEN_BATCH = -1
"""How files state a batch of any size."""


@dataclasses.dataclass(frozen=True)
class LooseTensors:
    """What a file without a graph holds: tensors by name, which need a card to make sense.

    Attributes:
        tensors: By the names of the file.
        card: JSON text of the card that the file carries; empty if there is none.
        sha256: Digest of the file, where a published one may be known by it.
    """

    tensors: Tensors
    card: str = ""
    sha256: str = ""


@contextlib.contextmanager
def damage_reported(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a damaged file leads to into our own error.

    Args:
        path: The file, for the message.
        kind: What it should be.

    Raises:
        WeightsError: Anything went wrong.
    """
    try:
        yield
    except WeightsError as error:
        error.name_file(path)
        raise
    except Exception as error:  # parsers and NumPy raise many unrelated types on damaged files
        raise WeightsError(f"{path}: not a whole {kind}: {error!r}.") from error


_OPEN_SIZE: contextvars.ContextVar[Pair | None] = contextvars.ContextVar("open", default=None)


@contextlib.contextmanager
def open_inputs(size: Pair | None) -> Iterator[None]:
    """Inputs whose height and width a file leaves open are read as of this size, here."""
    token = _OPEN_SIZE.set(size)
    try:
        yield
    finally:
        _OPEN_SIZE.reset(token)


def chosen_size() -> Pair | None:
    """Height and width for open inputs, if the user named them."""
    return _OPEN_SIZE.get()


def settled_shape(name: str, sizes: Sequence[int | None]) -> Shape:
    """The shape of an input of which a file may leave height and width open.

    Args:
        name: Of the input.
        sizes: Without the batch, channels first or last; None, 0 or less where they are open.

    Raises:
        WeightsError: They are open, and nothing says what they shall be; or others are.
    """
    sides = (1, 2) if len(sizes) == 3 and (sizes[0] or 0) > 0 else (0, 1)
    size, settled = chosen_size(), list(sizes)
    if size is not None and len(sizes) == 3:
        for axis, length in zip(sides, size, strict=True):
            settled[axis] = length if (settled[axis] or 0) < 1 else settled[axis]
    shape = tuple(length for length in settled if length is not None and length > 0)
    if len(shape) < len(sizes) or not sizes:
        raise WeightsError(
            f"Input {name!r:.100} has the open shape {list(sizes)}. Its height and width can be "
            "named, as in model.onnx@480x640; nothing else but the batch may be open."
        )
    return shape


def reshape_target(wanted: Sequence[int], shape: Shape) -> Shape | None:
    """What a file's shape means for one sample; None if it moves the batch.

    Args:
        wanted: With the batch. -1 may be the batch, or what is left; 0 is the same axis of the
            source.
        shape: Of the source, without the batch.
    """
    if len(wanted) < 2 or wanted[0] not in (0, 1, OPEN_BATCH):
        return None
    tail = [
        shape[i - 1] if size == 0 and 1 <= i <= len(shape) else size
        for i, size in enumerate(wanted)
    ][1:]
    open_axes = tail.count(-1)
    total, known = math.prod(shape), math.prod(size for size in tail if size != -1)
    if open_axes > 1 or min(tail) < -1 or known < 1 or total % known:
        return None
    target = tuple(total // known if size == -1 else size for size in tail)
    return target if math.prod(target) == total else None


def fold_norms(
    tensors: Tensors, epsilons: Mapping[str, float] | None = None
) -> dict[str, NDArray[np.float32]]:
    """Tensors of PyTorch's modules, with batch normalisation folded into what it follows.

    Args:
        tensors: ``<layer>.<part>``; the normalisation of a layer is called ``<layer>_bn``.
        epsilons: By normalisation; AIZOO's and Keras's where one is not named.

    Raises:
        WeightsError: A normalisation lacks a tensor, or does not fit its layer.
    """
    given, folded = epsilons or {}, dict(tensors)
    for name, weight in tensors.items():
        layer, _, part = name.rpartition(".")
        norm = layer + _NORM_SUFFIX
        if part != "weight" or f"{norm}.running_var" not in tensors:
            continue
        values = _norm_of(folded, norm, weight.shape[:1])
        bias, epsilon = tensors.get(f"{layer}.bias"), given.get(norm, _NORM_EPSILON)
        if bias is not None and bias.shape != weight.shape[:1]:
            raise WeightsError(f"{layer}: weight {weight.shape} and bias {bias.shape} do not fit.")
        both = fold_batch_norm(weight, bias, values, epsilon)
        folded |= dict(zip((name, f"{layer}.bias"), both, strict=True))
    return folded


def _norm_of(
    tensors: dict[str, NDArray[np.float32]], norm: str, shape: Shape
) -> dict[str, NDArray[np.float32]]:
    """Take the tensors of a normalisation."""
    found = {ours: tensors.pop(f"{norm}.{part}", None) for ours, part in _TORCH_NORM.items()}
    values = {ours: each for ours, each in found.items() if each is not None}
    if len(values) < len(found) or any(each.shape != shape for each in values.values()):
        raise WeightsError(f"The batch normalisation {norm!r} does not fit its layer.")
    return values


class Importer:
    """Builds a graph out of the operations of a file; values are names of the graph.

    Args:
        format_name: For errors.
        input_name: Name of the input in the file.
        shape: Its shape, without the batch, channels first.
    """

    def __init__(self, format_name: str, input_name: str, shape: Shape) -> None:
        self.format = format_name
        self.names = Names()
        self.builder = GraphBuilder(self.names[input_name], shape)
        self.tensors: dict[str, NDArray[np.float32]] = {}

    @property
    def input(self) -> str:
        """The graph's input."""
        return self.builder.input

    def shape(self, value: str) -> Shape:
        """Shape of a value, without the batch."""
        return self.builder.shapes[value]

    def unsupported(self, operation: str, where: str = "") -> UnsupportedOperationError:
        """The error for an operation, or a setting of one, that graphs do not have."""
        return UnsupportedOperationError(self.format, operation, where)

    def add(self, kind: type[AnyOperation], name: str, *inputs: str, **attributes: Any) -> str:
        """Append an operation without tensors; `name` is the file's."""
        return self.builder.add(kind, self._fresh(name), *inputs, **attributes)

    def convolution(
        self,
        name: str,
        x: str,
        weight: Array,
        bias: Array | None,
        *,
        strides: Pair = (1, 1),
        padding: Padding = (0, 0, 0, 0),
        dilations: Pair = (1, 1),
        groups: int = 1,
    ) -> str:
        """Append a convolution.

        Args:
            name: Its name in the file.
            x: What it sees, (C, H, W).
            weight: (filters, channels / groups, kernel height, kernel width).
            bias: (filters,); None for zeros.
            strides: Steps down and to the right.
            padding: Top, left, bottom, right.
            dilations: Distance between taps.
            groups: Groups of channels.

        Raises:
            WeightsError: The weight does not fit.
        """
        if weight.ndim != 4:
            raise WeightsError(f"{name}: expected a 4-dimensional kernel, got {weight.shape}.")
        value = self.builder.add(
            Convolution,
            self._fresh(name),
            x,
            filters=weight.shape[0],
            kernel=(weight.shape[2], weight.shape[3]),
            strides=strides,
            padding=padding,
            dilations=dilations,
            groups=groups,
        )
        return self._with_tensors(value, weight=weight, bias=_or_zeros(bias, weight))

    def linear(self, name: str, x: str, weight: Array, bias: Array | None) -> str:
        """Append a linear layer; `weight` is (features, inputs), `bias` (features,) or None."""
        if weight.ndim != 2:
            raise WeightsError(f"{name}: expected a 2-dimensional weight, got {weight.shape}.")
        value = self.builder.add(Linear, self._fresh(name), x, features=weight.shape[0])
        return self._with_tensors(value, weight=weight, bias=_or_zeros(bias, weight))

    def biased(self, name: str, x: str, bias: Array) -> str | None:
        """The linear layer that gives `x`, again with a bias; None if no layer without one does."""
        before = self.maker(x)
        if not isinstance(before, Linear) or bias.shape != (before.features,):
            return None
        weight, old = (self.tensors[f"{x}.{part}"] for part in ("weight", "bias"))
        return None if old.any() else self.linear(name, before.inputs[0], weight, bias)

    def batch_norm(self, name: str, x: str, norm: Mapping[str, Array], epsilon: float) -> str:
        """Append a normalisation by ``gamma``, ``beta``, ``mean`` and ``variance``, (C,) each."""
        value = self.builder.add(BatchNorm, self._fresh(name), x, epsilon=epsilon)
        return self._with_tensors(value, **norm)

    def scaled(self, name: str, x: str, scale: Array | None, shift: Array | None) -> str:
        """Append ``x * scale + shift``; each a number, or one for each channel; None for nothing.

        It is written as a normalisation, which is then folded exactly: its variance is 1.
        """
        channels = self.shape(x)[0]
        ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        norm = {
            "gamma": ones if scale is None else self._for_channels(name, scale, channels),
            "beta": zeros if shift is None else self._for_channels(name, shift, channels),
            "mean": zeros,
            "variance": ones,
        }
        return self.batch_norm(name, x, norm, 0.0)

    def product(self, name: str, left: str, right: str) -> str:
        """Append a product; that of a value and its own hard sigmoid is a hard swish."""
        for value, gate in ((left, right), (right, left)):
            before = self.maker(gate)
            if isinstance(before, HardSigmoid) and before.inputs == (value,):
                return self.add(HardSwish, name, value)
        return self.add(Multiply, name, left, right)

    def hard_sigmoid(self, name: str, x: str, alpha: float, beta: float) -> str:
        """Append ``min(max(alpha x + beta, 0), 1)``.

        Any is ours after a scale: alpha x + beta = (6 alpha x + 6 beta - 3) / 6 + 1 / 2.
        """
        if abs(alpha - _SIXTH) > _TINY or abs(beta - 0.5) > _TINY:
            x = self.scaled(f"{name}_scaled", x, np.array(6 * alpha), np.array(6 * beta - 3))
        return self.add(HardSigmoid, name, x)

    def maker(self, value: str) -> Operation | None:
        """The operation that gives a value; None if it is the input."""
        return next((each for each in self.builder.operations if each.name == value), None)

    def prelu(self, name: str, x: str, slope: Array) -> str:
        """Append a ReLU with a slope for each channel."""
        value = self.builder.add(Prelu, self._fresh(name), x)
        slopes = self._for_channels(name, slope, self.shape(x)[0])
        return self._with_tensors(value, slope=slopes)

    def spatial(self, value: str) -> Pair:
        """Height and width of a feature map.

        Raises:
            WeightsError: It is none.
        """
        shape = self.shape(value)
        if len(shape) != 3:
            raise WeightsError(f"{value}: expected a feature map, but got shape {shape}.")
        return (shape[1], shape[2])

    def program(self, outputs: Sequence[str], card: str = "", names: Sequence[str] = ()) -> Program:
        """What was built, with everything folded that can be.

        Args:
            outputs: Values that the network gives.
            card: JSON text of the card in the file.
            names: What the file calls them, in the same order. A value goes by its own name where
                the file hands it on under another, as casts and dropouts do: it gets that one.

        Raises:
            WeightsError: A tensor is missing or not finite, or there is no such output.
        """
        graph = self.builder.finish(*outputs)
        tensors = {name: self.tensors[name] for name in graph.tensor_shapes}
        program = simplify(Program(graph, tensors, card))
        found = {
            value: Names.legal(name)
            for value, name in zip(outputs, names, strict=False)
            if value != graph.input and outputs.count(value) == 1
        }
        shapes = program.graph.shapes
        new = {value: name for value, name in found.items() if name not in shapes}
        return program.renamed(new) if len({*new.values()}) == len(new) else program

    def _fresh(self, name: str) -> str:
        return self.names.fresh(name)

    def _with_tensors(self, value: str, **parts: Array) -> str:
        for part, values in parts.items():
            self.tensors[f"{value}.{part}"] = np.asarray(values, np.float32)
        return value

    def _for_channels(self, name: str, values: Array, channels: int) -> NDArray[np.float32]:
        """One number for each channel, of an array that broadcasts to just that."""
        flat = np.asarray(values, np.float32).reshape(-1)
        if flat.size not in (1, channels):
            raise self.unsupported(f"arithmetic with a constant of shape {values.shape}", name)
        return np.array(np.broadcast_to(flat, channels))


def axis_of(axis: int, rank: int) -> int:
    """An axis of a value with its batch, counted from the start.

    Raises:
        WeightsError: The value has no such axis.
    """
    if not -rank <= axis < rank:
        raise WeightsError(f"There is no axis {axis} among {rank}.")
    return axis % rank


def _or_zeros(bias: Array | None, weight: Array) -> Array:
    return np.zeros(weight.shape[0], np.float32) if bias is None else bias.reshape(-1)
