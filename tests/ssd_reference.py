"""The single-shot detector in float64 NumPy, without the graph: a second opinion on the reference.

The zoo compares every framework with :mod:`facemask_zoo.graph.reference`, which runs any graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.ssd.network import Convolution, Network, build

Doubles = NDArray[np.float64]


def forward(
    network: Network,
    tensors: Mapping[str, NDArray[np.floating[Any]]],
    batch: NDArray[np.floating[Any]],
) -> tuple[Doubles, Doubles]:
    """Run the network in double precision.

    Args:
        network: What to run.
        tensors: Canonical tensors, by name.
        batch: (N, 3, S, S) RGB, 0..1.

    Returns:
        Raw box offsets (N, A, 4) and scores (N, A, C).
    """
    return build(network, np.asarray(batch, np.float64), _NumpyBuilder(tensors))


class _NumpyBuilder:
    """The five operations on (N, C, H, W) arrays."""

    def __init__(self, tensors: Mapping[str, NDArray[np.floating[Any]]]) -> None:
        self._tensors = tensors

    def pool(self, x: Doubles, name: str) -> Doubles:
        odd = [(0, size % 2) for size in x.shape[2:]]
        padded = np.pad(x, [(0, 0), (0, 0), *odd], constant_values=-np.inf)
        n, c, h, w = padded.shape
        return np.asarray(padded.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5)))

    def convolve(self, x: Doubles, layer: Convolution) -> Doubles:
        weight = self._tensors[layer.weight_name].astype(np.float64)
        bias = self._tensors[layer.bias_name].astype(np.float64)
        p = layer.padding
        padded = np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)])
        height, width = padded.shape[2] - 2, padded.shape[3] - 2
        total = np.zeros((x.shape[0], layer.outputs, height, width))
        for dy in range(3):
            for dx in range(3):
                window = padded[:, :, dy : dy + height, dx : dx + width]
                tap = np.tensordot(weight[:, :, dy, dx], window, axes=(1, 1))
                total += tap.transpose(1, 0, 2, 3)
        total += bias[:, None, None]
        return np.maximum(total, 0) if layer.relu else total

    def flatten(self, x: Doubles, columns: int, name: str) -> Doubles:
        return x.transpose(0, 2, 3, 1).reshape(x.shape[0], -1, columns)

    def sigmoid(self, x: Doubles, name: str) -> Doubles:
        return np.asarray(1 / (1 + np.exp(-x)))

    def concatenate(self, parts: Sequence[Doubles], name: str) -> Doubles:
        return np.concatenate(parts, axis=1)
