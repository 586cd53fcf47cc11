"""Lossless pruning: filters that can change no output are removed, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.arguments import check_count
from facemask_zoo.model import Model
from facemask_zoo.ssd.network import Convolution, Level, Network, build

_PICTURE = "picture"

Mask = NDArray[np.bool_]


def prune(model: Model, multiple: int = 1) -> Model:
    """Remove every filter that is dead for all pictures, until none is left.

    A filter goes if its output is always zero (no positive weight and no positive bias: what it
    sees is never negative, and a ReLU follows), or if every layer that sees it has zero weights for
    it. Values below ``SUBNORMAL_LIMIT`` count as zero. The outputs stay the same up to the order of
    additions.

    A filter of constant positive output stays, although it depends on no picture: zero padding
    makes its contribution smaller at the border, which no bias could imitate.

    Args:
        model: What to prune.
        multiple: Channel counts are filled up with zeros to a multiple of this, which some runtimes
            need to be fast; 1 fills up nothing.

    Returns:
        A model of its own network; its card names no files.

    Raises:
        InvalidArgumentError: `multiple` is not a positive integer.
    """
    check_count("multiple to prune to", multiple)
    model = model.without_subnormals()
    wiring = _Wiring()
    build(model.card.network, _PICTURE, wiring)
    alive = _alive_filters(model, wiring)
    network = _narrowed(
        model.card.network,
        {name: _rounded_up(int(mask.sum()), multiple) for name, mask in alive.items()},
    )
    tensors: dict[str, NDArray[np.float32]] = {}
    for layer in network.convolutions:
        kept, seen = alive[layer.name], alive[wiring.sources[layer.name]]
        weight = model.tensors[layer.weight_name][kept][:, seen]
        tensors[layer.weight_name] = _filled(weight, layer.weight_shape)
        bias = model.tensors[layer.bias_name][kept]
        tensors[layer.bias_name] = _filled(bias, (layer.outputs,))
    card = dataclasses.replace(model.card, architecture=network).portable()
    return Model(card, tensors)


class _Wiring:
    """Which layer each convolution sees; a tensor is the name of the convolution behind it."""

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}
        self.hidden: list[str] = []

    def pool(self, x: str, name: str) -> str:
        return x

    def convolve(self, x: str, layer: Convolution) -> str:
        self.sources[layer.name] = x
        if layer.relu:
            self.hidden.append(layer.name)
        return layer.name

    def flatten(self, x: str, columns: int, name: str) -> str:
        return x

    def sigmoid(self, x: str, name: str) -> str:
        return x

    def concatenate(self, parts: Sequence[str], name: str) -> str:
        return name


def _alive_filters(model: Model, wiring: _Wiring) -> dict[str, Mask]:
    """Which filters of each layer matter; those of the picture and of the outputs all do."""
    widths = {layer.name: layer.outputs for layer in model.card.network.convolutions}
    widths[_PICTURE] = model.card.network.backbone[0].inputs
    alive = {name: np.ones(width, np.bool_) for name, width in widths.items()}
    changed = True
    while changed:
        changed = False
        for name in wiring.hidden:
            mask = alive[name] & _speaks(model, wiring, alive, name)
            mask &= _is_heard(model, wiring, alive, name)
            changed |= bool((mask != alive[name]).any())
            alive[name] = mask
    return alive


def _speaks(model: Model, wiring: _Wiring, alive: Mapping[str, Mask], name: str) -> Mask:
    """Filters of a layer whose output may be other than zero."""
    weight = model.tensors[f"{name}.weight"][:, alive[wiring.sources[name]]]
    positive = (weight > 0).any(axis=(1, 2, 3))
    return np.asarray(positive | (model.tensors[f"{name}.bias"] > 0))


def _is_heard(model: Model, wiring: _Wiring, alive: Mapping[str, Mask], name: str) -> Mask:
    """Filters of a layer that a living filter after it has a weight for."""
    heard = np.zeros(len(alive[name]), np.bool_)
    for listener, source in wiring.sources.items():
        if source == name:
            weight = model.tensors[f"{listener}.weight"][alive[listener]]
            heard |= (weight != 0).any(axis=(0, 2, 3))
    return heard


def _narrowed(network: Network, widths: Mapping[str, int]) -> Network:
    """The network with other numbers of filters in its hidden layers, by layer name."""
    stages = tuple(
        dataclasses.replace(stage, filters=widths[layer.name])
        for stage, layer in zip(network.stages, network.backbone, strict=True)
    )

    def narrowed(index: int, level: Level) -> Level:
        hidden = {branch: network.head(index, branch)[0].name for branch in ("loc", "cls")}
        return dataclasses.replace(
            level, loc_filters=widths[hidden["loc"]], cls_filters=widths[hidden["cls"]]
        )

    levels = tuple(narrowed(index, level) for index, level in enumerate(network.levels))
    return dataclasses.replace(network, stages=stages, levels=levels)


def _rounded_up(count: int, multiple: int) -> int:
    """`count` as a multiple; at least one, since a layer without filters is no layer."""
    return max(1, -(-count // multiple)) * multiple


def _filled(values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """`values` with zeros after them in every dimension, up to `shape`."""
    missing = [(0, want - have) for want, have in zip(shape, values.shape, strict=True)]
    return np.pad(values, missing)
