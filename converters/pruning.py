"""Lossless pruning of a model: its graph loses dead channels, and its card says what is left."""

from __future__ import annotations

import dataclasses

from facemask_zoo.arguments import check_count
from facemask_zoo.graph import pruning
from facemask_zoo.graph.program import Tensors
from facemask_zoo.model import Model
from facemask_zoo.ssd.network import Network


def prune(model: Model, multiple: int = 1) -> Model:
    """Remove every channel that is dead for all pictures; see :func:`facemask_zoo.graph.pruning`.

    Args:
        model: What to prune.
        multiple: Channel counts stay multiples of this where they were, which some runtimes need
            to be fast; 1 removes all that can go.

    Returns:
        A model of its own network; its card names no files. A network without an architecture, as
        users bring, and a single-shot detector lose every dead channel. The other architectures
        have no width for each layer: their channels stay, dead or not.

    Raises:
        InvalidArgumentError: `multiple` is not a positive integer.
    """
    check_count("multiple to prune to", multiple)
    card = model.card.portable()
    if not isinstance(card.architecture, Network | None):
        return dataclasses.replace(model.without_subnormals(), card=card)
    program = pruning.prune(model.program, multiple, nonnegative_input=_sees_no_negatives(model))
    if card.architecture is None:
        return Model(card, program.tensors, program.graph)
    narrowed = _narrowed(card.architecture, program.tensors)
    return Model(dataclasses.replace(card, architecture=narrowed), program.tensors)


def _sees_no_negatives(model: Model) -> bool:
    """Whether its input is never negative; only the zoo's own cards can promise that."""
    if model.card.architecture is None:
        return False
    return all(mean <= 0 for mean in model.card.preprocessing.mean)


def _narrowed(network: Network, tensors: Tensors) -> Network:
    """The network with the widths that its tensors have."""

    def width(layer: str) -> int:
        return len(tensors[f"{layer}.bias"])

    stages = tuple(
        dataclasses.replace(stage, filters=width(layer.name))
        for stage, layer in zip(network.stages, network.backbone, strict=True)
    )
    levels = tuple(
        dataclasses.replace(
            level,
            loc_filters=width(network.head(index, "loc")[0].name),
            cls_filters=width(network.head(index, "cls")[0].name),
        )
        for index, level in enumerate(network.levels)
    )
    return dataclasses.replace(network, stages=stages, levels=levels)
