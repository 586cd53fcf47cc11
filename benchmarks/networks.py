"""Small networks, each of a kind that people bring, with weights from a seed."""

from __future__ import annotations

import math

import numpy as np

from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.program import Program


def seeded_program(graph: Graph, seed: int = 1) -> Program:
    """Weights that keep the variance of activations from layer to layer."""
    rng = np.random.Generator(np.random.PCG64(seed))
    tensors = {}
    for name, shape in graph.tensor_shapes.items():
        bound = math.sqrt(6 / math.prod(shape[1:])) if len(shape) > 1 else 0.1
        values = (rng.random(shape) * 2 - 1) * bound
        tensors[name] = (values + 1.0 if name.endswith(".variance") else values).astype(np.float32)
    return Program(graph, tensors)


class _Layers:
    """Shorthand for the networks below."""

    def __init__(self, shape: ops.Shape) -> None:
        self.b = GraphBuilder("image", shape)

    def conv(
        self,
        name: str,
        x: str,
        filters: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        padding: int | ops.Padding | None = None,
        groups: int = 1,
    ) -> str:
        """A convolution; by default with the padding that keeps the size."""
        pad = kernel // 2 if padding is None else padding
        pads = (pad,) * 4 if isinstance(pad, int) else pad
        return self.b.add(
            ops.Convolution,
            name,
            x,
            filters=filters,
            kernel=(kernel, kernel),
            strides=(stride, stride),
            padding=pads,
            groups=groups,
        )

    def relu6(self, x: str) -> str:
        """ReLU6 of a value."""
        return self.b.add(ops.Relu6, f"{x}_relu6", x)


def depthwise_ssd(size: int = 64) -> Graph:
    """A detector of depthwise-separable blocks with a path from coarse to fine."""
    n = _Layers((3, size, size))
    x = n.relu6(n.conv("stem", "image", 8, stride=2, padding=(0, 0, 1, 1)))
    features = []
    for index, width in enumerate((12, 16, 24)):
        x = n.relu6(n.conv(f"down{index}", x, n.b.shapes[x][0], stride=2, groups=n.b.shapes[x][0]))
        x = n.relu6(n.conv(f"mix{index}", x, width, kernel=1))
        features.append(x)
    lateral = n.conv("lateral1", features[1], 24, kernel=1)
    raised = n.b.add(ops.Upsample, "raised", features[2], scales=(2, 2))
    merged = n.b.add(ops.Add, "merged", raised, lateral)
    loc: list[str] = []
    scores: list[str] = []
    for index, feature in enumerate((merged, features[2])):
        for branch, columns, parts in (("loc", 4, loc), ("cls", 3, scores)):
            y = n.conv(f"{branch}{index}", feature, 2 * columns)
            _, height, width = n.b.shapes[y]
            y = n.b.add(ops.Transpose, f"{branch}{index}_last", y, order=(0, 2, 3, 1))
            target = (height * width * 2, columns)
            parts.append(n.b.add(ops.Reshape, f"{branch}{index}_rows", y, target=target))
    n.b.add(ops.Concatenate, "boxes", *loc, axis=1)
    n.b.add(ops.Sigmoid, "scores", n.b.add(ops.Concatenate, "logits", *scores, axis=1))
    return n.b.finish("boxes", "scores")


def squeezing_classifier(size: int = 32) -> Graph:
    """A classifier with inverted residuals, squeeze-and-excitation and hard swish."""
    n = _Layers((3, size, size))
    x = n.b.add(ops.HardSwish, "stem_act", n.conv("stem", "image", 8, stride=2))
    y = n.conv("expand", x, 16, kernel=1)
    y = n.b.add(ops.HardSwish, "expand_act", y)
    y = n.b.add(ops.Relu, "depth_act", n.conv("depth", y, 16, kernel=5, groups=16))
    s = n.b.add(ops.GlobalAveragePool, "squeeze", y)
    s = n.b.add(ops.Relu, "reduce_act", n.conv("reduce", s, 4, kernel=1))
    s = n.b.add(ops.HardSigmoid, "gate", n.conv("excite", s, 16, kernel=1))
    y = n.b.add(ops.Multiply, "gated", y, s)
    y = n.b.add(ops.Add, "residual", n.conv("project", y, 8, kernel=1), x)
    y = n.b.add(ops.GlobalAveragePool, "pooled", y)
    y = n.b.add(ops.Reshape, "flat", y, target=(8,))
    y = n.b.add(ops.Linear, "logits", y, features=3)
    return n.b.finish(n.b.add(ops.Softmax, "probabilities", y, axis=1))


def shuffling_classifier(size: int = 32) -> Graph:
    """A classifier that splits channels and shuffles them."""
    n = _Layers((3, size, size))
    x = n.b.add(ops.Relu, "stem_act", n.conv("stem", "image", 8, stride=2))
    x = n.b.add(ops.MaxPool, "pool", x, kernel=(3, 3), strides=(2, 2), padding=(1, 1, 1, 1))
    left = n.b.add(ops.Slice, "left", x, axis=1, start=0, stop=4)
    right = n.b.add(ops.Slice, "right", x, axis=1, start=4, stop=8)
    right = n.b.add(ops.Relu, "mix_act", n.conv("mix", right, 4, kernel=1))
    right = n.conv("depth", right, 4, groups=4)
    x = n.b.add(ops.Concatenate, "joined", left, right, axis=1)
    _, height, width = n.b.shapes[x]
    x = n.b.add(ops.Reshape, "groups", x, target=(2, 4, height, width))
    x = n.b.add(ops.Transpose, "swapped", x, order=(0, 2, 1, 3, 4))
    x = n.b.add(ops.Reshape, "shuffled", x, target=(8, height, width))
    x = n.b.add(ops.Relu, "last_act", n.conv("last", x, 12, kernel=1))
    x = n.b.add(ops.Reshape, "flat", n.b.add(ops.GlobalAveragePool, "mean", x), target=(12,))
    return n.b.finish(n.b.add(ops.Linear, "logits", x, features=2))


def landmark_regressor(size: int = 48) -> Graph:
    """Points and a pose from a crop, with a ReLU whose slopes are learnt."""
    n = _Layers((3, size, size))
    x = "image"
    for index, width in enumerate((8, 12, 16)):
        x = n.b.add(ops.Prelu, f"act{index}", n.conv(f"conv{index}", x, width, stride=2))
    x = n.b.add(ops.AveragePool, "mean", x, kernel=(2, 2), strides=(2, 2))
    _, height, width = n.b.shapes[x]
    flat = n.b.add(ops.Reshape, "flat", x, target=(16 * height * width,))
    points = n.b.add(ops.Linear, "points", flat, features=20)
    pose = n.b.add(ops.Tanh, "pose", n.b.add(ops.Linear, "angles", flat, features=3))
    return n.b.finish(points, pose)


def face_detector(size: int = 32) -> Graph:
    """Scores, boxes and points of each level, all of them outputs, as face detectors give them."""
    n = _Layers((3, size, size))
    x = n.b.add(ops.Relu, "stem_act", n.conv("stem", "image", 6, stride=2))
    ends = []
    for level in range(2):
        x = n.b.add(ops.Relu, f"act{level}", n.conv(f"stage{level}", x, 8, stride=2))
        _, height, width = n.b.shapes[x]
        for name, columns in (("cls", 2), ("bbox", 4), ("kps", 10)):
            head = n.conv(f"{name}{level}_map", x, columns, kernel=1)
            last = n.b.add(ops.Transpose, f"{name}{level}_last", head, order=(0, 2, 3, 1))
            rows = n.b.add(ops.Reshape, f"{name}{level}", last, target=(height * width, columns))
            ends.append(n.b.add(ops.Sigmoid, f"{name}{level}_p", rows) if columns == 2 else rows)
    return n.b.finish(*ends)


NETWORKS: dict[str, Graph] = {
    "depthwise_ssd": depthwise_ssd(),
    "squeezing_classifier": squeezing_classifier(),
    "shuffling_classifier": shuffling_classifier(),
    "landmark_regressor": landmark_regressor(),
    "face_detector": face_detector(),
}
"""Small networks, each of a kind that the zoo's users bring."""
