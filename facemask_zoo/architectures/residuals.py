"""Inverted residuals: the layers that small networks are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from facemask_zoo.architectures.layers import convolve
from facemask_zoo.arguments import check_integer
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.builder import GraphBuilder

MAX_WIDTH = 4096
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


def check_blocks(blocks: Sequence[Block]) -> None:
    """See that there are blocks, not too many, and each of a possible size.

    Raises:
        InvalidArgumentError: They are not.
    """
    check_integer("number of blocks", len(blocks), 1, _MAX_BLOCKS)
    for block in blocks:
        check_integer("block filters", block.filters, 1, MAX_WIDTH)
        check_integer("block expansion", block.expansion, 1, _MAX_EXPANSION)
        check_integer("block stride", block.stride, 1, 2)


def add_block(steps: GraphBuilder, name: str, x: str, block: Block) -> str:
    """Append a block to a graph and return the name of its value."""
    width = steps.shapes[x][0] * block.expansion
    y = x
    if block.expansion > 1:
        y = convolve(steps, f"{name}_expand", y, width, activation=ops.Relu6)
    y = convolve(
        steps,
        f"{name}_depth",
        y,
        width,
        kernel=3,
        stride=block.stride,
        groups=width,
        activation=ops.Relu6,
    )
    y = convolve(steps, f"{name}_project", y, block.filters)
    same = steps.shapes[y] == steps.shapes[x]
    return steps.add(ops.Add, f"{name}_add", x, y) if same else y
