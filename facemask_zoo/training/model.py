"""The network in PyTorch as it is trained: with batch normalisation, folded away on export."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facemask_zoo.errors import WeightsError
from facemask_zoo.graph.program import SUBNORMAL_LIMIT, Tensors
from facemask_zoo.ssd import Convolution, Network, build

_PRIOR_SCORE = 0.01
_HEAD_STD = 0.01


class NormalisedConvolution(nn.Module):
    """A 3x3 convolution followed by batch normalisation.

    Args:
        layer: Channels and padding.
    """

    def __init__(self, layer: Convolution) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            layer.inputs, layer.outputs, 3, padding=layer.padding, bias=False
        )
        self.norm = nn.BatchNorm2d(layer.outputs)
        nn.init.kaiming_normal_(self.convolution.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H', W')."""
        y: Tensor = self.norm(self.convolution(x))
        return y

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias, in double precision, of the one convolution that does the same."""
        norm = self.norm
        scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = self.convolution.weight.detach().double() * scale[:, None, None, None]
        return weight, norm.bias.detach().double() - norm.running_mean.double() * scale

    @torch.no_grad()
    def unfold(self, weight: Tensor, bias: Tensor) -> None:
        """Take over a convolution; the normalisation becomes the identity but for the bias."""
        self.convolution.weight.copy_(weight)
        self.norm.running_mean.zero_()
        self.norm.running_var.fill_(1 - self.norm.eps)
        self.norm.weight.fill_(1)
        self.norm.bias.copy_(bias)

    @torch.no_grad()
    def absorb(self, mean: Tensor, variance: Tensor) -> None:
        """Normalise by measured statistics without changing what is computed.

        Args:
            mean: (outputs,) mean of the convolution's output.
            variance: (outputs,) its variance.
        """
        norm = self.norm
        old_scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.bias.add_((mean - norm.running_mean) * old_scale)
        norm.weight.copy_(old_scale * (variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


class SSD(nn.Module):
    """The detector; its `state_dict` has the names of the canonical tensors.

    Args:
        network: What to build. Weights start as PyTorch initialises them.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
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
                setattr(self, layer.name, NormalisedConvolution(layer))
            else:
                _initialise_head(self.get_submodule(layer.name), layer.name in self._score_layers)

    @property
    def _score_layers(self) -> set[str]:
        """Names of the layers that give the scores."""
        return {self.network.head(i, "cls")[1].name for i in range(len(self.network.levels))}

    def sigmoid(self, x: Tensor, name: str) -> Tensor:
        """Nothing: the loss is more precise on logits."""
        return x

    def export(self, score_shift: float = 0.0) -> dict[str, NDArray[np.float32]]:
        """The canonical tensors, batch normalisation folded in double precision.

        Args:
            score_shift: Added to every score before the sigmoid.

        Raises:
            WeightsError: A weight is not finite: training has diverged.
        """
        arrays = {}
        for layer in self.network.convolutions:
            weight, bias = _folded(self.get_submodule(layer.name))
            if layer.name in self._score_layers:
                bias = bias + score_shift
            arrays[layer.weight_name] = _canonical(weight, layer.weight_name)
            arrays[layer.bias_name] = _canonical(bias, layer.bias_name)
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
        for layer in self.network.convolutions:
            module = self.get_submodule(layer.name)
            weight, bias = _named(tensors, layer.weight_name), _named(tensors, layer.bias_name)
            if isinstance(module, NormalisedConvolution):
                _check_shape(layer.weight_name, weight, module.convolution.weight)
                module.unfold(weight, bias)
            elif layer.name in self._score_layers:
                columns = (classes, self.network.classes)
                _copy_rows(layer.weight_name, weight, module.weight, columns)
                _copy_rows(layer.bias_name, bias, module.bias, columns)
            else:
                _copy_rows(layer.weight_name, weight, module.weight, ((), ()))
                _copy_rows(layer.bias_name, bias, module.bias, ((), ()))

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Give the normalisations the statistics of real pictures; the outputs stay the same.

        Folded weights need it: training normalises by the batch, which would change everything.

        Args:
            batches: (N, 3, S, S) network inputs.
        """
        layers = [m for m in self.modules() if isinstance(m, NormalisedConvolution)]
        self.eval()
        with _statistics(layers) as moments:
            for batch in batches:
                self(batch)
        for layer, found in zip(layers, moments, strict=True):
            mean, square = torch.stack(found).mean(0)
            layer.absorb(mean, (square - mean**2).clamp(min=0))


@contextlib.contextmanager
def _statistics(layers: list[NormalisedConvolution]) -> Iterator[list[list[Tensor]]]:
    """Collect mean and mean square of what enters each normalisation, (2, outputs) per batch."""
    moments: list[list[Tensor]] = [[] for _ in layers]

    def collect(found: list[Tensor], inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].float()
        found.append(torch.stack([x.mean((0, 2, 3)), x.square().mean((0, 2, 3))]))

    hooks = [
        layer.norm.register_forward_pre_hook(lambda _, inputs, to=found: collect(to, inputs))
        for layer, found in zip(layers, moments, strict=True)
    ]
    try:
        yield moments
    finally:
        for hook in hooks:
            hook.remove()


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
