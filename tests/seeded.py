"""Networks with weights from a seed, so that every framework can be proven without any download."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from facemask_zoo.cards import ModelCard, load_card
from facemask_zoo.graph.signature import Signature
from facemask_zoo.model import Model
from facemask_zoo.ssd import Level, Network, Stage

FULL = load_card("aizoo-260").network
SMALL = Network(
    input_size=97,
    classes=("mask", "no_mask", "incorrect"),
    stages=(
        Stage(5, pool=False),
        Stage(8),
        Stage(7),
        Stage(9),
        Stage(6, pool=False, padding=0),
    ),
    levels=(
        Level(2, (0.1, 0.2), (1.0, 0.62, 0.42), 4, 6),
        Level(3, (0.3, 0.5, 0.6), (1.0,), 5, 3),
        Level(4, (0.7, 0.9), (0.8, 1.2), 3, 4),
    ),
)
NETWORKS = {"full": FULL, "small": SMALL}


def seeded_model(network: Network, seed: int, name: str = "seeded") -> Model:
    """A model whose weights keep the variance of activations from layer to layer.

    Only uniform numbers are drawn: their stream is the same in every NumPy.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    tensors = {}
    for key, shape in network.tensor_shapes.items():
        bound = math.sqrt(6 / math.prod(shape[1:])) if len(shape) == 4 else 0.1
        tensors[key] = ((rng.random(shape) * 2 - 1) * bound).astype(np.float32)
    return Model(ModelCard(name, "Weights from a seed.", network), tensors)


def seeded_batch(network: Network, count: int, seed: int = 7) -> np.ndarray:
    """(count, 3, S, S) uniform noise, 0..1."""
    rng = np.random.Generator(np.random.PCG64(seed))
    size = network.input_size
    return rng.random((count, 3, size, size)).astype(np.float32)


def signature(network: Network) -> Signature:
    """What a backend is told about a network."""
    return Signature.of(network.graph)


def random_network(rng: np.random.Generator) -> Network:
    """A member of the SSD family with AIZOO's eight stages: any widths, classes and input size."""
    widths = rng.integers(1, 9, size=(8 + 10))
    stages = tuple(
        dataclasses.replace(stage, filters=int(width))
        for stage, width in zip(FULL.stages, widths[:8], strict=True)
    )
    levels = tuple(
        dataclasses.replace(level, loc_filters=int(loc), cls_filters=int(cls))
        for level, loc, cls in zip(FULL.levels, widths[8::2], widths[9::2], strict=True)
    )
    labels = ("mask", "no_mask", "incorrect", "other")[: int(rng.integers(1, 5))]
    size = int(rng.integers(160, 200))
    return Network(size, labels, stages, levels, FULL.variances)
