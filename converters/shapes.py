"""Shapes along the network, channels last, for formats that have to state them."""

from __future__ import annotations

from collections.abc import Sequence

from facemask_zoo.ssd.network import Convolution

Shape = tuple[int, ...]


def pooled(shape: Shape) -> Shape:
    """Of a 2x2 max pool of stride 2 that rounds up, on (N, H, W, C)."""
    n, height, width, channels = shape
    return (n, (height + 1) // 2, (width + 1) // 2, channels)


def convolved(shape: Shape, layer: Convolution) -> Shape:
    """Of a 3x3 convolution on (N, H, W, C)."""
    n, height, width, _ = shape
    shrink = 2 - 2 * layer.padding
    return (n, height - shrink, width - shrink, layer.outputs)


def flattened(shape: Shape, columns: int) -> Shape:
    """Of (N, H, W, C) as (N, rows, columns)."""
    n, height, width, channels = shape
    return (n, height * width * channels // columns, columns)


def concatenated(shapes: Sequence[Shape]) -> Shape:
    """Of (N, rows, columns) parts joined along the rows."""
    n, _, columns = shapes[0]
    return (n, sum(rows for _, rows, _ in shapes), columns)
