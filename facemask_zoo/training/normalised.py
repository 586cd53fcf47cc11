"""Convolutions with batch normalisation, of one branch or several, that fold into one."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class NormalisedConvolution(nn.Module):
    """A convolution without bias, followed by batch normalisation.

    Args:
        convolution: Its weight is initialised here.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = nn.BatchNorm2d(convolution.out_channels)
        fan_out = convolution.out_channels * math.prod(convolution.kernel_size)
        nn.init.normal_(convolution.weight, std=math.sqrt(2 / (fan_out / convolution.groups)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H', W')."""
        y: Tensor = self.norm(self.convolution(x))
        return y

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias, in double precision, of the one convolution that does the same."""
        scale, shift = _scale_and_shift(self.norm)
        return self.convolution.weight.detach().double() * scale[:, None, None, None], shift

    @torch.no_grad()
    def unfold(self, weight: Tensor, bias: Tensor) -> None:
        """Take over a convolution; the normalisation becomes the identity but for the bias."""
        self.convolution.weight.copy_(weight)
        self.norm.running_mean.zero_()
        self.norm.running_var.fill_(1 - self.norm.eps)
        self.norm.weight.fill_(1)
        self.norm.bias.copy_(bias)


class BranchedConvolution(NormalisedConvolution):
    """A normalised convolution beside which one of 1 x 1 and the identity add up.

    Each branch has a normalisation of its own (RepVGG, arXiv:2101.03697). Together they are one
    convolution, which is what is exported. A depthwise convolution has no branch of 1 x 1: under
    its normalisation, that would be the identity. Where channels change, there is no identity.

    Args:
        convolution: The main branch: an odd kernel, padded to keep the size.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(convolution)
        inputs, outputs = convolution.in_channels, convolution.out_channels
        self._strides = (int(convolution.stride[0]), int(convolution.stride[1]))
        depthwise = convolution.groups == inputs > 1
        point = nn.Conv2d(inputs, outputs, 1, groups=convolution.groups, bias=False)
        self.point = None if depthwise else NormalisedConvolution(point)
        self.identity = nn.BatchNorm2d(inputs) if inputs == outputs else None

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        # Strided convolutions of 1 x 1 can crash in oneDNN with channels last (PyTorch 2.13).
        rows, columns = self._strides
        seen = x[:, :, ::rows, ::columns]
        if self.point is not None:
            y = y + self.point(seen)
        if self.identity is not None:
            y = y + self.identity(seen)
        return y

    def folded(self) -> tuple[Tensor, Tensor]:
        weight, bias = super().folded()
        row, column = (size // 2 for size in weight.shape[2:])
        if self.point is not None:
            point, shift = self.point.folded()
            weight[:, :, row, column] += point[:, :, 0, 0]
            bias = bias + shift
        if self.identity is not None:
            scale, shift = _scale_and_shift(self.identity)
            channels = torch.arange(len(scale))
            weight[channels, channels % weight.shape[1], row, column] += scale
            bias = bias + shift
        return weight, bias

    @torch.no_grad()
    def unfold(self, weight: Tensor, bias: Tensor) -> None:
        """Take over a convolution; the other branches start from zero."""
        super().unfold(weight, bias)
        for norm in (self.point and self.point.norm, self.identity):
            if norm is not None:
                norm.weight.zero_()
                norm.bias.zero_()


@torch.no_grad()
def absorb(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Normalise by measured statistics without changing what is computed.

    Args:
        norm: What to change.
        mean: (channels,) mean of its input.
        variance: (channels,) its variance.
    """
    old_scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    norm.bias.add_((mean - norm.running_mean) * old_scale)
    norm.weight.copy_(old_scale * (variance + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


@contextlib.contextmanager
def statistics(norms: list[nn.BatchNorm2d]) -> Iterator[list[list[Tensor]]]:
    """Collect mean and mean square of what enters each normalisation, (2, channels) per batch."""
    moments: list[list[Tensor]] = [[] for _ in norms]

    def collect(found: list[Tensor], inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].float()
        found.append(torch.stack([x.mean((0, 2, 3)), x.square().mean((0, 2, 3))]))

    hooks = [
        norm.register_forward_pre_hook(lambda _, inputs, to=found: collect(to, inputs))
        for norm, found in zip(norms, moments, strict=True)
    ]
    try:
        yield moments
    finally:
        for hook in hooks:
            hook.remove()


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a normalisation multiplies by and adds, in double precision."""
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.detach().double() - norm.running_mean.double() * scale
