"""A single-shot detector with a top-down path, whose anchors are sizes in pixels.

Nothing in it depends on the size of the input but the number of cells: one set of weights serves
every height and width in multiples of the coarsest stride.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

from facemask_zoo.architectures.layers import convolve
from facemask_zoo.arguments import check_integer, check_labels, check_numbers
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.graph import Graph
from facemask_zoo.ssd.grid import BOX_COORDINATES, Grid, anchor_sizes
from facemask_zoo.ssd.network import INPUT_NAME, LOC_NAME, SCORES_NAME

InputSize = int | tuple[int, int]
"""Side of a square input, or its height and width, in pixels."""

PLAIN, SEPARABLE = "plain", "separable"

_MAX_WIDTH = 1024
_MAX_INPUT_SIZE = 4096
_MAX_BLOCKS = 32
_MAX_STAGES = 6
_MAX_ANCHORS = 16
_KERNELS = (3, 5, 7)
_STEM_STRIDES = (2, 4)
_MAX_OUTPUTS = 1 << 24


@dataclasses.dataclass(frozen=True)
class Stem:
    """The first convolution.

    Attributes:
        filters: Channels of its output.
        kernel: Height and width of what it sees: 3, 5 or 7 pixels.
        stride: 2 or 4.
    """

    filters: int
    kernel: int = 3
    stride: int = 2


@dataclasses.dataclass(frozen=True)
class Stage:
    """Blocks of one resolution, half of that before it.

    Attributes:
        filters: Channels of every block's output.
        blocks: How many there are; the first has a stride of 2.
        kind: ``"separable"`` for blocks of a depthwise convolution and one of 1 x 1, ``"plain"``
            for a single convolution of 3 x 3.
        kernel: Height and width of the depthwise kernels: 3, 5 or 7 cells.
    """

    filters: int
    blocks: int = 1
    kind: str = SEPARABLE
    kernel: int = 3


@dataclasses.dataclass(frozen=True)
class Level:
    """Anchors of one detection level.

    Attributes:
        sizes: Square roots of the anchors' areas, in pixels of the input.
        ratios: Width to height; the first goes with every size, the rest with the first.
    """

    sizes: tuple[float, ...]
    ratios: tuple[float, ...] = (0.8,)

    @property
    def anchors_per_cell(self) -> int:
        """Number of anchors of a cell."""
        return len(self.sizes) + len(self.ratios) - 1


@dataclasses.dataclass(frozen=True)
class Pyramid:
    """Everything that defines the computation.

    Attributes:
        input_size: Side of the square input in pixels, or (height, width); multiples of `stride`.
        classes: Labels of the score columns; each column is an independent sigmoid.
        stem: The first convolution.
        stages: The backbone, each stage at half the resolution of the one before.
        neck: Channels of the top-down path and of the heads.
        levels: Anchors of the last stages, the finest first.
        head_blocks: Separable blocks of each level between the path and its two outputs.
        variances: Scales of the four box offsets (x, y, w, h).
    """

    input_size: InputSize
    classes: tuple[str, ...]
    stem: Stem
    stages: tuple[Stage, ...]
    neck: int
    levels: tuple[Level, ...]
    head_blocks: int = 1
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)

    def __post_init__(self) -> None:
        size = self.input_size
        if isinstance(size, tuple) and len(size) == 2 and size[0] == size[1]:
            object.__setattr__(self, "input_size", size[0])
        _check(self)

    @property
    def stride(self) -> int:
        """Pixels between two cells of the coarsest level; height and width are multiples of it."""
        return self.stem.stride << len(self.stages)

    @property
    def input_shape(self) -> tuple[int, int]:
        """Height and width of the input, in pixels."""
        size = self.input_size
        return size if isinstance(size, tuple) else (size, size)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels between two cells of every level, the finest first."""
        count = len(self.levels)
        return tuple(self.stride >> (count - 1 - index) for index in range(count))

    @property
    def grids(self) -> tuple[Grid, ...]:
        """Cells and anchors of every detection level."""
        height, width = self.input_shape
        return tuple(
            Grid(
                height // stride,
                width // stride,
                tuple((w / width, h / height) for w, h in anchor_sizes(level.sizes, level.ratios)),
            )
            for stride, level in zip(self.strides, self.levels, strict=True)
        )

    @property
    def anchor_count(self) -> int:
        """Number of anchors A, the rows of both outputs."""
        return sum(grid.anchor_count for grid in self.grids)

    @property
    def multiply_adds(self) -> int:
        """Multiply-accumulate operations of all convolutions for one picture."""
        return self.graph.multiply_adds

    @functools.cached_property
    def graph(self) -> Graph:
        """Input ``data`` (3, H, W), RGB 0..1; outputs as those of ``facemask_zoo.ssd``."""
        return _Walk(self).graph()

    def with_input_size(self, input_size: InputSize) -> Pyramid:
        """The same layers, and the same weights, for another input size.

        Raises:
            InvalidArgumentError: A side is no multiple of `stride`.
        """
        return dataclasses.replace(self, input_size=input_size)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values; ``architectures.from_dict`` reads it back."""
        return dataclasses.asdict(self)


class _Walk:
    """Writes a pyramid down as operations."""

    def __init__(self, pyramid: Pyramid) -> None:
        self._pyramid = pyramid
        self._steps = GraphBuilder(INPUT_NAME, (3, *pyramid.input_shape))

    def graph(self) -> Graph:
        """The whole graph."""
        loc, scores = [], []
        for index, feature in enumerate(self._top_down(self._backbone())):
            level = self._pyramid.levels[index]
            for block in range(self._pyramid.head_blocks):
                feature = self._separable(f"head{index}_{block}", feature, self._pyramid.neck)
            loc.append(self._output(f"loc{index}", feature, level, BOX_COORDINATES))
            scores.append(self._output(f"cls{index}", feature, level, len(self._pyramid.classes)))
        boxes = self._steps.add(ops.Concatenate, LOC_NAME, *loc, axis=1)
        logits = self._steps.add(ops.Concatenate, "cls_logits", *scores, axis=1)
        return self._steps.finish(boxes, self._steps.add(ops.Sigmoid, SCORES_NAME, logits))

    def _backbone(self) -> list[str]:
        """Features of the stages that have a level, the finest first."""
        stem = self._pyramid.stem
        x = convolve(
            self._steps,
            "stem",
            INPUT_NAME,
            stem.filters,
            kernel=stem.kernel,
            stride=stem.stride,
            activation=ops.Relu,
        )
        features = []
        for index, stage in enumerate(self._pyramid.stages):
            for block in range(stage.blocks):
                x = self._block(f"stage{index}_{block}", x, stage, stride=1 if block else 2)
            features.append(x)
        return features[-len(self._pyramid.levels) :]

    def _block(self, name: str, x: str, stage: Stage, stride: int) -> str:
        if stage.kind == PLAIN:
            return convolve(
                self._steps,
                name,
                x,
                stage.filters,
                kernel=3,
                stride=stride,
                activation=ops.Relu,
            )
        return self._separable(name, x, stage.filters, stage.kernel, stride)

    def _top_down(self, features: list[str]) -> list[str]:
        """Features of one width, each with what the coarser ones have seen."""
        merged: list[str] = []
        for index in reversed(range(len(features))):
            x = convolve(self._steps, f"lateral{index}", features[index], self._pyramid.neck)
            if merged:
                above = self._steps.add(ops.Upsample, f"raised{index}", merged[0], scales=(2, 2))
                x = self._steps.add(ops.Add, f"merged{index}", x, above)
            merged.insert(0, self._steps.add(ops.Relu, f"feature{index}", x))
        return merged

    def _output(self, name: str, x: str, level: Level, columns: int) -> str:
        y = convolve(self._steps, name, x, level.anchors_per_cell * columns)
        rows = math.prod(self._steps.shapes[y]) // columns
        last = self._steps.add(ops.Transpose, f"{name}_permute", y, order=(0, 2, 3, 1))
        return self._steps.add(ops.Reshape, f"{name}_reshape", last, target=(rows, columns))

    def _separable(self, name: str, x: str, filters: int, kernel: int = 3, stride: int = 1) -> str:
        width = self._steps.shapes[x][0]
        y = convolve(
            self._steps,
            f"{name}_depth",
            x,
            width,
            kernel=kernel,
            stride=stride,
            groups=width,
            activation=ops.Relu,
        )
        return convolve(self._steps, f"{name}_point", y, filters, activation=ops.Relu)


def _level(values: Mapping[str, Any]) -> Level:
    return Level(**{key: tuple(numbers) for key, numbers in values.items()})


def _check(pyramid: Pyramid) -> None:
    check_labels(pyramid.classes)
    check_integer("number of stages", len(pyramid.stages), 1, _MAX_STAGES)
    check_integer("number of levels", len(pyramid.levels), 1, len(pyramid.stages))
    _check_stem(pyramid.stem)
    for stage in pyramid.stages:
        _check_stage(stage)
    for level in pyramid.levels:
        check_numbers("anchor sizes", level.sizes)
        check_numbers("anchor ratios", level.ratios)
        check_integer("anchors per cell", level.anchors_per_cell, 1, _MAX_ANCHORS)
    check_integer("neck", pyramid.neck, 1, _MAX_WIDTH)
    check_integer("head_blocks", pyramid.head_blocks, 0, _MAX_BLOCKS)
    check_numbers("variances", pyramid.variances)
    check_integer("number of variances", len(pyramid.variances), 4, 4)
    _check_input_size(pyramid)
    outputs = pyramid.anchor_count * (BOX_COORDINATES + len(pyramid.classes))
    check_integer("size of the outputs", outputs, 1, _MAX_OUTPUTS)


def _check_stem(stem: Stem) -> None:
    check_integer("stem filters", stem.filters, 1, _MAX_WIDTH)
    _check_choice("stem kernel", stem.kernel, _KERNELS)
    _check_choice("stem stride", stem.stride, _STEM_STRIDES)


def _check_stage(stage: Stage) -> None:
    check_integer("stage filters", stage.filters, 1, _MAX_WIDTH)
    check_integer("stage blocks", stage.blocks, 1, _MAX_BLOCKS)
    _check_choice("stage kind", stage.kind, (PLAIN, SEPARABLE))
    _check_choice("stage kernel", stage.kernel, _KERNELS)


def _check_choice(what: str, value: object, choices: tuple[object, ...]) -> None:
    if isinstance(value, bool) or value not in choices:
        raise InvalidArgumentError(f"{what}: expected one of {choices}, but got {value!r:.100}.")


def _check_input_size(pyramid: Pyramid) -> None:
    shape = pyramid.input_shape
    if len(shape) != 2:
        raise InvalidArgumentError(
            f"input_size: expected a side or (height, width), but got {pyramid.input_size!r:.100}."
        )
    for side in shape:
        check_integer("input_size", side, pyramid.stride, _MAX_INPUT_SIZE)
        if side % pyramid.stride:
            raise InvalidArgumentError(
                f"input_size: expected multiples of {pyramid.stride}, but got {side}."
            )
