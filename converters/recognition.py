"""Which network a bag of tensors belongs to, for files that store no graph."""

from __future__ import annotations

import dataclasses

from facemask_zoo.cards import MAX_NAME_LENGTH, ModelCard, load_card
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Tensors
from facemask_zoo.ssd import Level, Network
from facemask_zoo.ssd.network import MAX_CLASSES

_TEMPLATE = "aizoo-260"


def card_from_tensors(tensors: Tensors, name: str, input_size: int | None = None) -> ModelCard:
    """Describe tensors with canonical names; anchors and pooling are taken to be AIZOO's.

    Args:
        tensors: Canonical tensors of the SSD family with AIZOO's eight stages and five levels.
        name: Name for the card.
        input_size: Pixels; AIZOO's 260 unless given.

    Raises:
        WeightsError: A layer is missing, or the head widths contradict the anchors.
    """
    template = load_card(_TEMPLATE).network
    stages = tuple(
        dataclasses.replace(stage, filters=_outputs(tensors, f"conv2d_{index}"))
        for index, stage in enumerate(template.stages)
    )
    levels = tuple(_level(tensors, index, level) for index, level in enumerate(template.levels))
    columns = _outputs(tensors, "cls_0_conv") // levels[0].anchors_per_cell
    if columns > MAX_CLASSES:
        raise WeightsError(f"The weights claim {columns} classes.")
    name = "".join(letter if letter.isprintable() else "_" for letter in name)[:MAX_NAME_LENGTH]
    network = Network(
        input_size=input_size or template.input_size,
        classes=class_labels(columns),
        stages=stages,
        levels=levels,
        variances=template.variances,
    )
    return ModelCard(name=name, summary=f"Read from {name}.", network=network)


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
