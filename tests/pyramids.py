"""A small pyramid, for whatever works on detectors of any input size."""

from __future__ import annotations

from graphs import seeded_program

from facemask_zoo.architectures.pyramid import PLAIN, Level, Pyramid, Stage, Stem
from facemask_zoo.cards import ModelCard
from facemask_zoo.model import Model
from facemask_zoo.tasks.preprocessing import LETTERBOX, Preprocessing

LABELS = ("mask", "no_mask", "incorrect")
SMALL = Pyramid(
    input_size=64,
    classes=LABELS,
    stem=Stem(8),
    stages=(Stage(8, kind=PLAIN), Stage(16, blocks=2), Stage(16), Stage(24, kernel=5)),
    neck=16,
    levels=(Level((12.0, 20.0)), Level((32.0,)), Level((50.0,), (0.8, 1.2))),
)


def seeded_pyramid(pyramid: Pyramid = SMALL, seed: int = 1) -> Model:
    """A model with weights from a seed."""
    card = ModelCard(
        "seeded-pyramid",
        "Weights from a seed.",
        pyramid,
        preprocessing=Preprocessing(fit=LETTERBOX),
    )
    return Model(card, seeded_program(pyramid.graph, seed).tensors)
