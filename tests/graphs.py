"""Graphs with weights from a seed, for whatever works on any graph."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from facemask_zoo.benchmarks import networks
from facemask_zoo.benchmarks.networks import seeded_program
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.graph import Graph

__all__ = ["NETWORKS", "SINGLE", "a_third", "seeded_batch", "seeded_program", "single"]


def a_third(names: Iterable[str]) -> list[object]:
    """Parameters of which two in three are for long runs: where each takes a process, say."""
    return [
        name if name in NETWORKS or index % 3 == 0 else pytest.param(name, marks=pytest.mark.scale)
        for index, name in enumerate(names)
    ]


def seeded_batch(graph: Graph, count: int, seed: int = 7) -> np.ndarray:
    """(count, ...) uniform noise, 0..1."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.random((count, *graph.input_shape)).astype(np.float32)


def single(kind: type[ops.Operation], shape: ops.Shape, **attributes) -> Graph:
    """A graph of one operation on as many inputs as it needs, made by ReLUs of different scale."""
    b = GraphBuilder("image", shape)
    inputs = ["image"]
    if kind.arity != 1:
        inputs.append(b.add(ops.LeakyRelu, "other", "image", slope=0.5))
    return b.finish(b.add(kind, "result", *inputs, **attributes))


MAP = (6, 9, 8)
SINGLE: dict[str, Graph] = {
    "convolution": single(ops.Convolution, MAP, filters=5, kernel=(3, 3), padding=(1, 1, 1, 1)),
    "pointwise": single(ops.Convolution, MAP, filters=4, kernel=(1, 1)),
    "strided": single(
        ops.Convolution, MAP, filters=4, kernel=(3, 3), strides=(2, 2), padding=(0, 0, 1, 1)
    ),
    "wide": single(
        ops.Convolution, MAP, filters=4, kernel=(1, 5), strides=(1, 2), padding=(0, 2, 0, 2)
    ),
    "dilated": single(
        ops.Convolution, MAP, filters=4, kernel=(3, 3), dilations=(2, 2), padding=(2, 2, 2, 2)
    ),
    "grouped": single(
        ops.Convolution, MAP, filters=4, kernel=(3, 3), groups=2, padding=(1, 1, 1, 1)
    ),
    "depthwise": single(
        ops.Convolution, MAP, filters=6, kernel=(3, 3), groups=6, padding=(1, 1, 1, 1)
    ),
    "multiplied_depthwise": single(
        ops.Convolution, MAP, filters=12, kernel=(3, 3), groups=6, padding=(1, 1, 1, 1)
    ),
    "strided_depthwise": single(
        ops.Convolution,
        MAP,
        filters=6,
        kernel=(3, 3),
        groups=6,
        strides=(2, 2),
        padding=(0, 0, 1, 1),
    ),
    "max_pool": single(ops.MaxPool, MAP, kernel=(2, 2), strides=(2, 2), padding=(0, 0, 1, 0)),
    "padded_max_pool": single(
        ops.MaxPool, MAP, kernel=(3, 3), strides=(2, 2), padding=(1, 1, 1, 1)
    ),
    "average_pool": single(ops.AveragePool, MAP, kernel=(2, 2), strides=(2, 2)),
    "padded_average_pool": single(
        ops.AveragePool, MAP, kernel=(3, 3), strides=(1, 1), padding=(1, 1, 1, 1)
    ),
    "counting_average_pool": single(
        ops.AveragePool,
        MAP,
        kernel=(3, 3),
        strides=(2, 2),
        padding=(1, 1, 1, 1),
        count_padding=True,
    ),
    "global_average_pool": single(ops.GlobalAveragePool, MAP),
    "linear": single(ops.Linear, (12,), features=5),
    "linear_of_rows": single(ops.Linear, (7, 12), features=5),
    "add": single(ops.Add, MAP),
    "multiply": single(ops.Multiply, MAP),
    "concatenate": single(ops.Concatenate, MAP, axis=1),
    "concatenate_rows": single(ops.Concatenate, MAP, axis=2),
    "concatenate_vectors": single(ops.Concatenate, (7,), axis=1),
    "slice": single(ops.Slice, MAP, axis=1, start=2, stop=5),
    "slice_columns": single(ops.Slice, MAP, axis=3, start=1, stop=8),
    "pad": single(ops.Pad, MAP, padding=(0, 1, 2, 0)),
    "pad_channels": single(ops.Pad, MAP, channels=(0, 2)),
    "nearest": single(ops.Upsample, MAP, scales=(2, 2)),
    "bilinear": single(ops.Upsample, MAP, scales=(2, 2), mode="bilinear"),
    "reshape": single(ops.Reshape, MAP, target=(6 * 9, 8)),
    "reshape_to_map": single(ops.Reshape, (24, 4), target=(6, 4, 4)),
    "transpose": single(ops.Transpose, MAP, order=(0, 2, 3, 1)),
    "transpose_rows": single(ops.Transpose, (5, 7), order=(0, 2, 1)),
    "relu": single(ops.Relu, MAP),
    "relu6": single(ops.Relu6, MAP),
    "leaky_relu": single(ops.LeakyRelu, MAP, slope=0.1),
    "prelu": single(ops.Prelu, MAP),
    "sigmoid": single(ops.Sigmoid, MAP),
    "tanh": single(ops.Tanh, MAP),
    "hard_sigmoid": single(ops.HardSigmoid, MAP),
    "hard_swish": single(ops.HardSwish, MAP),
    "softmax": single(ops.Softmax, (9,), axis=1),
    "softmax_of_rows": single(ops.Softmax, (9, 4), axis=2),
}
"""Each operation alone, in the ways in which formats treat it differently."""


def _behind_a_shuffle() -> Graph:
    """What a format makes channels last for one layer, and not for another."""
    b = GraphBuilder("image", (8, 8, 8))
    groups = b.add(ops.Reshape, "groups", "image", target=(2, 4, 64))
    mixed = b.add(ops.Transpose, "mixed", groups, order=(0, 2, 1, 3))
    x = b.add(ops.Reshape, "shuffled", mixed, target=(8, 8, 8))
    depth = b.add(
        ops.Convolution,
        "depth",
        x,
        filters=8,
        kernel=(3, 3),
        strides=(2, 2),
        padding=(1, 1, 1, 1),
        groups=8,
    )
    point = b.add(ops.Convolution, "point", x, filters=8, kernel=(1, 1), strides=(2, 2))
    return b.finish(b.add(ops.Add, "sum", depth, point))


NETWORKS = {**networks.NETWORKS, "behind_a_shuffle": _behind_a_shuffle()}
"""Small networks of several kinds."""
