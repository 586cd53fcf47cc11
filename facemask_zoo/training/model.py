"""The network in PyTorch as it is trained: with batch normalisation, folded away on export."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facemask_zoo.architectures import DetectorNetwork
from facemask_zoo.backends.torch_graph import compute
from facemask_zoo.errors import UnsupportedOperationError, WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.program import SUBNORMAL_LIMIT, Tensors
from facemask_zoo.ssd import Convolution, Network, build
from facemask_zoo.ssd.network import SCORES_NAME
from facemask_zoo.training.normalised import (
    BranchedConvolution,
    NormalisedConvolution,
    absorb,
    statistics,
)

_PRIOR_SCORE = 0.01
_HEAD_STD = 0.01


class Trainable(nn.Module):
    """A detector with batch normalisation, which answers with logits.

    ``forward`` gives raw box offsets (N, A, 4) and scores before the sigmoid (N, A, C). Every layer
    is a submodule with the name that the convolution has in the file.

    Attributes:
        classes: Labels of the score columns.
        layers: Names of the convolutions, in order.
        score_layers: Names of those that give the scores.
    """

    classes: tuple[str, ...]
    layers: tuple[str, ...]
    score_layers: frozenset[str]

    def export(self, score_shift: float = 0.0) -> dict[str, NDArray[np.float32]]:
        """The canonical tensors, batch normalisation folded in double precision.

        Args:
            score_shift: Added to every score before the sigmoid.

        Raises:
            WeightsError: A weight is not finite: training has diverged.
        """
        arrays = {}
        for name in self.layers:
            weight, bias = _folded(self.get_submodule(name))
            if name in self.score_layers:
                bias = bias + score_shift
            arrays[f"{name}.weight"] = _canonical(weight, f"{name}.weight")
            arrays[f"{name}.bias"] = _canonical(bias, f"{name}.bias")
        return arrays

    def start_from(self, tensors: Tensors, classes: tuple[str, ...]) -> None:
        """Start from the canonical tensors of a network with the same layers.

        Classes are matched by label; one that the tensors do not know starts afresh.
        :meth:`calibrate` has to follow before the model is trained.

        Args:
            tensors: Canonical tensors by name.
            classes: Labels of their score columns.

        Raises:
            WeightsError: A tensor is missing or does not fit.
        """
        for name in self.layers:
            module = self.get_submodule(name)
            names = (f"{name}.weight", f"{name}.bias")
            weight, bias = (_named(tensors, each) for each in names)
            if isinstance(module, NormalisedConvolution):
                _check_shape(names[0], weight, module.convolution.weight)
                module.unfold(weight, bias)
                continue
            columns = (classes, self.classes) if name in self.score_layers else ((), ())
            _copy_rows(names[0], weight, module.weight, columns)
            _copy_rows(names[1], bias, module.bias, columns)

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Give the normalisations the statistics of real pictures; the outputs stay the same.

        Folded weights need it: training normalises by the batch, which would change everything.

        Args:
            batches: (N, 3, S, S) network inputs.
        """
        norms = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        self.eval()
        with statistics(norms) as moments:
            for batch in batches:
                self(batch)
        for norm, found in zip(norms, moments, strict=True):
            mean, square = torch.stack(found).mean(0)
            absorb(norm, mean, (square - mean**2).clamp(min=0))


class SSD(Trainable):
    """The detector; its `state_dict` has the names of the canonical tensors.

    Args:
        network: What to build. Weights start as PyTorch initialises them.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.classes = network.classes
        self.layers = tuple(layer.name for layer in network.convolutions)
        heads = (network.head(index, "cls") for index in range(len(network.levels)))
        self.score_layers = frozenset(last.name for _, last in heads)
        for layer in network.convolutions:
            convolution = nn.Conv2d(layer.inputs, layer.outputs, 3, padding=layer.padding)
            self.add_module(layer.name, convolution)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the network.

        Args:
            images: (N, 3, S, S) RGB, 0..1.

        Returns:
            Raw box offsets (N, A, 4) and scores (N, A, C).
        """
        return build(self.network, images, self)

    def pool(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """2x2 max pool, rounding up."""
        return functional.max_pool2d(x, 2, ceil_mode=True)

    def convolve(self, x: torch.Tensor, layer: Convolution) -> torch.Tensor:
        """The module of that name, and ReLU."""
        y: torch.Tensor = self.get_submodule(layer.name)(x)
        return functional.relu(y) if layer.relu else y

    def flatten(self, x: torch.Tensor, columns: int, name: str) -> torch.Tensor:
        """Rows ordered by y, x, anchor."""
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, columns)

    def sigmoid(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """Logistic function."""
        return torch.sigmoid(x)

    def concatenate(self, parts: Sequence[torch.Tensor], name: str) -> torch.Tensor:
        """Join along the anchors."""
        return torch.cat(list(parts), dim=1)


class TrainableSSD(SSD):
    """An :class:`SSD` with batch normalisation before every ReLU, which answers with logits.

    ``forward`` gives raw box offsets (N, A, 4) and scores before the sigmoid (N, A, C).

    Args:
        network: What to build.
    """

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        for layer in network.convolutions:
            if layer.relu:
                convolution = nn.Conv2d(
                    layer.inputs, layer.outputs, 3, padding=layer.padding, bias=False
                )
                setattr(self, layer.name, NormalisedConvolution(convolution))
            else:
                _initialise_head(self.get_submodule(layer.name), layer.name in self.score_layers)

    def sigmoid(self, x: Tensor, name: str) -> Tensor:
        """Nothing: the loss is more precise on logits."""
        return x


class TrainableGraph(Trainable):
    """Any detector's graph, each convolution but the heads followed by batch normalisation.

    Convolutions of more than one cell have branches beside them (see
    :class:`~facemask_zoo.training.normalised.BranchedConvolution`).

    Args:
        graph: What to build. Its outputs are named as those of ``facemask_zoo.ssd``.
        classes: Labels of the score columns.
        branches: Whether convolutions have branches.

    Raises:
        UnsupportedOperationError: It holds layers with weights that are no convolutions.
    """

    def __init__(self, graph: Graph, classes: tuple[str, ...], *, branches: bool = True) -> None:
        super().__init__()
        self.graph = graph
        self.classes = classes
        self.layers = tuple(each.name for each in graph.of_kind(ops.Convolution))
        self.score_layers = frozenset(_last_convolutions(graph, SCORES_NAME))
        heads = {head for name in graph.outputs for head in _last_convolutions(graph, name)}
        for operation in graph.operations:
            if isinstance(operation, ops.Convolution):
                inputs = graph.input_shapes(operation)[0][0]
                layer = _layer(operation, inputs, operation.name in heads, branches)
                self.add_module(operation.name, layer)
            elif operation.parameters(graph.input_shapes(operation)):
                raise UnsupportedOperationError("training", operation.kind, operation.name)
        for name in sorted(heads):
            _initialise_head(self.get_submodule(name), name in self.score_layers)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the network.

        Args:
            images: (N, 3, H, W) RGB, 0..1.

        Returns:
            The graph's outputs in order: of a detector, raw box offsets (N, A, 4) and scores before
            the sigmoid (N, A, C).
        """
        values = {self.graph.input: images}
        for operation in self.graph.operations:
            inputs = [values[name] for name in operation.inputs]
            if isinstance(operation, ops.Convolution):
                values[operation.name] = self.get_submodule(operation.name)(inputs[0])
            elif isinstance(operation, ops.Sigmoid) and operation.name == SCORES_NAME:
                values[operation.name] = inputs[0]
            else:
                values[operation.name] = compute(operation, inputs)
        return tuple(values[name] for name in self.graph.outputs)


def make_trainable(network: DetectorNetwork) -> Trainable:
    """A detector as it is trained, with random weights."""
    if isinstance(network, Network):
        return TrainableSSD(network)
    return TrainableGraph(network.graph, network.classes)


def _last_convolutions(graph: Graph, output: str) -> set[str]:
    """Names of the convolutions from which an output is reached without another one."""
    found, open_names = set(), [output]
    while open_names:
        operation = graph.by_name.get(open_names.pop())
        if isinstance(operation, ops.Convolution):
            found.add(operation.name)
        elif operation is not None:
            open_names += operation.inputs
    return found


def _layer(operation: ops.Convolution, inputs: int, head: bool, branches: bool) -> nn.Module:
    top, left, bottom, right = operation.padding
    if (top, left) != (bottom, right):
        raise UnsupportedOperationError("training", "uneven padding", operation.name)
    convolution = nn.Conv2d(
        inputs,
        operation.filters,
        operation.kernel,
        operation.strides,
        (top, left),
        operation.dilations,
        operation.groups,
        bias=head,
    )
    if head:
        return convolution
    keeps_size = (top, left) == tuple(size // 2 for size in operation.reach)
    several = max(operation.kernel) > 1 and keeps_size and operation.dilations == (1, 1)
    kind = BranchedConvolution if branches and several else NormalisedConvolution
    return kind(convolution)


def _initialise_head(module: nn.Module, scores: bool) -> None:
    """Small weights; scores start near the share of anchors that see a face."""
    assert isinstance(module, nn.Conv2d)
    assert module.bias is not None
    nn.init.normal_(module.weight, std=_HEAD_STD)
    nn.init.constant_(module.bias, math.log(_PRIOR_SCORE / (1 - _PRIOR_SCORE)) if scores else 0.0)


def _folded(module: nn.Module) -> tuple[Tensor, Tensor]:
    if isinstance(module, NormalisedConvolution):
        return module.folded()
    assert isinstance(module, nn.Conv2d)
    assert module.bias is not None
    return module.weight.detach().double(), module.bias.detach().double()


def _canonical(tensor: Tensor, name: str) -> NDArray[np.float32]:
    array = tensor.cpu().numpy().astype(np.float32)
    if not np.isfinite(array).all():
        raise WeightsError(f"{name} is not finite: training has diverged.")
    array[np.abs(array) < SUBNORMAL_LIMIT] = 0
    return np.ascontiguousarray(array)


def _named(tensors: Tensors, name: str) -> Tensor:
    if name not in tensors:
        raise WeightsError(f"The tensors to start from hold no {name}.")
    return torch.from_numpy(np.array(tensors[name], np.float32))


def _check_shape(name: str, found: Tensor, expected: Tensor) -> None:
    if found.shape != expected.shape:
        raise WeightsError(
            f"{name}: expected shape {tuple(expected.shape)}, but got {tuple(found.shape)}."
        )


@torch.no_grad()
def _copy_rows(
    name: str, source: Tensor, target: Tensor, classes: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    """Copy a head's rows; those of the class head, anchor by anchor, where the label is known."""
    old, new = classes
    if old == new:
        _check_shape(name, source, target)
        target.copy_(source)
        return
    rows = source.reshape(-1, len(old), *source.shape[1:])
    kept = target.reshape(-1, len(new), *target.shape[1:])
    _check_shape(name, rows[:, :1], kept[:, :1])
    for column, label in enumerate(new):
        if label in old:
            kept[:, column] = rows[:, old.index(label)]
