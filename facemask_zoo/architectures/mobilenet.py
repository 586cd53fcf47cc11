"""A classifier of inverted residual blocks (MobileNetV2, arXiv:1801.04381)."""

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
from facemask_zoo.arguments import check_integer, check_labels
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.graph import Graph

INPUT_NAME = "image"
PROBABILITIES_NAME = "probabilities"

_MAX_INPUT_SIZE = 1024


@dataclasses.dataclass(frozen=True)
class MobileNet:
    """Everything that defines the computation.

    Attributes:
        input_size: Height and width of the square input, in pixels.
        classes: Labels; the scores of a picture sum to 1.
        stem: Channels of the first convolution, of stride 2.
        blocks: The inverted residuals, in order.
        last: Channels of the last convolution, before the mean over all cells.
    """

    input_size: int
    classes: tuple[str, ...]
    stem: int
    blocks: tuple[Block, ...]
    last: int

    def __post_init__(self) -> None:
        check_integer("input_size", self.input_size, 8, _MAX_INPUT_SIZE)
        check_labels(self.classes)
        check_integer("stem", self.stem, 1, MAX_WIDTH)
        check_integer("last", self.last, 1, MAX_WIDTH)
        check_blocks(self.blocks)

    @functools.cached_property
    def graph(self) -> Graph:
        """Input ``image`` (3, S, S), RGB 0..1; output ``probabilities`` (classes,)."""
        steps = GraphBuilder(INPUT_NAME, (3, self.input_size, self.input_size))
        x = convolve(steps, "stem", INPUT_NAME, self.stem, kernel=3, stride=2, activation=ops.Relu6)
        for index, block in enumerate(self.blocks):
            x = add_block(steps, f"block{index}", x, block)
        x = convolve(steps, "last", x, self.last, activation=ops.Relu6)
        x = steps.add(ops.GlobalAveragePool, "mean", x)
        x = steps.add(ops.Reshape, "features", x, target=(self.last,))
        x = steps.add(ops.Linear, "logits", x, features=len(self.classes))
        return steps.finish(steps.add(ops.Softmax, PROBABILITIES_NAME, x, axis=1))

    def with_input_size(self, input_size: int) -> MobileNet:
        """The same layers for another input size."""
        return dataclasses.replace(self, input_size=input_size)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values; ``architectures.from_dict`` reads it back."""
        return dataclasses.asdict(self)
