"""A classifier of inverted residual blocks (MobileNetV2, arXiv:1801.04381)."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from facemask_zoo.arguments import check_integer, check_labels
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.graph import Graph

INPUT_NAME = "image"
PROBABILITIES_NAME = "probabilities"

_MAX_WIDTH = 4096
_MAX_INPUT_SIZE = 1024
_MAX_BLOCKS = 64
_MAX_EXPANSION = 16


@dataclasses.dataclass(frozen=True)
class Block:
    """One inverted residual: wider, filtered channel by channel, narrower again.

    Its input is added to its output where both have the same shape.

    Attributes:
        filters: Channels of the output.
        expansion: How many times as many channels there are inside.
        stride: 1, or 2 to halve height and width.
    """

    filters: int
    expansion: int = 6
    stride: int = 1


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
        check_integer("stem", self.stem, 1, _MAX_WIDTH)
        check_integer("last", self.last, 1, _MAX_WIDTH)
        check_integer("number of blocks", len(self.blocks), 1, _MAX_BLOCKS)
        for block in self.blocks:
            check_integer("block filters", block.filters, 1, _MAX_WIDTH)
            check_integer("block expansion", block.expansion, 1, _MAX_EXPANSION)
            check_integer("block stride", block.stride, 1, 2)

    @functools.cached_property
    def graph(self) -> Graph:
        """Input ``image`` (3, S, S), RGB 0..1; output ``probabilities`` (classes,)."""
        steps = GraphBuilder(INPUT_NAME, (3, self.input_size, self.input_size))
        x = _convolve(steps, "stem", INPUT_NAME, self.stem, kernel=3, stride=2)
        for index, block in enumerate(self.blocks):
            x = _add_block(steps, f"block{index}", x, block)
        x = _convolve(steps, "last", x, self.last)
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


def _add_block(steps: GraphBuilder, name: str, x: str, block: Block) -> str:
    width = steps.shapes[x][0] * block.expansion
    y = x
    if block.expansion > 1:
        y = _convolve(steps, f"{name}_expand", y, width)
    y = _convolve(steps, f"{name}_depth", y, width, kernel=3, stride=block.stride, groups=width)
    y = _convolve(steps, f"{name}_project", y, block.filters, relu=False)
    same = steps.shapes[y] == steps.shapes[x]
    return steps.add(ops.Add, f"{name}_add", x, y) if same else y


def _convolve(
    steps: GraphBuilder,
    name: str,
    x: str,
    filters: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    relu: bool = True,
) -> str:
    y = steps.add(
        ops.Convolution,
        name,
        x,
        filters=filters,
        kernel=(kernel, kernel),
        strides=(stride, stride),
        padding=(kernel // 2,) * 4,
        groups=groups,
    )
    return steps.add(ops.Relu6, f"{name}_relu6", y) if relu else y
