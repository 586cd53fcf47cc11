"""ncnn: ``.param`` with the layers as text and ``.bin`` with the weights, both without ncnn.

ncnn knows no batch: its axes are ours less one.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.formats.emitting import Rules, emit, full_padding, same_padding
from facemask_zoo.converters.formats.importing import (
    Importer,
    axis_of,
    chosen_size,
    damage_reported,
    reshape_target,
    settled_shape,
)
from facemask_zoo.converters.limits import MAX_TEXT_BYTES, read_bytes
from facemask_zoo.converters.signatures import NCNN_MAGIC
from facemask_zoo.errors import UnsupportedOperationError, WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.graph import Names
from facemask_zoo.graph.operations import Operation, Padding, Pair, Shape
from facemask_zoo.graph.program import Program

FORMAT = "ncnn"

_PARAM_MAGIC = NCNN_MAGIC.decode()
_CARD_COMMENT = f"# {CARD_KEY}: "
_MAX_LAYERS = 20_000
_FLOAT32, _FLOAT32_AS_WELL, _FLOAT16 = 0, 0x0002C056, 0x01306B47
_ARRAY_KEY = -23300

# Values of ncnn's numbered parameters.
_MAX_POOL, _AVERAGE_POOL = 0, 1
_FULL, _VALID, _SAME_UPPER, _SAME_LOWER = 0, 1, 2, 3
# What a Reshape calls the axes of a shape, by their number.
_KEYS = {1: [0], 2: [1, 0], 3: [2, 1, 0], 4: [2, 11, 1, 0]}
_ADD, _SUBTRACT, _MULTIPLY = 0, 1, 2
_NEAREST, _BILINEAR = 1, 2
_SIXTH = 1 / 6

# New order of the axes behind the batch, for each number of axes, as `order_type` counts them.
_ORDERS: Mapping[int, tuple[tuple[int, ...], ...]] = {
    2: ((0, 1), (1, 0)),
    3: ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)),
    4: (
        *((0, 1, 2, 3), (0, 1, 3, 2), (0, 2, 1, 3), (0, 2, 3, 1), (0, 3, 1, 2), (0, 3, 2, 1)),
        *((1, 0, 2, 3), (1, 0, 3, 2), (1, 2, 0, 3), (1, 2, 3, 0), (1, 3, 0, 2), (1, 3, 2, 0)),
        *((2, 0, 1, 3), (2, 0, 3, 1), (2, 1, 0, 3), (2, 1, 3, 0), (2, 3, 0, 1), (2, 3, 1, 0)),
        *((3, 0, 1, 2), (3, 0, 2, 1), (3, 1, 0, 2), (3, 1, 2, 0), (3, 2, 0, 1), (3, 2, 1, 0)),
    ),
}

Array = NDArray[np.float32]


def companions(path: Path) -> list[Path]:
    """The weights of a file of layers."""
    return [path.with_suffix(".bin")]


def write(program: Program, path: Path) -> None:
    """Write ``.param`` at `path` and ``.bin`` beside it.

    One sample goes in, without a batch, and the outputs come out without one. The card is a line
    after the last layer, where ncnn has stopped reading.

    Raises:
        UnsupportedOperationError: ncnn has no equivalent of an operation.
    """
    emitter = _Emitter(program)
    layers = emitter.layers()
    blobs = sum(len(layer.outputs) for layer in layers)
    lines = [_PARAM_MAGIC, f"{len(layers)} {blobs}", *map(str, layers)]
    if program.card:
        lines.append(f"{_CARD_COMMENT}{program.card}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.with_suffix(".bin").write_bytes(b"".join(layer.weights for layer in layers))


def read(path: Path) -> Program:
    """Read layers and weights.

    Raises:
        WeightsError: A file is damaged, or the two do not fit.
        UnsupportedOperationError: There is a layer that graphs do not have.
    """
    with damage_reported(path, "network of ncnn"):
        text = read_bytes(path, MAX_TEXT_BYTES).decode("utf-8")
        layers, card = _parsed(text)
        reader = _Reader(layers, _Weights(read_bytes(path.with_suffix(".bin"))))
        return reader.program(card)


@dataclasses.dataclass(frozen=True)
class _Layer:
    """A line of the graph.

    Attributes:
        kind: The layer's type.
        name: Its name.
        inputs: Blobs that it reads.
        outputs: Blobs that it writes.
        settings: Its parameters by number, as text; lists have their length in front.
        weights: What it has in the binary file, where it is written.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: Mapping[int, str]
    weights: bytes = b""

    def __str__(self) -> str:
        counts = (len(self.inputs), len(self.outputs))
        pairs = (f"{key}={value}" for key, value in self.settings.items())
        words = (self.kind, self.name, *counts, *self.inputs, *self.outputs, *pairs)
        return " ".join(map(str, words))

    def integer(self, key: int, default: int = 0) -> int:
        """A parameter that is an integer."""
        return int(self.settings.get(key, default))

    def number(self, key: int, default: float = 0.0) -> float:
        """A parameter that is a number."""
        return float(self.settings.get(key, default))

    def numbers(self, key: int) -> list[float]:
        """A parameter that is a list; empty if it is not given."""
        words = self.settings.get(_ARRAY_KEY - key, "0").split(",")
        if len(words) != int(words[0]) + 1:
            raise WeightsError(f"{self.kind} {self.name!r}: the list {key} is not whole.")
        return [float(word) for word in words[1:]]

    def integers(self, key: int) -> list[int]:
        """A parameter that is a list of integers."""
        return [int(each) for each in self.numbers(key)]

    def pair(self, across: int, down: int, default: int) -> Pair:
        """Numbers for rows and columns; that for rows is that for columns unless given."""
        columns = self.integer(across, default)
        return (self.integer(down, columns), columns)


class _Emitter:
    """Collects layers; values are the names of blobs."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._layers: list[_Layer] = []
        self._names = Names()
        for name in program.graph.shapes:
            self._names.fresh(name)

    def layers(self) -> list[_Layer]:
        """All layers, in order."""
        graph = self.program.graph
        sizes = _sizes(graph.input_shape)
        self._layers.append(_Layer("Input", graph.input, (), (graph.input,), _texts(sizes)))
        emit(graph, graph.input, self, _RULES, FORMAT)
        return self._with_splits()

    def shape(self, operation: Operation, index: int = 0) -> Shape:
        """Shape of an input, without the batch."""
        return self.program.graph.shapes[operation.inputs[index]]

    def add(
        self,
        kind: str,
        operation: Operation,
        inputs: Sequence[str],
        settings: Mapping[int, object] | None = None,
        weights: bytes = b"",
    ) -> str:
        """Append the layer of an operation; its blob has its name."""
        return self._add(kind, operation.name, inputs, settings or {}, weights)

    def step(
        self,
        kind: str,
        operation: Operation,
        what: str,
        inputs: Sequence[str],
        settings: Mapping[int, object],
    ) -> str:
        """Append a layer on the way to an operation's."""
        name = self._names.fresh(f"{operation.name}_{what}")
        return self._add(kind, name, inputs, settings, b"")

    def weighted(self, operation: Operation) -> bytes:
        """Weight and bias as a layer stores them: a flag of plain numbers before the first."""
        flag = _FLOAT32.to_bytes(4, "little")
        return flag + self.raw(operation, "weight") + self.raw(operation, "bias")

    def raw(self, operation: Operation, part: str) -> bytes:
        """The numbers of a tensor."""
        values = self.program.tensors[f"{operation.name}.{part}"]
        return np.ascontiguousarray(values, dtype="<f4").tobytes()

    def size(self, operation: Operation) -> int:
        """Number of weights."""
        return self.program.tensors[f"{operation.name}.weight"].size

    def _add(
        self,
        kind: str,
        name: str,
        inputs: Sequence[str],
        settings: Mapping[int, object],
        weights: bytes,
    ) -> str:
        layer = _Layer(kind, name, tuple(inputs), (name,), _texts(settings), weights)
        self._layers.append(layer)
        return name

    def _with_splits(self) -> list[_Layer]:
        """The layers, and a ``Split`` after each blob that several read: ncnn allows one reader.

        The world outside is a reader of every output.
        """
        outputs = self.program.graph.outputs
        readers = Counter(name for layer in self._layers for name in layer.inputs)
        copies: dict[str, list[str]] = {}
        layers = []
        for layer in self._layers:
            inputs = tuple(copies[x].pop() if x in copies else x for x in layer.inputs)
            (name,) = layer.outputs
            shared = readers[name] + (name in outputs) > 1
            inner = self._names.fresh(f"{name}_inner") if shared and name in outputs else name
            layers.append(dataclasses.replace(layer, inputs=inputs, outputs=(inner,)))
            if shared:
                parts = [self._names.fresh(f"{name}_split") for _ in range(readers[name])]
                copies[name] = list(reversed(parts))
                if name in outputs:
                    parts.append(name)
                split = self._names.fresh(f"{name}_splits")
                layers.append(_Layer("Split", split, (inner,), tuple(parts), {}))
        return layers


def _texts(settings: Mapping[int, object]) -> dict[int, str]:
    return {key: _text(value) for key, value in settings.items()}


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, (len(value), *value)))
    return f"{value:.9e}" if isinstance(value, float) else str(int(str(value)))


def _sizes(shape: Shape) -> dict[int, object]:
    """A shape as ncnn numbers it: width, height, channels, and depth between the last two."""
    keys = {1: (0,), 2: (1, 0), 3: (2, 1, 0), 4: (2, 11, 1, 0)}.get(len(shape))
    if keys is None:
        raise UnsupportedOperationError(FORMAT, f"a value of shape {shape}")
    return dict(sorted(zip(keys, shape, strict=True)))


def _window(op: ops.Window, dilations: Pair = (1, 1)) -> dict[int, object]:
    """Kernel and strides as a convolution numbers them, each twice where they differ."""
    settings: dict[int, object] = {}
    for across, down, (rows, columns) in (
        (1, 11, op.kernel),
        (2, 12, dilations),
        (3, 13, op.strides),
    ):
        settings[across] = columns
        if rows != columns:
            settings[down] = rows
    return settings


def _write_convolution(e: _Emitter, op: ops.Convolution, x: Sequence[str]) -> str:
    top, left, bottom, right = op.padding
    settings = {0: op.filters, **_window(op, op.dilations), 4: left, 15: right, 14: top, 16: bottom}
    settings |= {5: 1, 6: e.size(op)}
    if op.groups == 1:
        return e.add("Convolution", op, x, settings, e.weighted(op))
    return e.add("ConvolutionDepthWise", op, x, {**settings, 7: op.groups}, e.weighted(op))


def _write_pool(e: _Emitter, op: ops.MaxPool | ops.AveragePool, x: Sequence[str]) -> str:
    top, left, bottom, right = op.padding
    average = isinstance(op, ops.AveragePool)
    settings: dict[int, object] = {
        0: _AVERAGE_POOL if average else _MAX_POOL,
        1: op.kernel[1],
        11: op.kernel[0],
        2: op.strides[1],
        12: op.strides[0],
        3: left,
        14: right,
        13: top,
        15: bottom,
        5: _VALID,
    }
    if isinstance(op, ops.AveragePool):
        settings[6] = int(op.count_padding)
    return e.add("Pooling", op, x, settings)


def _write_mean(e: _Emitter, op: ops.GlobalAveragePool, x: Sequence[str]) -> str:
    """The layer gives a vector, which is made a feature map again."""
    mean = e.step("Pooling", op, "vector", x, {0: _AVERAGE_POOL, 4: 1})
    return e.add("Reshape", op, [mean], _sizes((e.shape(op)[0], 1, 1)))


def _write_linear(e: _Emitter, op: ops.Linear, x: Sequence[str]) -> str:
    if len(e.shape(op)) > 2:
        raise UnsupportedOperationError(FORMAT, f"{op.kind} of {e.shape(op)}", op.name)
    return e.add("InnerProduct", op, x, {0: op.features, 1: 1, 2: e.size(op)}, e.weighted(op))


def _write_slice(e: _Emitter, op: ops.Slice, x: Sequence[str]) -> str:
    limits = {9: op.start, 10: op.stop, 11: op.axis - 1}
    return e.add("Crop", op, x, {_ARRAY_KEY - key: (value,) for key, value in limits.items()})


def _write_pad(e: _Emitter, op: ops.Pad, x: Sequence[str]) -> str:
    top, left, bottom, right = op.padding
    front, behind = op.channels
    settings = {0: top, 1: bottom, 2: left, 3: right, 4: 0, 5: 0.0, 7: front, 8: behind}
    return e.add("Padding", op, x, settings)


def _write_upsample(e: _Emitter, op: ops.Upsample, x: Sequence[str]) -> str:
    down, right = (float(scale) for scale in op.scales)
    kind = _NEAREST if op.mode == "nearest" else _BILINEAR
    return e.add("Interp", op, x, {0: kind, 1: down, 2: right})


def _write_transpose(e: _Emitter, op: ops.Transpose, x: Sequence[str]) -> str:
    order = tuple(axis - 1 for axis in op.order[1:])
    if order == (0,):
        return e.add("Noop", op, x)
    orders = _ORDERS.get(len(order), ())
    if order not in orders:
        raise UnsupportedOperationError(FORMAT, f"{op.kind} by {op.order}", op.name)
    return e.add("Permute", op, x, {0: orders.index(order)})


def _write_prelu(e: _Emitter, op: ops.Prelu, x: Sequence[str]) -> str:
    return e.add("PReLU", op, x, {0: e.shape(op)[0]}, e.raw(op, "slope"))


def _write_softmax(e: _Emitter, op: ops.Softmax, x: Sequence[str]) -> str:
    return e.add("Softmax", op, x, {0: op.axis - 1, 1: 1})


def _plain(kind: str, settings: Mapping[int, object] | None = None) -> Any:
    return lambda e, op, x: e.add(kind, op, x, settings)


_RULES: Rules[_Emitter, str] = {
    ops.Convolution: _write_convolution,
    ops.MaxPool: _write_pool,
    ops.AveragePool: _write_pool,
    ops.GlobalAveragePool: _write_mean,
    ops.Linear: _write_linear,
    ops.Add: _plain("BinaryOp", {0: _ADD}),
    ops.Multiply: _plain("BinaryOp", {0: _MULTIPLY}),
    ops.Concatenate: lambda e, op, x: e.add("Concat", op, x, {0: op.axis - 1}),
    ops.Slice: _write_slice,
    ops.Pad: _write_pad,
    ops.Upsample: _write_upsample,
    ops.Reshape: lambda e, op, x: e.add("Reshape", op, x, _sizes(op.target)),
    ops.Transpose: _write_transpose,
    ops.Relu: _plain("ReLU"),
    ops.Relu6: _plain("Clip", {0: 0.0, 1: 6.0}),
    ops.LeakyRelu: lambda e, op, x: e.add("ReLU", op, x, {0: op.slope}),
    ops.Prelu: _write_prelu,
    ops.Sigmoid: _plain("Sigmoid"),
    ops.Tanh: _plain("TanH"),
    ops.HardSigmoid: _plain("HardSigmoid", {0: _SIXTH, 1: 0.5}),
    ops.HardSwish: _plain("HardSwish", {0: _SIXTH, 1: 0.5}),
    ops.Softmax: _write_softmax,
}


def _parsed(text: str) -> tuple[list[_Layer], str]:
    """The layers, and the text of the card after them; empty if there is none."""
    magic, counts, *lines = text.splitlines()
    count = int(counts.split()[0])
    if magic.strip() != _PARAM_MAGIC or not 0 <= count <= min(len(lines), _MAX_LAYERS):
        raise WeightsError(f"Not the layers of ncnn: {magic!r:.50} claims {count}.")
    layers = [_layer(line.split()) for line in lines[:count]]
    rest = [line for line in lines[count:] if line.strip()]
    if len(rest) > 1 or not all(line.startswith(_CARD_COMMENT) for line in rest):
        raise WeightsError(f"Other text follows the {count} layers that the file claims.")
    return layers, "".join(rest).removeprefix(_CARD_COMMENT)


def _layer(words: Sequence[str]) -> _Layer:
    kind, name, *rest = words
    inputs, outputs = int(rest[0]), int(rest[1])
    if min(inputs, outputs) < 0 or inputs + outputs + 2 > len(rest):
        raise WeightsError(f"{kind} {name!r}: {inputs} inputs and {outputs} outputs are not named.")
    settings = {}
    for word in rest[2 + inputs + outputs :]:
        key, _, value = word.partition("=")
        settings[int(key)] = value
    blobs = rest[2 : 2 + inputs + outputs]
    return _Layer(kind, name, tuple(blobs[:inputs]), tuple(blobs[inputs:]), settings)


class _Weights:
    """Walks the binary file; no size is taken on trust."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def raw(self, count: int) -> Array:
        """Plain numbers.

        Raises:
            WeightsError: The file ends before them.
        """
        return np.frombuffer(self._take(count, 4), "<f4").astype(np.float32)

    def flagged(self, count: int) -> Array:
        """Numbers that follow a flag, which may say that they are of half precision."""
        flag = int.from_bytes(self._take(1, 4), "little")
        if flag in (_FLOAT32, _FLOAT32_AS_WELL):
            return self.raw(count)
        if flag != _FLOAT16:
            raise UnsupportedOperationError(FORMAT, f"weights of the kind {flag:#x}")
        values = np.frombuffer(self._take(count, 2), "<f2").astype(np.float32)
        self._take(count % 2, 2)  # which makes whole words
        return values

    def check_end(self) -> None:
        """See that nothing is left."""
        if self._offset != len(self._data):
            raise WeightsError("Bytes follow the last weight.")

    def _take(self, count: int, size: int) -> bytes:
        end = self._offset + count * size
        if count < 0 or end > len(self._data):
            raise WeightsError(f"{count} weights are expected at {self._offset}, past the end.")
        piece = self._data[self._offset : end]
        self._offset = end
        return piece


class _Reader:
    """Follows the layers of a file."""

    def __init__(self, layers: Sequence[_Layer], weights: _Weights) -> None:
        self._layers = layers
        self.weights = weights
        images = [layer for layer in layers if layer.kind == "Input"]
        if len(images) != 1 or len(images[0].outputs) != 1:
            raise WeightsError(f"Expected one input, but the file has {len(images)}.")
        (name,) = images[0].outputs
        self.importer = Importer(FORMAT, name, _shape(images[0]))
        self._values = {name: self.importer.input}
        # Blobs that nothing has read are the outputs.
        self._unread: dict[str, None] = {}

    def program(self, card: str) -> Program:
        """What was read."""
        for layer in self._layers:
            if layer.kind != "Input":
                self._read(layer)
        self.weights.check_end()
        outputs = dict.fromkeys(self._values[name] for name in self._unread)
        return self.importer.program(list(outputs), card)

    def _read(self, layer: _Layer) -> None:
        rule = _READERS.get(layer.kind)
        if rule is None:
            raise self.importer.unsupported(layer.kind, layer.name)
        missing = [name for name in layer.inputs if name not in self._values]
        if missing or not layer.inputs:
            raise WeightsError(f"{layer.kind} {layer.name!r}: nothing before it gives {missing}.")
        results = rule(self, layer, [self._values[name] for name in layer.inputs])
        for name in layer.inputs:
            self._unread.pop(name, None)
        for name, value in zip(layer.outputs, results, strict=True):
            self._values[name] = value
            self._unread[name] = None

    def activated(self, layer: _Layer, value: str, key: int = 9) -> str:
        """The value after the activation that a layer has taken in."""
        kind, numbers = layer.integer(key), layer.numbers(key + 1)
        name = f"{layer.name}_activation"
        if kind == 0:
            return value
        if kind == 2 and len(numbers) == 1:
            return self.importer.add(ops.LeakyRelu, name, value, slope=numbers[0])
        if kind == 3 and numbers == [0, 6]:
            return self.importer.add(ops.Relu6, name, value)
        if kind == 6 and len(numbers) == 2:
            gate = self.importer.hard_sigmoid(f"{name}_gate", value, *numbers)
            return self.importer.product(name, value, gate)
        if kind in (1, 4):
            return self.importer.add(ops.Relu if kind == 1 else ops.Sigmoid, name, value)
        raise self.importer.unsupported(f"the activation {kind} with {numbers}", layer.name)

    def reshape(self, name: str, value: str, target: Shape) -> str:
        """The value in another shape, or itself if it has that."""
        if self.importer.shape(value) == target:
            return value
        return self.importer.add(ops.Reshape, name, value, target=target)

    def axis(self, layer: _Layer, axis: int, value: str) -> int:
        """Our number for an axis, the batch being 0."""
        return axis_of(axis, len(self.importer.shape(value))) + 1


def _shape(layer: _Layer) -> Shape:
    """The shape that an input states."""
    width, height, channels = (layer.integer(key) for key in (0, 1, 2))
    shape = tuple(size for size in (channels, height, width) if size != 0)
    if not shape and chosen_size():  # as pictures are
        return settled_shape(layer.name, (3, 0, 0))
    if not shape or (channels and not height):
        raise WeightsError(
            f"Input {layer.name!r} does not say its shape: name height and width, as in "
            "model.ncnn.param@480x640."
        )
    return shape


def _read_convolution(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    filters, size = layer.integer(0), layer.integer(6)
    kernel = layer.pair(1, 11, 0)
    # Of a vector, a convolution is a linear layer.
    vector = len(r.importer.shape(x[0])) == 1
    image = (
        r.reshape(f"{layer.name}_map", x[0], (*r.importer.shape(x[0]), 1, 1)) if vector else x[0]
    )
    if min(filters, *kernel) < 1 or layer.integer(8) or layer.integer(19):
        raise r.importer.unsupported("integers or computed weights", layer.name)
    weight = r.weights.flagged(size).reshape((filters, -1, *kernel))
    bias = r.weights.raw(filters) if layer.integer(5) else None
    value = r.importer.convolution(
        layer.name,
        image,
        weight,
        bias,
        strides=layer.pair(3, 13, 1),
        padding=_sides(r, layer),
        dilations=layer.pair(2, 12, 1),
        groups=layer.integer(7, 1) if layer.kind == "ConvolutionDepthWise" else 1,
    )
    value = r.reshape(f"{layer.name}_vector", value, (filters,)) if vector else value
    return [r.activated(layer, value)]


def _sides(r: _Reader, layer: _Layer) -> Padding:
    """Top, left, bottom, right; the first is the left one, unless given the same as it."""
    left = layer.integer(4)
    top = layer.integer(14, left)
    if left < 0 or layer.number(18):
        raise r.importer.unsupported("padding by a mode, or with other than zeros", layer.name)
    return (top, left, layer.integer(16, top), layer.integer(15, left))


def _read_linear(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    features, size = layer.integer(0), layer.integer(2)
    if features < 1 or layer.integer(8):
        raise r.importer.unsupported("InnerProduct of integers", layer.name)
    weight = r.weights.flagged(size).reshape((features, -1))
    bias = r.weights.raw(features) if layer.integer(1) else None
    shape = r.importer.shape(x[0])
    rows = len(shape) == 2 and shape[1] == weight.shape[1]
    flat = x[0] if rows else r.reshape(f"{layer.name}_flat", x[0], (math.prod(shape),))
    return [r.activated(layer, r.importer.linear(layer.name, flat, weight, bias))]


def _read_pool(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    average = layer.integer(0) == _AVERAGE_POOL
    size = r.importer.spatial(x[0])
    if layer.integer(4):
        name = f"{layer.name}_map"
        if average:
            pooled = r.importer.add(ops.GlobalAveragePool, name, x[0])
        else:
            pooled = r.importer.add(ops.MaxPool, name, x[0], kernel=size, strides=size)
        return [r.reshape(layer.name, pooled, r.importer.shape(x[0])[:1])]
    if layer.integer(7):
        raise r.importer.unsupported("Pooling to a number of cells", layer.name)
    left = layer.integer(3)
    top = layer.integer(13, left)
    window = ops.MaxPool(
        name=layer.name,
        inputs=(x[0],),
        kernel=layer.pair(1, 11, 0),
        strides=layer.pair(2, 12, 1),
        padding=(top, left, layer.integer(15, top), layer.integer(14, left)),
    )
    window.check()
    padding = _pool_padding(r, layer, window, size)
    settings = {"kernel": window.kernel, "strides": window.strides, "padding": padding}
    if not average:
        return [r.importer.add(ops.MaxPool, layer.name, x[0], **settings)]
    counted = _counts_padding(r, layer, window) and any(padding)
    return [r.importer.add(ops.AveragePool, layer.name, x[0], count_padding=counted, **settings)]


def _pool_padding(r: _Reader, layer: _Layer, window: ops.MaxPool, size: Pair) -> Padding:
    mode = layer.integer(5)
    if mode == _VALID:
        return window.padding
    if mode == _FULL:
        padding = full_padding(window, size)
        if padding is None:
            raise r.importer.unsupported("Pooling of padding alone", layer.name)
        return padding
    if mode not in (_SAME_UPPER, _SAME_LOWER):
        raise r.importer.unsupported(f"Pooling with the padding {mode}", layer.name)
    top, left, bottom, right = same_padding(window, size)
    return (top, left, bottom, right) if mode == _SAME_UPPER else (bottom, right, top, left)


def _counts_padding(r: _Reader, layer: _Layer, window: ops.MaxPool) -> bool:
    """Whether a mean counts all of its padding; what ncnn takes out is what a layer states."""
    if layer.integer(6) or layer.integer(5) not in (_SAME_UPPER, _SAME_LOWER):
        return bool(layer.integer(6))
    if any(window.padding):
        raise r.importer.unsupported("an average that counts half its padding", layer.name)
    return True


def _read_norm(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    channels = layer.integer(0)
    parts = ("gamma", "mean", "variance", "beta")
    norm = {part: r.weights.raw(channels) for part in parts}
    return [r.importer.batch_norm(layer.name, x[0], norm, layer.number(1))]


def _read_scale(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    size = layer.integer(0)
    if size < 0 or len(x) != 1:
        raise r.importer.unsupported("Scale of two values", layer.name)
    scale = r.weights.raw(size)
    shift = r.weights.raw(size) if layer.integer(1) else None
    return [r.importer.scaled(layer.name, x[0], scale, shift)]


def _read_binary(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    kind = layer.integer(0)
    if layer.integer(1):
        return [_by_number(r, layer, x[0], kind, layer.number(2))]
    if kind not in (_ADD, _MULTIPLY) or len(x) != 2:
        raise r.importer.unsupported(f"BinaryOp of the kind {kind}", layer.name)
    left, right = _alike(r, layer, x[0], x[1])
    if kind == _MULTIPLY:
        return [r.importer.product(layer.name, left, right)]
    return [r.importer.add(ops.Add, layer.name, left, right)]


def _by_number(r: _Reader, layer: _Layer, x: str, kind: int, number: float) -> str:
    value = np.array(number, np.float32)
    if kind == _MULTIPLY:
        return r.importer.scaled(layer.name, x, value, None)
    if kind not in (_ADD, _SUBTRACT):
        raise r.importer.unsupported(f"BinaryOp of the kind {kind}", layer.name)
    return r.importer.scaled(layer.name, x, None, value if kind == _ADD else -value)


def _alike(r: _Reader, layer: _Layer, left: str, right: str) -> tuple[str, str]:
    """Both values with the same number of axes; a vector goes with the channels of a map."""
    shapes = [r.importer.shape(each) for each in (left, right)]
    values = [left, right]
    for index, (mine, other) in enumerate((shapes, shapes[::-1])):
        if len(mine) == 1 and len(other) == 3:
            name = f"{layer.name}_factors"
            values[index] = r.reshape(name, values[index], (mine[0], 1, 1))
    return values[0], values[1]


def _read_eltwise(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    kind = layer.integer(0)
    if kind not in (0, 1) or set(layer.numbers(1)) - {1.0}:
        raise r.importer.unsupported(f"Eltwise of the kind {kind}", layer.name)
    total = x[0]
    for value in x[1:]:
        if kind == 0:
            total = r.importer.product(layer.name, total, value)
        else:
            total = r.importer.add(ops.Add, layer.name, total, value)
    return [total]


def _read_concat(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    axis = r.axis(layer, layer.integer(0), x[0])
    return [r.importer.add(ops.Concatenate, layer.name, *x, axis=axis) if len(x) > 1 else x[0]]


def _read_slice(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    axis = r.axis(layer, layer.integer(1), x[0])
    left = r.importer.shape(x[0])[axis - 1]
    sizes, start = layer.integers(0), 0
    results = []
    for index, given in enumerate(sizes):
        size = left // (len(sizes) - index) if given == -233 else given
        limits = {"start": start, "stop": start + size}
        results.append(r.importer.add(ops.Slice, layer.name, x[0], axis=axis, **limits))
        start, left = start + size, left - size
    return results


def _read_crop(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    starts, ends = layer.integers(9), layer.integers(10)
    axes = layer.integers(11) or list(range(len(starts)))
    if not starts or len(starts) != len(ends) or len(axes) != len(starts) or len(x) != 1:
        raise r.importer.unsupported("Crop by other than starts and ends", layer.name)
    value = x[0]
    for start, end, number in zip(starts, ends, axes, strict=True):
        axis = r.axis(layer, number, value)
        first, last, _ = slice(start, end).indices(r.importer.shape(value)[axis - 1])
        limits = {"start": first, "stop": last}
        value = r.importer.add(ops.Slice, layer.name, value, axis=axis, **limits)
    return [value]


def _read_pad(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    if layer.integer(4) or layer.number(5) or layer.integer(6):
        raise r.importer.unsupported("Padding with anything but zeros", layer.name)
    top, bottom, left, right = (layer.integer(key) for key in range(4))
    settings = {
        "padding": (top, left, bottom, right),
        "channels": (layer.integer(7), layer.integer(8)),
    }
    return [r.importer.add(ops.Pad, layer.name, x[0], **settings)]


def _read_interp(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    height, width = r.importer.spatial(x[0])
    kind, rows, columns = layer.integer(0), layer.integer(3), layer.integer(4)
    down = rows / height if rows else layer.number(1, 1.0)
    right = columns / width if columns else layer.number(2, 1.0)
    whole = down == int(down) and right == int(right)
    if kind not in (_NEAREST, _BILINEAR) or layer.integer(6) or len(x) != 1 or not whole:
        raise r.importer.unsupported("Interp by other than whole factors", layer.name)
    mode = "nearest" if kind == _NEAREST else "bilinear"
    scales = (int(down), int(right))
    return [r.importer.add(ops.Upsample, layer.name, x[0], scales=scales, mode=mode)]


def _read_reshape(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    """0 keeps the axis of the same name, -1 is what is left."""
    shape = r.importer.shape(x[0])
    keys = [key for key in (2, 11, 1, 0) if key in layer.settings]
    old = _by_key(shape)
    wanted = [layer.integer(key) or old[key] for key in keys]
    target = reshape_target([0, *wanted], shape) if keys == _KEYS.get(len(keys)) else None
    if target is None or layer.integer(3) or 6 in layer.settings or len(x) != 1:
        raise r.importer.unsupported(f"Reshape of {shape} to {wanted}", layer.name)
    return [r.importer.add(ops.Reshape, layer.name, x[0], target=target)]


def _by_key(shape: Shape) -> dict[int, int]:
    """Channels, depth, height and width by the keys of a Reshape; 1 where there is no such axis."""
    keys = _KEYS.get(len(shape), [])
    return dict.fromkeys(_KEYS[4], 1) | dict(zip(keys, shape, strict=False))


def _read_flatten(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    return [r.reshape(layer.name, x[0], (math.prod(r.importer.shape(x[0])),))]


def _read_permute(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    orders = _ORDERS.get(len(r.importer.shape(x[0])), ())
    kind = layer.integer(0)
    if not 0 <= kind < len(orders):
        raise r.importer.unsupported(f"Permute of the kind {kind}", layer.name)
    order = (0, *(axis + 1 for axis in orders[kind]))
    return [r.importer.add(ops.Transpose, layer.name, x[0], order=order)]


def _read_relu(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    slope = layer.number(0)
    if slope == 0:
        return [r.importer.add(ops.Relu, layer.name, x[0])]
    return [r.importer.add(ops.LeakyRelu, layer.name, x[0], slope=slope)]


def _read_clip(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    low, high = layer.number(0, -math.inf), layer.number(1, math.inf)
    if low != 0 or high != 6:
        raise r.importer.unsupported(f"Clip to {low:g}..{high:g}", layer.name)
    return [r.importer.add(ops.Relu6, layer.name, x[0])]


def _read_prelu(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    return [r.importer.prelu(layer.name, x[0], r.weights.raw(layer.integer(0)))]


def _read_hard_sigmoid(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    alpha, beta = layer.number(0, 0.2), layer.number(1, 0.5)
    return [r.importer.hard_sigmoid(layer.name, x[0], alpha, beta)]


def _read_hard_swish(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    alpha, beta = layer.number(0, 0.2), layer.number(1, 0.5)
    gate = r.importer.hard_sigmoid(f"{layer.name}_gate", x[0], alpha, beta)
    return [r.importer.product(layer.name, x[0], gate)]


def _read_softmax(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    axis = r.axis(layer, layer.integer(0), x[0])
    return [r.importer.add(ops.Softmax, layer.name, x[0], axis=axis)]


def _read_dropout(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    """A scale, as networks need it that were trained without one."""
    scale = layer.number(0, 1.0)
    if scale == 1:
        return _read_same(r, layer, x)
    return [r.importer.scaled(layer.name, x[0], np.array(scale, np.float32), None)]


def _one(kind: type[Operation]) -> Any:
    return lambda r, layer, x: [r.importer.add(kind, layer.name, x[0])]


def _read_same(r: _Reader, layer: _Layer, x: Sequence[str]) -> Sequence[str]:
    return [x[0]] * len(layer.outputs)


_READERS: Mapping[str, Callable[[_Reader, _Layer, Sequence[str]], Sequence[str]]] = {
    "Convolution": _read_convolution,
    "ConvolutionDepthWise": _read_convolution,
    "InnerProduct": _read_linear,
    "Pooling": _read_pool,
    "BatchNorm": _read_norm,
    "Scale": _read_scale,
    "BinaryOp": _read_binary,
    "Eltwise": _read_eltwise,
    "Concat": _read_concat,
    "Slice": _read_slice,
    "Crop": _read_crop,
    "Padding": _read_pad,
    "Interp": _read_interp,
    "Reshape": _read_reshape,
    "Flatten": _read_flatten,
    "Permute": _read_permute,
    "ReLU": _read_relu,
    "Clip": _read_clip,
    "PReLU": _read_prelu,
    "Sigmoid": _one(ops.Sigmoid),
    "TanH": _one(ops.Tanh),
    "HardSigmoid": _read_hard_sigmoid,
    "HardSwish": _read_hard_swish,
    "Softmax": _read_softmax,
    "Split": _read_same,
    "Noop": _read_same,
    "Dropout": _read_dropout,
}
"""From the format's layers to ours."""
