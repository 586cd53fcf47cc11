"""Which network a bag of tensors belongs to, for files that store no graph."""

from __future__ import annotations

import dataclasses

from facemask_zoo.cards import MAX_NAME_LENGTH, ModelCard, list_models, load_card
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Tensors
from facemask_zoo.ssd import Level, Network
from facemask_zoo.ssd.network import MAX_CLASSES

_TEMPLATE = "aizoo-260"


def card_from_tensors(tensors: Tensors, name: str, input_size: int | None = None) -> ModelCard:
    """Describe tensors with canonical names.

    They are taken to be those of a model of the zoo if all names and shapes are; otherwise anchors
    and pooling are taken to be AIZOO's.

    Args:
        tensors: Canonical tensors of a model of the zoo, or of the SSD family with AIZOO's eight
            stages and five levels.
        name: Name for the card.
        input_size: Pixels; what those anchors were made for unless given.

    Raises:
        WeightsError: A layer is missing, or the head widths contradict the anchors.
    """
    known = _card_of_the_zoo(tensors)
    network = known.network if known else _network_like_aizoo(tensors)
    nms = (known or load_card(_TEMPLATE)).nms
    if input_size:
        network = network.with_input_size(input_size)
    name = "".join(letter if letter.isprintable() else "_" for letter in name)[:MAX_NAME_LENGTH]
    return ModelCard(name=name, summary=f"Read from {name}.", network=network, nms=nms)


def _card_of_the_zoo(tensors: Tensors) -> ModelCard | None:
    """The card of the first model that has just these tensors, AIZOO's before any other."""
    shapes = {name: values.shape for name, values in tensors.items()}
    for model in (_TEMPLATE, *list_models()):
        card = load_card(model)
        if card.network.tensor_shapes == shapes:
            return card
    return None


def _network_like_aizoo(tensors: Tensors) -> Network:
    template = load_card(_TEMPLATE).network
    stages = tuple(
        dataclasses.replace(stage, filters=_outputs(tensors, f"conv2d_{index}"))
        for index, stage in enumerate(template.stages)
    )
    levels = tuple(_level(tensors, index, level) for index, level in enumerate(template.levels))
    columns = _outputs(tensors, "cls_0_conv") // levels[0].anchors_per_cell
    if columns > MAX_CLASSES:
        raise WeightsError(f"The weights claim {columns} classes.")
    return dataclasses.replace(
        template, classes=class_labels(columns), stages=stages, levels=levels
    )


def class_labels(count: int) -> tuple[str, ...]:
    """Labels of `count` score columns, for files that do not name them."""
    known = ("mask", "no_mask", "incorrect")
    return tuple(known[i] if i < len(known) else f"class_{i}" for i in range(count))


def _level(tensors: Tensors, index: int, template: Level) -> Level:
    return dataclasses.replace(
        template,
        loc_filters=_outputs(tensors, f"loc_{index}_insert_conv2d"),
        cls_filters=_outputs(tensors, f"cls_{index}_insert_conv2d"),
    )


def _outputs(tensors: Tensors, layer: str) -> int:
    weight = tensors.get(f"{layer}.weight")
    if weight is None or weight.ndim != 4:
        raise WeightsError(f"The weights hold no 4-dimensional tensor {layer}.weight.")
    return int(weight.shape[0])
