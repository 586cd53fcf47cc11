"""The operations a network is made of, said once: attributes, parameters, shapes and limits.

Every value of a graph has a batch axis in front. A *shape* here is that of one sample, without it:
(channels, height, width) for a feature map, (features,) for a vector. `Transpose` and `Concatenate`
count axes with the batch, as the frameworks do, and never move it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from facemask_zoo.errors import WeightsError

Shape = tuple[int, ...]
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
"""Top, left, bottom, right."""

_MAX_KERNEL = 512
_MAX_SCALE = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """One step of a network; the value it computes has its name.

    Attributes:
        name: Unique in the graph.
        inputs: Names of the values that it sees, in order.
    """

    name: str
    inputs: tuple[str, ...]

    arity: ClassVar[int | None] = 1
    """How many inputs there are; None for one or more."""

    @property
    def kind(self) -> str:
        """Name of the operation, as messages say it."""
        return type(self).__name__

    def check(self) -> None:
        """See that the attributes make sense by themselves.

        Raises:
            WeightsError: They do not.
        """

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        """Shape of the result for inputs of these shapes.

        Raises:
            WeightsError: The operation cannot be applied to them.
        """
        return inputs[0]

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """Shapes of the tensors that belong to it, by their part of the name."""
        return {}

    def parameter_count(self, inputs: Sequence[Shape]) -> int:
        """Numbers in the tensors that belong to it."""
        return sum(map(math.prod, self.parameters(inputs).values()))

    def multiply_adds(self, inputs: Sequence[Shape], output: Shape) -> int:
        """Multiply-accumulate operations for one sample; 0 where they do not count."""
        return 0

    def refuse(self, why: str) -> WeightsError:
        """The error that says what is wrong with this operation."""
        return WeightsError(f"{self.kind} {self.name!r}: {why}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window(Operation):
    """What slides over a feature map: a kernel with strides and padding.

    Attributes:
        kernel: Height and width.
        strides: Steps down and to the right.
        padding: Rows and columns added on each side.
    """

    kernel: Pair
    strides: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)

    def check(self) -> None:
        sizes = (*self.kernel, *self.strides, *self.reach)
        if not all(1 <= size <= _MAX_KERNEL for size in sizes):
            raise self.refuse(f"kernel {self.kernel} or strides {self.strides} are out of range")
        if not all(0 <= size <= _MAX_KERNEL for size in self.padding):
            raise self.refuse(f"padding {self.padding} is out of range")

    @property
    def reach(self) -> Pair:
        """Height and width of what one step sees."""
        return self.kernel

    def spatial(self, shape: Shape) -> Pair:
        """Height and width of the result."""
        if len(shape) != 3:
            raise self.refuse(f"expected a feature map (C, H, W), but got shape {shape}")
        top, left, bottom, right = self.padding
        padded = (shape[1] + top + bottom, shape[2] + left + right)
        sizes = [
            (size - reach) // stride + 1
            for size, reach, stride in zip(padded, self.reach, self.strides, strict=True)
        ]
        if min(sizes) < 1 or any(p < r for p, r in zip(padded, self.reach, strict=True)):
            raise self.refuse(f"its kernel is larger than its input of shape {shape}")
        return (sizes[0], sizes[1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convolution(Window):
    """Two-dimensional convolution with bias; depthwise where there are as many groups as channels.

    Its tensors are ``weight`` (filters, channels / groups, kernel height, kernel width) and
    ``bias`` (filters,).

    Attributes:
        filters: Output channels.
        groups: Groups of channels that do not see each other.
        dilations: Distance between the taps of the kernel.
    """

    filters: int
    groups: int = 1
    dilations: Pair = (1, 1)

    def check(self) -> None:
        if self.filters < 1 or self.groups < 1 or self.filters % self.groups:
            raise self.refuse(f"{self.filters} filters cannot be made of {self.groups} groups")
        if not all(1 <= step <= _MAX_KERNEL for step in self.dilations):
            raise self.refuse(f"dilations {self.dilations} are out of range")
        super().check()

    @property
    def reach(self) -> Pair:
        return (
            (self.kernel[0] - 1) * self.dilations[0] + 1,
            (self.kernel[1] - 1) * self.dilations[1] + 1,
        )

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        spatial = self.spatial(inputs[0])
        if inputs[0][0] % self.groups:
            raise self.refuse(f"{inputs[0][0]} channels cannot be split in {self.groups} groups")
        return (self.filters, *spatial)

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        channels = inputs[0][0] // self.groups
        return {"weight": (self.filters, channels, *self.kernel), "bias": (self.filters,)}

    def multiply_adds(self, inputs: Sequence[Shape], output: Shape) -> int:
        return math.prod(self.parameters(inputs)["weight"]) * math.prod(output[1:])


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaxPool(Window):
    """Largest value under the kernel; padding never wins."""

    def check(self) -> None:
        super().check()
        _check_pool_padding(self)

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        return (*inputs[0][:1], *self.spatial(inputs[0]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AveragePool(Window):
    """Mean under the kernel.

    Attributes:
        count_padding: Whether padding counts as zeros; otherwise only what is inside is averaged.
    """

    count_padding: bool = False

    def check(self) -> None:
        super().check()
        _check_pool_padding(self)

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        return (*inputs[0][:1], *self.spatial(inputs[0]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlobalAveragePool(Operation):
    """Mean over height and width, which become 1."""

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        return (feature_map(self, inputs[0])[0], 1, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Operation):
    """``x @ weight.T + bias`` over the last axis; ``weight`` is (features, inputs).

    Attributes:
        features: Numbers in the result.
    """

    features: int

    def check(self) -> None:
        if self.features < 1:
            raise self.refuse(f"{self.features} features are out of range")

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        if not inputs[0]:
            raise self.refuse("its input has no axis besides the batch")
        return (*inputs[0][:-1], self.features)

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        return {"weight": (self.features, inputs[0][-1]), "bias": (self.features,)}

    def multiply_adds(self, inputs: Sequence[Shape], output: Shape) -> int:
        return math.prod(inputs[0]) * self.features


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchNorm(Operation):
    """Normalisation of channels by recorded statistics; folded into its neighbours when read.

    Its tensors ``gamma``, ``beta``, ``mean`` and ``variance`` have one number for each channel.

    Attributes:
        epsilon: Added to the variance, in single precision.
    """

    epsilon: float

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        return dict.fromkeys(("gamma", "beta", "mean", "variance"), inputs[0][:1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Add(Operation):
    """Sum of two values; a (C, 1, 1) one serves every cell of the other."""

    arity = 2

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        return _broadcast(self, inputs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multiply(Operation):
    """Product of two values; a (C, 1, 1) one serves every cell of the other."""

    arity = 2

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        return _broadcast(self, inputs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Concatenate(Operation):
    """Joins values.

    Attributes:
        axis: Along which, the batch being 0.
    """

    axis: int

    arity = None

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        place = self.axis - 1
        if not all(0 <= place < len(shape) for shape in inputs):
            raise self.refuse(f"there is no axis {self.axis} in shapes {list(inputs)}")
        others = {(*shape[:place], *shape[place + 1 :]) for shape in inputs}
        if len(others) > 1:
            raise self.refuse(f"shapes {list(inputs)} do not fit along axis {self.axis}")
        total = sum(shape[place] for shape in inputs)
        return (*inputs[0][:place], total, *inputs[0][place + 1 :])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slice(Operation):
    """Part of a value along one axis.

    Attributes:
        axis: Which, the batch being 0.
        start: First index that stays.
        stop: First index that does not.
    """

    axis: int
    start: int
    stop: int

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        place = self.axis - 1
        if not 0 <= place < len(inputs[0]):
            raise self.refuse(f"there is no axis {self.axis} in shape {inputs[0]}")
        if not 0 <= self.start < self.stop <= inputs[0][place]:
            raise self.refuse(f"{self.start}:{self.stop} is outside of shape {inputs[0]}")
        return (*inputs[0][:place], self.stop - self.start, *inputs[0][place + 1 :])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pad(Operation):
    """Zeros around a feature map.

    Attributes:
        padding: Rows and columns added on each side.
        channels: Channels added before and after.
    """

    padding: Padding = (0, 0, 0, 0)
    channels: Pair = (0, 0)

    def check(self) -> None:
        if not all(0 <= size <= _MAX_KERNEL for size in (*self.padding, *self.channels)):
            raise self.refuse(f"padding {self.padding}, {self.channels} is out of range")

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        channels, height, width = feature_map(self, inputs[0])
        top, left, bottom, right = self.padding
        return (channels + sum(self.channels), height + top + bottom, width + left + right)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Upsample(Operation):
    """Enlarges a feature map by whole factors.

    Attributes:
        scales: Factors of height and width.
        mode: ``"nearest"`` repeats cells; ``"bilinear"`` samples between the centres of cells (half
            a pixel from their corners), and repeats the outermost ones.
    """

    scales: Pair
    mode: str = "nearest"

    def check(self) -> None:
        if self.mode not in ("nearest", "bilinear"):
            raise self.refuse(f"the mode {self.mode!r} is unknown")
        if not all(1 <= scale <= _MAX_SCALE for scale in self.scales):
            raise self.refuse(f"scales {self.scales} are out of range")

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        channels, height, width = feature_map(self, inputs[0])
        return (channels, height * self.scales[0], width * self.scales[1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reshape(Operation):
    """The same numbers in another shape.

    Attributes:
        target: The new shape, without the batch.
    """

    target: Shape

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        if min(self.target, default=1) < 1 or math.prod(self.target) != math.prod(inputs[0]):
            raise self.refuse(f"shape {inputs[0]} cannot become {self.target}")
        return self.target


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transpose(Operation):
    """Axes in another order.

    Attributes:
        order: Old axis at each new place; begins with the batch, 0.
    """

    order: tuple[int, ...]

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        shape = (0, *inputs[0])
        if sorted(self.order) != list(range(len(shape))) or self.order[0] != 0:
            raise self.refuse(f"{self.order} is no order of the axes of {inputs[0]} behind a batch")
        return tuple(shape[axis] for axis in self.order[1:])


class Activation(Operation):
    """A function of each number by itself, but for `Softmax`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Relu(Activation):
    """max(x, 0)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Relu6(Activation):
    """min(max(x, 0), 6)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeakyRelu(Activation):
    """x where it is positive, else slope times x.

    Attributes:
        slope: Below zero; kept in single precision, as every format does.
    """

    slope: float

    def __post_init__(self) -> None:
        with np.errstate(over="ignore"):  # an infinite slope is refused below
            object.__setattr__(self, "slope", float(np.float32(self.slope)))

    def check(self) -> None:
        if not math.isfinite(self.slope):
            raise self.refuse(f"a slope of {self.slope} is out of range")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prelu(Activation):
    """Leaky ReLU with a slope of its own for each channel; ``slope`` is (channels,)."""

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        return {"slope": inputs[0][:1]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tanh(Activation):
    """Hyperbolic tangent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HardSigmoid(Activation):
    """min(max(x / 6 + 1 / 2, 0), 1)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HardSwish(Activation):
    """x times its hard sigmoid."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Softmax(Activation):
    """Exponentials that sum to 1 along an axis.

    Attributes:
        axis: Which, the batch being 0.
    """

    axis: int

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        if not 1 <= self.axis <= len(inputs[0]):
            raise self.refuse(f"there is no axis {self.axis} in shape {inputs[0]}")
        return inputs[0]


OPERATIONS: dict[str, type[Operation]] = {
    kind.__name__: kind
    for kind in (
        Convolution,
        MaxPool,
        AveragePool,
        GlobalAveragePool,
        Linear,
        BatchNorm,
        Add,
        Multiply,
        Concatenate,
        Slice,
        Pad,
        Upsample,
        Reshape,
        Transpose,
        Relu,
        Relu6,
        LeakyRelu,
        Prelu,
        Sigmoid,
        Tanh,
        HardSigmoid,
        HardSwish,
        Softmax,
    )
}
"""Every operation by name."""


def feature_map(operation: Operation, shape: Shape) -> tuple[int, int, int]:
    """The shape as channels, height and width.

    Raises:
        WeightsError: It has another number of axes.
    """
    if len(shape) != 3:
        raise operation.refuse(f"expected a feature map (C, H, W), but got shape {shape}")
    return (shape[0], shape[1], shape[2])


def _broadcast(operation: Operation, inputs: Sequence[Shape]) -> Shape:
    first, second = inputs
    large, small = (first, second) if math.prod(first) >= math.prod(second) else (second, first)
    if large == small or (len(large) == len(small) == 3 and small == (large[0], 1, 1)):
        return large
    raise operation.refuse(f"shapes {first} and {second} do not fit")


def _check_pool_padding(window: Window) -> None:
    """A window that lies in the padding alone has no largest value and no mean."""
    top, left, bottom, right = window.padding
    height, width = window.kernel
    if max(top, bottom) >= height or max(left, right) >= width:
        raise window.refuse(f"padding {window.padding} is no smaller than kernel {window.kernel}")
