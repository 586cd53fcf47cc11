"""Cards come back as they were written, and hostile ones are refused."""

from __future__ import annotations

import pytest
from seeded import SMALL

from facemask_zoo import WeightsError
from facemask_zoo.cards import CLASSIFICATION, DETECTION, NO_TASK, ModelCard, list_models, load_card
from facemask_zoo.tasks.preprocessing import PREPROCESSING

CARDS = [
    *(load_card(name) for name in list_models()),
    ModelCard("detector", "", SMALL, conf=0.3, nms="blended"),
    ModelCard("any", "", None, task=NO_TASK),
    ModelCard(
        "classifier",
        "",
        None,
        task=CLASSIFICATION,
        labels=("mask", "no_mask"),
        preprocessing=PREPROCESSING["imagenet"],
    ),
]


@pytest.mark.parametrize("card", CARDS, ids=[card.name for card in CARDS])
def test_a_card_comes_back(card):
    assert ModelCard.from_json(card.to_json()) == card


def test_a_detector_without_anchors_is_refused():
    card = ModelCard("hollow", "", None, task=DETECTION)
    with pytest.raises(WeightsError, match="needs an architecture"):
        ModelCard.from_json(card.to_json())
