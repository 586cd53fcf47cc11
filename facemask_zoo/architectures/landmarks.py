"""A regressor of facial landmarks and head pose: inverted residuals, and one weight per cell."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from facemask_zoo.architectures.layers import convolve
from facemask_zoo.architectures.residuals import (
    MAX_WIDTH,
    Block,
    add_block,
    check_blocks,
)
from facemask_zoo.arguments import check_integer
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.graph import Graph

INPUT_NAME = "image"
POINTS_NAME = "points"
POSE_NAME = "pose"
ANGLES = 3

_INPUT_SIZES = (32, 512)
_MAX_POINTS = 1024


@dataclasses.dataclass(frozen=True)
class LandmarkNetwork:
    """Everything that defines the computation.

    Attributes:
        input_size: Height and width of the square input, in pixels.
        points: How many landmarks it finds.
        stem: Channels of the first convolution, of stride 2.
        blocks: The inverted residuals, in order.
        features: Channels of the last map. One depthwise convolution as large as that map makes a
            vector of it, so that a feature counts by where it is.
    """

    input_size: int
    points: int
    stem: int
    blocks: tuple[Block, ...]
    features: int

    def __post_init__(self) -> None:
        check_integer("input_size", self.input_size, *_INPUT_SIZES)
        check_integer("points", self.points, 1, _MAX_POINTS)
        check_integer("stem", self.stem, 1, MAX_WIDTH)
        check_integer("features", self.features, 1, MAX_WIDTH)
        check_blocks(self.blocks)

    @property
    def classes(self) -> tuple[str, ...]:
        """None: it tells nothing apart."""
        return ()

    @functools.cached_property
    def graph(self) -> Graph:
        """From the input ``image`` (3, S, S), RGB 0..1, to points and pose.

        ``points`` (points, 2) are x and y in sides of the input, from its middle; ``pose`` (3,) is
        yaw, pitch and roll in radians.
        """
        steps = GraphBuilder(INPUT_NAME, (3, self.input_size, self.input_size))
        x = convolve(steps, "stem", INPUT_NAME, self.stem, kernel=3, stride=2, activation=ops.Relu6)
        for index, block in enumerate(self.blocks):
            x = add_block(steps, f"block{index}", x, block)
        x = convolve(steps, "features", x, self.features, activation=ops.Relu6)
        x = steps.add(
            ops.Convolution,
            "gather",
            x,
            filters=self.features,
            kernel=steps.shapes[x][1:],
            groups=self.features,
        )
        points = convolve(steps, "points_head", x, 2 * self.points)
        pose = convolve(steps, "pose_head", x, ANGLES)
        steps.add(ops.Reshape, POINTS_NAME, points, target=(self.points, 2))
        steps.add(ops.Reshape, POSE_NAME, pose, target=(ANGLES,))
        return steps.finish(POINTS_NAME, POSE_NAME)

    def with_input_size(self, input_size: int) -> LandmarkNetwork:
        """The same layers for another input size; other weights are needed for it."""
        return dataclasses.replace(self, input_size=input_size)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values; ``architectures.from_dict`` reads it back."""
        return dataclasses.asdict(self)
