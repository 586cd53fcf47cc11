"""Layers that several architectures are made of."""

from __future__ import annotations

from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.builder import GraphBuilder

Activation = type[ops.Relu] | type[ops.Relu6]


def convolve(
    steps: GraphBuilder,
    name: str,
    x: str,
    filters: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: Activation | None = None,
) -> str:
    """Append a convolution that keeps the size but for its stride, and return its value's name."""
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
    if activation is None:
        return y
    return steps.add(activation, f"{name}_{activation.__name__.lower()}", y)
