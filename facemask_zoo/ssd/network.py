"""The network, once: a single-shot detector of plain convolutions, and one walk over its layers.

There is no other list of layers: the graph, which every framework and format carries, and the
training code are made by handing a :class:`Builder` to :func:`build`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from facemask_zoo.arguments import check_integer, check_labels, check_numbers
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.graph import Graph
from facemask_zoo.ssd.grid import BOX_COORDINATES as BOX_COORDINATES
from facemask_zoo.ssd.grid import Grid, anchor_sizes

INPUT_NAME = "data"
LOC_NAME = "loc_branch_concat"
SCORES_NAME = "cls_branch_concat"

_MAX_CHANNELS = 4096
_MAX_INPUT_SIZE = 4096
_MAX_STAGES = 64
# Numbers per picture: what a description may make a framework take, half a gigabyte and less.
_MAX_ACTIVATIONS = 1 << 27
_MAX_OUTPUTS = 1 << 24

Tensor = TypeVar("Tensor")


@dataclasses.dataclass(frozen=True)
class Convolution:
    """One 3x3 convolution of stride 1.

    Attributes:
        name: Layer name; its tensors are ``<name>.weight`` (out, in, 3, 3) and ``<name>.bias``.
        inputs: Input channels.
        outputs: Output channels.
        padding: Zero padding on each side: 1 keeps the size, 0 shrinks it by two.
        relu: Whether a ReLU follows.
    """

    name: str
    inputs: int
    outputs: int
    padding: int = 1
    relu: bool = True

    @property
    def weight_name(self) -> str:
        return f"{self.name}.weight"

    @property
    def bias_name(self) -> str:
        return f"{self.name}.bias"

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.outputs, self.inputs, 3, 3)


@dataclasses.dataclass(frozen=True)
class Level:
    """One detection level: the anchors of its cells and the widths of its two heads.

    Attributes:
        stage: Index of the backbone stage whose output feeds the heads.
        sizes: Two or more anchor sizes, relative to the picture (0..1).
        ratios: Width to height ratios; the first goes with every size, the rest with the first.
        loc_filters: Channels between the two convolutions of the box head.
        cls_filters: Channels between the two convolutions of the class head.
    """

    stage: int
    sizes: tuple[float, ...]
    ratios: tuple[float, ...]
    loc_filters: int
    cls_filters: int

    @property
    def anchors_per_cell(self) -> int:
        return len(self.sizes) + len(self.ratios) - 1


@dataclasses.dataclass(frozen=True)
class Stage:
    """One backbone stage: an optional 2x2 max pool (stride 2, rounding up), then a convolution."""

    filters: int
    pool: bool = True
    padding: int = 1


@dataclasses.dataclass(frozen=True)
class Network:
    """Everything that defines the computation, in the order in which it happens.

    Attributes:
        input_size: Height and width of the square input, in pixels.
        classes: Labels of the score columns; each column is an independent sigmoid.
        stages: The backbone.
        levels: The detection levels, in the order of the anchors.
        variances: Scales of the four box offsets (x, y, w, h).
    """

    input_size: int
    classes: tuple[str, ...]
    stages: tuple[Stage, ...]
    levels: tuple[Level, ...]
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)

    def __post_init__(self) -> None:
        _check_network(self)

    @property
    def backbone(self) -> tuple[Convolution, ...]:
        """The backbone's convolutions, one per stage."""
        channels = (3, *(stage.filters for stage in self.stages))
        return tuple(
            Convolution(f"conv2d_{index}", channels[index], stage.filters, stage.padding)
            for index, stage in enumerate(self.stages)
        )

    def head(self, index: int, branch: str) -> tuple[Convolution, Convolution]:
        """The two convolutions of one head.

        Args:
            index: Level, from 0.
            branch: ``"loc"`` or ``"cls"``.
        """
        level = self.levels[index]
        width = level.loc_filters if branch == "loc" else level.cls_filters
        columns = BOX_COORDINATES if branch == "loc" else len(self.classes)
        channels = self.stages[level.stage].filters
        return (
            Convolution(f"{branch}_{index}_insert_conv2d", channels, width),
            Convolution(
                f"{branch}_{index}_conv", width, level.anchors_per_cell * columns, relu=False
            ),
        )

    @functools.cached_property
    def graph(self) -> Graph:
        """The network as operations; its tensors have the canonical names."""
        steps = GraphBuilder(INPUT_NAME, (3, self.input_size, self.input_size))
        loc, scores = build(self, INPUT_NAME, _GraphSteps(steps))
        return steps.finish(loc, scores)

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """Every convolution in the order in which :func:`build` reaches it."""
        collector = _Collector()
        build(self, None, collector)
        return tuple(collector.layers)

    @property
    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every canonical tensor."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in self.convolutions:
            shapes[layer.weight_name] = layer.weight_shape
            shapes[layer.bias_name] = (layer.outputs,)
        return shapes

    @property
    def stage_sizes(self) -> tuple[int, ...]:
        """Height (= width) of every stage's output, in cells."""
        return tuple(self._sizes())

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """Height (= width) of every detection level, in cells."""
        sizes = self.stage_sizes
        return tuple(sizes[level.stage] for level in self.levels)

    @property
    def grids(self) -> tuple[Grid, ...]:
        """Cells and anchors of every detection level."""
        return tuple(
            Grid(size, size, anchor_sizes(level.sizes, level.ratios))
            for size, level in zip(self.level_sizes, self.levels, strict=True)
        )

    @property
    def anchor_count(self) -> int:
        """Number of anchors A, the rows of both outputs."""
        return sum(
            size * size * level.anchors_per_cell
            for size, level in zip(self.level_sizes, self.levels, strict=True)
        )

    @property
    def parameter_count(self) -> int:
        """Number of weights and biases."""
        return sum(math.prod(shape) for shape in self.tensor_shapes.values())

    @property
    def multiply_adds(self) -> int:
        """Multiply-accumulate operations of all convolutions for one picture."""
        return sum(size**2 * math.prod(layer.weight_shape) for layer, size in _layer_sizes(self))

    def with_input_size(self, input_size: int) -> Network:
        """The same layers for another input size."""
        return dataclasses.replace(self, input_size=input_size)

    def _sizes(self) -> Iterator[int]:
        size = self.input_size
        for stage in self.stages:
            if stage.pool:
                size = (size + 1) // 2
            size += 2 * stage.padding - 2
            yield size

    def to_dict(self) -> dict[str, Any]:
        """The network as JSON values; ``architectures.from_dict`` reads it back."""
        return dataclasses.asdict(self)


class Builder(Protocol[Tensor]):
    """The five operations of the network; all see row-major pictures."""

    def pool(self, x: Tensor, name: str) -> Tensor:
        """2x2 max pool of stride 2 that rounds odd sizes up; padding never wins."""
        ...

    def convolve(self, x: Tensor, layer: Convolution) -> Tensor:
        """3x3 convolution with bias and, if the layer says so, ReLU."""
        ...

    def flatten(self, x: Tensor, columns: int, name: str) -> Tensor:
        """A feature map as (N, rows, columns), ordered by y, x, anchor, column."""
        ...

    def sigmoid(self, x: Tensor, name: str) -> Tensor:
        """Element-wise logistic function."""
        ...

    def concatenate(self, parts: Sequence[Tensor], name: str) -> Tensor:
        """Join (N, rows, columns) tensors along the rows."""
        ...


def build(network: Network, image: Tensor, builder: Builder[Tensor]) -> tuple[Tensor, Tensor]:
    """Walk the network once, from the picture to its two outputs.

    Args:
        network: What to build.
        image: The builder's input, (N, 3, S, S) or (N, S, S, 3), RGB 0..1.
        builder: The five operations.

    Returns:
        Raw box offsets (N, A, 4) and scores (N, A, C).
    """
    features = []
    x = image
    for index, (stage, layer) in enumerate(zip(network.stages, network.backbone, strict=True)):
        if stage.pool:
            x = builder.pool(x, f"maxpool2d_{index - 1}")
        x = builder.convolve(x, layer)
        features.append(x)
    loc, scores = [], []
    for index, level in enumerate(network.levels):
        feature = features[level.stage]
        loc.append(_build_head(network, index, "loc", feature, builder))
        logits = _build_head(network, index, "cls", feature, builder)
        scores.append(builder.sigmoid(logits, f"cls_{index}_activation"))
    return builder.concatenate(loc, LOC_NAME), builder.concatenate(scores, SCORES_NAME)


def _build_head(
    network: Network, index: int, branch: str, feature: Tensor, builder: Builder[Tensor]
) -> Tensor:
    inner, outer = network.head(index, branch)
    columns = outer.outputs // network.levels[index].anchors_per_cell
    x = builder.convolve(builder.convolve(feature, inner), outer)
    return builder.flatten(x, columns, f"{branch}_{index}_reshape")


class _GraphSteps:
    """A builder of graphs; values are their names."""

    def __init__(self, steps: GraphBuilder) -> None:
        self._steps = steps

    def pool(self, x: str, name: str) -> str:
        _, height, width = self._steps.shapes[x]
        padding = (0, 0, height % 2, width % 2)
        return self._steps.add(ops.MaxPool, name, x, kernel=(2, 2), strides=(2, 2), padding=padding)

    def convolve(self, x: str, layer: Convolution) -> str:
        padding = (layer.padding,) * 4
        y = self._steps.add(
            ops.Convolution, layer.name, x, filters=layer.outputs, kernel=(3, 3), padding=padding
        )
        return self._steps.add(ops.Relu, f"{layer.name}_activation", y) if layer.relu else y

    def flatten(self, x: str, columns: int, name: str) -> str:
        rows = math.prod(self._steps.shapes[x]) // columns
        last = self._steps.add(ops.Transpose, f"{name}_permute", x, order=(0, 2, 3, 1))
        return self._steps.add(ops.Reshape, name, last, target=(rows, columns))

    def sigmoid(self, x: str, name: str) -> str:
        return self._steps.add(ops.Sigmoid, name, x)

    def concatenate(self, parts: Sequence[str], name: str) -> str:
        return self._steps.add(ops.Concatenate, name, *parts, axis=1)


class _Collector:
    """A builder that computes nothing and remembers the convolutions it was shown."""

    def __init__(self) -> None:
        self.layers: list[Convolution] = []

    def pool(self, x: None, name: str) -> None:
        return None

    def convolve(self, x: None, layer: Convolution) -> None:
        self.layers.append(layer)

    def flatten(self, x: None, columns: int, name: str) -> None:
        return None

    def sigmoid(self, x: None, name: str) -> None:
        return None

    def concatenate(self, parts: Sequence[None], name: str) -> None:
        return None


def _layer_sizes(network: Network) -> Iterator[tuple[Convolution, int]]:
    """Every convolution and the height (= width) of its output, in cells."""
    yield from zip(network.backbone, network.stage_sizes, strict=True)
    for index, size in enumerate(network.level_sizes):
        for branch in ("loc", "cls"):
            yield from ((layer, size) for layer in network.head(index, branch))


def _check_network(network: Network) -> None:
    check_integer("input_size", network.input_size, 8, _MAX_INPUT_SIZE)
    check_labels(network.classes)
    check_integer("number of stages", len(network.stages), 1, _MAX_STAGES)
    check_integer("number of levels", len(network.levels), 1, _MAX_STAGES)
    for stage in network.stages:
        check_integer("stage filters", stage.filters, 1, _MAX_CHANNELS)
        check_integer("stage padding", stage.padding, 0, 1)
        if not isinstance(stage.pool, bool):
            raise InvalidArgumentError(f"stage pool: expected a bool, but got {stage.pool!r}.")
    if network.stages[0].pool:
        raise InvalidArgumentError("The first stage must not pool: it sees the picture.")
    for level in network.levels:
        _check_level(level, len(network.stages))
    last = max(level.stage for level in network.levels)
    if last < len(network.stages) - 1:
        raise InvalidArgumentError(f"No level sees the stages after stage {last}.")
    check_numbers("variances", network.variances)
    if len(network.variances) != BOX_COORDINATES:
        raise InvalidArgumentError(f"variances: expected 4, but got {len(network.variances)}.")
    if min(network.stage_sizes) < 1:
        raise InvalidArgumentError(
            f"An input of {network.input_size} pixels is too small for "
            f"{len(network.stages)} stages: their sizes would be {network.stage_sizes}."
        )
    outputs = network.anchor_count * (BOX_COORDINATES + len(network.classes))
    check_integer("size of the outputs", outputs, 1, _MAX_OUTPUTS)
    features = max(layer.outputs * size**2 for layer, size in _layer_sizes(network))
    check_integer("size of the largest feature map", features, 1, _MAX_ACTIVATIONS)


def _check_level(level: Level, stages: int) -> None:
    check_integer("level stage", level.stage, 0, stages - 1)
    check_integer("loc_filters", level.loc_filters, 1, _MAX_CHANNELS)
    check_integer("cls_filters", level.cls_filters, 1, _MAX_CHANNELS)
    check_numbers("anchor sizes", level.sizes)
    check_numbers("anchor ratios", level.ratios)
