"""Which model a file holds: by the card in it, by the structure of its graph, or by its tensors."""

from __future__ import annotations

import dataclasses

from facemask_zoo.architectures.pyramid import Pyramid
from facemask_zoo.arguments import MAX_CLASSES
from facemask_zoo.cards import (
    CLASSIFICATION,
    MAX_NAME_LENGTH,
    NO_TASK,
    ModelCard,
    list_models,
    load_card,
)
from facemask_zoo.converters.formats.importing import LooseTensors
from facemask_zoo.errors import InvalidArgumentError, WeightsError
from facemask_zoo.graph.matching import match, renamed_like
from facemask_zoo.graph.program import Program, Tensors, renamed_tensors
from facemask_zoo.model import Model
from facemask_zoo.ssd import Level, Network

_TEMPLATE = "aizoo-260"


def model_of(found: Program | LooseTensors, name: str) -> Model:
    """The model that a file holds.

    A graph without a card is recognised where it is the same computation as a model of the zoo, or
    as AIZOO's with other widths; any other becomes a model without an architecture. Tensors without
    a graph need a card, unless their names and shapes are known.

    Args:
        found: What the reader of a format made of the file.
        name: Name for the card, if the file has none.

    Raises:
        WeightsError: Card and content do not fit together, or tensors alone are not known.
    """
    if isinstance(found, LooseTensors):
        stated = ModelCard.from_json(found.card) if found.card else _published(found.sha256)
        return Model(stated or card_from_tensors(found.tensors, name), found.tensors)
    if found.card:
        return _with_card(found, ModelCard.from_json(found.card))
    known = _known(found, name)
    if known is None:
        return Model(_card_of_a_stranger(found, name), found.tensors, found.graph)
    return known


def _published(sha256: str) -> ModelCard | None:
    """The card of the model that a published file with this digest was the source of."""
    for card in map(load_card, list_models()):
        if card.source and card.source.sha256 == sha256:
            return card
    return None


def _with_card(program: Program, card: ModelCard) -> Model:
    if card.architecture is None:
        return Model(card, program.tensors, program.graph)
    fitted = renamed_like(program, card.architecture.graph)
    if fitted is None:
        raise WeightsError(f"The file's graph is not the network of its card, {card.name!r}.")
    return Model(card, fitted.tensors)


def _known(program: Program, name: str) -> Model | None:
    """The model that the graph is, if the zoo has an architecture of which it is one."""
    for template in (_TEMPLATE, *list_models()):
        known = load_card(template)
        try:
            if isinstance(known.architecture, Network):
                card = _like_single_shot(program, known.architecture, name, template == _TEMPLATE)
            else:
                card = _like_pyramid(program, known, name)
        except (InvalidArgumentError, WeightsError):
            continue
        if card is None or card.architecture is None:
            continue
        fitted = renamed_like(program, card.architecture.graph)
        if fitted is not None:
            return Model(card, fitted.tensors)
    return None


def _like_single_shot(
    program: Program, network: Network, name: str, any_width: bool
) -> ModelCard | None:
    """A card for the single-shot detector that a graph is, if it is of that layout."""
    network = network.with_input_size(program.graph.input_shape[-1])
    names = match(program.graph, network.graph, any_width=any_width)
    if names is None:
        return None
    return card_from_tensors(renamed_tensors(program.tensors, names), name, network.input_size)


def _like_pyramid(program: Program, card: ModelCard, name: str) -> ModelCard | None:
    """The card of a model of the zoo that runs at any size, for the size of a graph's input."""
    shape = program.graph.input_shape
    if not isinstance(card.architecture, Pyramid) or len(shape) != 3:
        return None
    _, height, width = shape
    architecture = card.architecture.with_input_size(height if height == width else (height, width))
    return dataclasses.replace(card.portable(), name=_printable(name), architecture=architecture)


def _card_of_a_stranger(program: Program, name: str) -> ModelCard:
    """A card that says what the graph says: classes are only numbered."""
    shapes = list(program.graph.output_shapes.values())
    name = _printable(name)
    summary = f"Read from {name}."
    picture = len(program.graph.input_shape) == 3 and program.graph.input_shape[0] == 3
    if not picture or len(shapes) != 1 or len(shapes[0]) != 1:
        return ModelCard(name, summary, None, task=NO_TASK)
    labels = tuple(f"class_{index}" for index in range(max(shapes[0][0], 2)))
    return ModelCard(name, summary, None, task=CLASSIFICATION, labels=labels)


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
    known = _card_of_the_zoo(tensors, input_size)
    if known and not isinstance(known.architecture, Network):
        return dataclasses.replace(known.portable(), name=_printable(name))
    network = known.network if known else _network_like_aizoo(tensors)
    like = known or load_card(_TEMPLATE)
    if input_size:
        network = network.with_input_size(input_size)
    name = _printable(name)
    return ModelCard(
        name=name,
        summary=f"Read from {name}.",
        architecture=network,
        nms=like.nms,
        preprocessing=like.preprocessing,
    )


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "_" for c in name)[:MAX_NAME_LENGTH] or "model"


def _card_of_the_zoo(tensors: Tensors, input_size: int | None) -> ModelCard | None:
    """The card of the model that has just these tensors.

    Where several have their names and shapes, it is the one with their very values; else one of
    that input size, if it is known; else the first, AIZOO's before any other.
    """
    shapes = {name: values.shape for name, values in tensors.items()}
    cards = [load_card(model) for model in (_TEMPLATE, *list_models())]
    alike = [
        (card, card.architecture)
        for card in cards
        if card.architecture and dict(card.architecture.graph.tensor_shapes) == shapes
    ]
    if len(alike) > 1:
        digest = Program(alike[0][1].graph, tensors).digest
        alike.sort(  # stable, and False comes first
            key=lambda pair: (pair[0].tensors_sha256 != digest, pair[1].input_size != input_size)
        )
    return alike[0][0] if alike else None


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
