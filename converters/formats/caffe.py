"""Caffe: ``.prototxt`` with the layers and ``.caffemodel`` with the weights, both without Caffe.

What Caffe has no layer for is written as OpenCV's importer knows it (``ReLU6``, ``HardSwish``,
``Permute``, ``ceil_mode``), or as layers that compute the same; what cannot be said so is refused.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray

from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.formats.emitting import (
    Rules,
    ceil_padding,
    emit,
    full_padding,
    one_padding,
)
from facemask_zoo.converters.formats.importing import (
    Importer,
    axis_of,
    damage_reported,
    reshape_target,
)
from facemask_zoo.converters.limits import read_bytes
from facemask_zoo.converters.protobuf_schema import load, parse, serialize
from facemask_zoo.errors import UnsupportedOperationError, WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.graph import MAX_PARAMETERS, Names
from facemask_zoo.graph.operations import Operation, Padding, Pair, Shape
from facemask_zoo.graph.program import Program

FORMAT = "caffe"

_NETWORK_NAME = "facemask_zoo"
_CARD_COMMENT = f"# {CARD_KEY}: "
_MAX_PROTOTXT_BYTES = 1024 * 1024
_MAX_LAYERS = 20_000
_SIXTH = 1 / 6
_TINY = 1e-6

_MESSAGES = load("caffe")
_Net = _MESSAGES["NetParameter"]
_TEST = 1

Array = NDArray[np.float32]


def companions(path: Path) -> list[Path]:
    """The graph of a file of weights."""
    return [path.with_suffix(".prototxt")]


def read(path: Path) -> Program:
    """Read the blobs, and the layers from the ``.prototxt`` beside them, or else from the file.

    Raises:
        WeightsError: A file is damaged, or the two do not fit.
        UnsupportedOperationError: There is a layer that graphs do not have.
    """
    weights = parse(_Net, read_bytes(path))
    blobs = {layer.name: layer.blobs for layer in weights.layer if layer.blobs}
    prototxt = path.with_suffix(".prototxt")
    card, net = _read_prototxt(prototxt) if prototxt.is_file() else ("", weights)
    with damage_reported(path, "network of Caffe"):
        return _Reader(net, blobs).program(card)


def write(program: Program, path: Path) -> None:
    """Write both files, for OpenCV 4; Caffe loads the pair if it has all the layers.

    Raises:
        UnsupportedOperationError: There is no layer, and no chain of layers, for an operation.
    """
    emitter = _Emitter(program)
    text = text_format.MessageToString(emitter.net())
    if program.card:
        text = f"{_CARD_COMMENT}{program.card}\n{text}"
    path.with_suffix(".prototxt").write_text(text, encoding="utf-8")
    path.write_bytes(serialize(emitter.with_blobs()))


def _read_prototxt(path: Path) -> tuple[str, Any]:
    """The text of the card, empty if there is none, and the layers."""
    try:
        text = read_bytes(path, _MAX_PROTOTXT_BYTES).decode("utf-8")
        comments = (line for line in text.splitlines() if line.startswith(_CARD_COMMENT))
        card = next(comments, "").removeprefix(_CARD_COMMENT)
        return card, text_format.Parse(text, _Net(), allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise WeightsError(f"{path}: not a prototxt of Caffe: {error}") from error


class _Emitter:
    """Adds layers to a net; values are the names of blobs, each the name of its layer, too."""

    def __init__(self, program: Program) -> None:
        self.program = program
        graph = program.graph
        self._names = Names()
        for name in graph.shapes:
            self._names.fresh(name)
        self._blobs: dict[str, tuple[Array, ...]] = {}
        self._net = _Net(name=_NETWORK_NAME, input=[graph.input])
        self._net.input_shape.add(dim=(1, *graph.input_shape))

    def net(self) -> Any:
        """All layers, without their blobs."""
        graph = self.program.graph
        emit(graph, graph.input, self, _RULES, FORMAT)
        return self._net

    def with_blobs(self) -> Any:
        """All layers with their blobs."""
        for layer in self._net.layer:
            for values in self._blobs.get(layer.name, ()):
                blob = layer.blobs.add()
                blob.data.extend(values.ravel().tolist())
                blob.shape.dim.extend(values.shape)
        return self._net

    def shape(self, operation: Operation, index: int = 0) -> Shape:
        """Shape of an input, without the batch."""
        return self.program.graph.shapes[operation.inputs[index]]

    def tensor(self, operation: Operation, part: str) -> Array:
        """A tensor of the program."""
        return self.program.tensors[f"{operation.name}.{part}"]

    def add(
        self,
        kind: str,
        operation: Operation,
        bottoms: Sequence[str],
        blobs: Sequence[Array] = (),
        **parameters: Any,
    ) -> str:
        """Add the layer of an operation.

        The blob of an output has its name and is read by nothing else, as that makes it one.
        """
        graph, name = self.program.graph, operation.name
        if name not in graph.outputs or not graph.consumers[name]:
            return self._layer(kind, name, bottoms, blobs, parameters)
        inner = self.step(kind, operation, "inner", bottoms, blobs, **parameters)
        self._layer("Dropout", name, [inner], (), {})
        return inner

    def step(
        self,
        kind: str,
        operation: Operation,
        what: str,
        bottoms: Sequence[str],
        blobs: Sequence[Array] = (),
        **parameters: Any,
    ) -> str:
        """Add a layer on the way to an operation's."""
        name = self._names.fresh(f"{operation.name}_{what}")
        return self._layer(kind, name, bottoms, blobs, parameters)

    def slice(self, operation: ops.Slice, x: str) -> str:
        """Add a layer that cuts, and one that takes in what is not wanted."""
        length = self.shape(operation)[operation.axis - 1]
        points = [each for each in (operation.start, operation.stop) if 0 < each < length]
        if not points:
            return x
        name = self._names.fresh(f"{operation.name}_cut")
        tops = [self._names.fresh(f"{name}_{index}") for index in range(len(points) + 1)]
        layer = self._net.layer.add(name=name, type="Slice", bottom=[x], top=tops)
        layer.slice_param.axis = operation.axis
        layer.slice_param.slice_point.extend(points)
        wanted = tops.pop(1 if operation.start else 0)
        self._net.layer.add(name=f"{name}_rest", type="Silence", bottom=tops)
        return wanted

    def _layer(
        self,
        kind: str,
        name: str,
        bottoms: Sequence[str],
        blobs: Sequence[Array],
        parameters: Mapping[str, Any],
    ) -> str:
        self._net.layer.add(name=name, type=kind, bottom=bottoms, top=[name], **parameters)
        if blobs:
            self._blobs[name] = tuple(blobs)
        return name


def _window(kernel: Pair, strides: Pair, pad: Pair, *, repeated: bool) -> dict[str, Any]:
    """Kernel, stride and padding, each once where both numbers are the same."""
    settings: dict[str, Any] = {}
    for key, short, (rows, columns) in (
        ("kernel_size", "kernel", kernel),
        ("stride", "stride", strides),
        ("pad", "pad", pad),
    ):
        if rows == columns:
            settings[key] = [rows] if repeated else rows
        else:
            settings |= {f"{short}_h": rows, f"{short}_w": columns}
    return settings


def _write_convolution(e: _Emitter, op: ops.Convolution, x: Sequence[str]) -> str:
    """Where the padding is uneven, the kernel grows by zeros on the side that has less."""
    top, left, bottom, right = op.padding
    weight = e.tensor(op, "weight")
    uneven = (bottom - top, right - left)
    image, pad = x[0], (max(top, bottom), max(left, right))
    if uneven != (0, 0) and op.dilations != (1, 1):
        image, pad, uneven = _padded(e, op, image, op.padding), (0, 0), (0, 0)
    sides = [(max(more, 0), max(-more, 0)) for more in uneven]
    grown = (height + sum(side) for height, side in zip(weight.shape[2:], sides, strict=True))
    _check_size(op, (*weight.shape[:2], *grown))
    weight = np.pad(weight, [(0, 0), (0, 0), *sides])
    settings = _window((weight.shape[2], weight.shape[3]), op.strides, pad, repeated=True)
    if op.groups > 1:
        settings["group"] = op.groups
    if op.dilations != (1, 1):
        settings["dilation"] = list(op.dilations)
    parameters = {"num_output": op.filters, "bias_term": True, **settings}
    blobs = (weight, e.tensor(op, "bias"))
    return e.add("Convolution", op, [image], blobs, convolution_param=parameters)


def _check_size(op: Operation, shape: Shape) -> None:
    """See that a weight that only Caffe needs is no larger than any may be."""
    if math.prod(shape) > MAX_PARAMETERS:
        raise UnsupportedOperationError(FORMAT, f"{op.kind} by a weight of shape {shape}", op.name)


def _padded(e: _Emitter, op: Operation, x: str, padding: Padding) -> str:
    weight, parameters = _pad_layer(e.shape(op)[0], padding)
    return e.step("Convolution", op, "pad", [x], [weight], convolution_param=parameters)


def _pad_layer(channels: int, padding: Padding) -> tuple[Array, dict[str, Any]]:
    """A depthwise convolution that only moves a feature map within more padding than it keeps."""
    top, left, bottom, right = padding
    kernel = (abs(top - bottom) + 1, abs(left - right) + 1)
    pad = (max(top, bottom), max(left, right))
    weight = np.zeros((channels, 1, *kernel), np.float32)
    weight[:, :, pad[0] - top, pad[1] - left] = 1
    settings = _window(kernel, (1, 1), pad, repeated=True)
    return weight, {"num_output": channels, "bias_term": False, "group": channels, **settings}


def _write_pad(e: _Emitter, op: ops.Pad, x: Sequence[str]) -> str:
    channels = e.shape(op)[0]
    if not any(op.channels):
        weight, parameters = _pad_layer(channels, op.padding)
        return e.add("Convolution", op, x, [weight], convolution_param=parameters)
    image = _padded(e, op, x[0], op.padding) if any(op.padding) else x[0]
    total = channels + sum(op.channels)
    _check_size(op, (total, channels))
    weight = np.zeros((total, channels, 1, 1), np.float32)
    weight[op.channels[0] + np.arange(channels), np.arange(channels)] = 1
    parameters = {"num_output": total, "bias_term": False, "kernel_size": [1]}
    return e.add("Convolution", op, [image], [weight], convolution_param=parameters)


def _write_pool(method: str) -> Any:
    def write_it(e: _Emitter, op: ops.MaxPool | ops.AveragePool, x: Sequence[str]) -> str:
        size = e.shape(op)[1:]
        said = one_padding(op, size, _rounded_up)
        if said is None or (isinstance(op, ops.AveragePool) and not _is_said(op, said)):
            raise UnsupportedOperationError(FORMAT, f"{op.kind} with padding as here", op.name)
        pad, _ = said
        settings = _window(op.kernel, op.strides, pad, repeated=False)
        padding = (*pad, *pad)
        even = dataclasses.replace(op, padding=padding)
        if op.padding == padding and _rounded_up(even, size) != padding:
            settings["ceil_mode"] = False
        return e.add("Pooling", op, x, pooling_param={"pool": method, **settings})

    return write_it


def _rounded_up(window: ops.Window, size: Sequence[int]) -> Padding | None:
    """Caffe's padding; None for windows outside of the input, which it keeps if there is none."""
    return (ceil_padding if any(window.padding) else full_padding)(window, size)


def _is_said(op: ops.AveragePool, said: tuple[Pair, bool]) -> bool:
    """Whether an average is Caffe's: padding counts, what rounding up adds does not."""
    pad, rounded = said
    return not any(pad) if rounded else op.count_padding or not any(pad)


def _write_linear(e: _Emitter, op: ops.Linear, x: Sequence[str]) -> str:
    axis = len(e.shape(op))
    parameters = {"num_output": op.features, "bias_term": True, "axis": axis}
    blobs = (e.tensor(op, "weight"), e.tensor(op, "bias"))
    return e.add("InnerProduct", op, x, blobs, inner_product_param=parameters)


def _write_multiply(e: _Emitter, op: ops.Multiply, x: Sequence[str]) -> str:
    """A factor for each channel is a ``Scale`` of two blobs, the second (N, C)."""
    shapes = (e.shape(op, 0), e.shape(op, 1))
    if shapes[0] == shapes[1]:
        return e.add("Eltwise", op, x, eltwise_param={"operation": "PROD"})
    large, small = (0, 1) if math.prod(shapes[0]) > math.prod(shapes[1]) else (1, 0)
    flat = {"shape": {"dim": [0, shapes[small][0]]}}
    factors = e.step("Reshape", op, "factors", [x[small]], reshape_param=flat)
    return e.add("Scale", op, [x[large], factors], scale_param={"axis": 0})


def _write_upsample(e: _Emitter, op: ops.Upsample, x: Sequence[str]) -> str:
    """Repeating cells is to spread each by a kernel of ones."""
    if op.mode != "nearest":
        raise UnsupportedOperationError(FORMAT, f"{op.mode} {op.kind}", op.name)
    channels = e.shape(op)[0]
    settings = _window(op.scales, op.scales, (0, 0), repeated=True)
    parameters = {"num_output": channels, "bias_term": False, "group": channels, **settings}
    ones = np.ones((channels, 1, *op.scales), np.float32)
    return e.add("Deconvolution", op, x, [ones], convolution_param=parameters)


def _write_hard_sigmoid(e: _Emitter, op: ops.HardSigmoid, x: Sequence[str]) -> str:
    shifted = e.step("Power", op, "shifted", x, power_param={"shift": 3.0})
    clipped = e.step("ReLU6", op, "clipped", [shifted])
    return e.add("Power", op, [clipped], power_param={"scale": _SIXTH})


def _write_prelu(e: _Emitter, op: ops.Prelu, x: Sequence[str]) -> str:
    return e.add("PReLU", op, x, [e.tensor(op, "slope")])


def _write_leaky(e: _Emitter, op: ops.LeakyRelu, x: Sequence[str]) -> str:
    return e.add("ReLU", op, x, relu_param={"negative_slope": op.slope})


def _plain(kind: str, **parameters: Any) -> Any:
    return lambda e, op, x: e.add(kind, op, x, **parameters)


_RULES: Rules[_Emitter, str] = {
    ops.Convolution: _write_convolution,
    ops.MaxPool: _write_pool("MAX"),
    ops.AveragePool: _write_pool("AVE"),
    ops.GlobalAveragePool: _plain("Pooling", pooling_param={"pool": "AVE", "global_pooling": True}),
    ops.Linear: _write_linear,
    ops.Add: _plain("Eltwise", eltwise_param={"operation": "SUM"}),
    ops.Multiply: _write_multiply,
    ops.Concatenate: lambda e, op, x: e.add("Concat", op, x, concat_param={"axis": op.axis}),
    ops.Slice: lambda e, op, x: e.add("Dropout", op, [e.slice(op, x[0])]),
    ops.Pad: _write_pad,
    ops.Upsample: _write_upsample,
    ops.Reshape: lambda e, op, x: e.add(
        "Reshape", op, x, reshape_param={"shape": {"dim": [0, *op.target]}}
    ),
    ops.Transpose: lambda e, op, x: e.add("Permute", op, x, permute_param={"order": op.order}),
    ops.Relu: _plain("ReLU"),
    ops.Relu6: _plain("ReLU6"),
    ops.LeakyRelu: _write_leaky,
    ops.Prelu: _write_prelu,
    ops.Sigmoid: _plain("Sigmoid"),
    ops.Tanh: _plain("TanH"),
    ops.HardSigmoid: _write_hard_sigmoid,
    ops.HardSwish: _plain("HardSwish"),
    ops.Softmax: lambda e, op, x: e.add("Softmax", op, x, softmax_param={"axis": op.axis}),
}


class _Reader:
    """Follows the layers of a net; a layer may write over what it has read."""

    def __init__(self, net: Any, blobs: Mapping[str, Any]) -> None:
        if len(net.layer) > _MAX_LAYERS:
            raise WeightsError(f"The net has {len(net.layer)} layers; networks need fewer.")
        self._layers = [layer for layer in net.layer if _is_for_use(layer)]
        self._all_blobs = blobs
        name, shape = self._input(net)
        self.importer = Importer(FORMAT, name, shape)
        self._values = {name: self.importer.input}
        # Blobs that nothing has read are the outputs.
        self._unread: dict[str, None] = {}
        self.shifted: dict[str, str] = {}

    def _input(self, net: Any) -> tuple[str, Shape]:
        """Name and shape of the input, in any of the ways in which Caffe has written it."""
        found = [
            (name, list(shape.dim)) for name, shape in zip(net.input, net.input_shape, strict=False)
        ]
        if net.input and not found:
            found = [(name, list(net.input_dim)) for name in net.input]
        for layer in self._layers:
            if layer.type == "Input":
                shapes = layer.input_param.shape
                found += [(name, list(shapes[0].dim)) for name in layer.top if shapes]
        if len(found) != 1:
            names = [name for name, _ in found]
            raise WeightsError(f"Expected one input with its shape, but the net has {names[:5]}.")
        name, shape = found[0]
        return name, tuple(int(size) for size in shape[1:])

    def program(self, card: str) -> Program:
        """What was read."""
        for layer in self._layers:
            if layer.type == "Input":
                continue
            rule = _READERS.get(layer.type)
            if rule is None:
                raise self.importer.unsupported(layer.type or "a layer without type", layer.name)
            inputs = [self._value(layer, name) for name in layer.bottom]
            if not inputs and layer.type != "Silence":
                raise WeightsError(f"{layer.type} {layer.name!r} reads nothing.")
            results = rule(self, layer, inputs)
            for name in layer.bottom:
                self._unread.pop(name, None)
            if len(results) < len(layer.top):
                raise WeightsError(f"{layer.type} {layer.name!r} has {len(layer.top)} outputs.")
            for name, value in zip(layer.top, results, strict=False):
                self._values[name] = value
                self._unread[name] = None
        outputs = [self._values[name] for name in self._unread]
        return self.importer.program(list(dict.fromkeys(outputs)), card)

    def blob(self, layer: Any, index: int) -> Array:
        """One of the arrays of a layer, in the shape of the file."""
        blobs = self._all_blobs.get(layer.name, ())
        if index >= len(blobs):
            raise WeightsError(f"{layer.type} {layer.name!r} lacks its blob {index}.")
        return _array(layer.name, blobs[index])

    def bias(self, layer: Any, parameters: Any) -> Array | None:
        """The second blob, flat, unless the layer says that it has none."""
        if parameters.HasField("bias_term") and not parameters.bias_term:
            return None
        return self.blob(layer, 1).reshape(-1)

    def _value(self, layer: Any, name: str) -> str:
        if name not in self._values:
            raise WeightsError(f"{layer.type} {layer.name!r}: nothing before it gives {name!r}.")
        return self._values[name]


def _is_for_use(layer: Any) -> bool:
    """Whether a layer is there when the network is used, not only while it is trained."""
    phases = [rule.phase for rule in layer.include if rule.HasField("phase")]
    return not phases or _TEST in phases


def _array(layer: str, blob: Any) -> Array:
    old_shape = (blob.num, blob.channels, blob.height, blob.width)
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else old_shape
    if min(shape, default=0) < 1 or math.prod(shape) != len(blob.data):
        raise WeightsError(f"Layer {layer}: {len(blob.data)} values do not fill shape {shape}.")
    return np.fromiter(blob.data, np.float32, len(blob.data)).reshape(shape)


def _two(parameters: Any, key: str, short: str, default: int | None) -> Pair:
    """Numbers for rows and columns, said once for both, or twice."""
    if parameters.HasField(f"{short}_h") or parameters.HasField(f"{short}_w"):
        return (getattr(parameters, f"{short}_h"), getattr(parameters, f"{short}_w"))
    value = getattr(parameters, key)
    if not isinstance(value, int):
        given = list(value)
    else:
        given = [value] if parameters.HasField(key) else []
    if not given and default is not None:
        return (default, default)
    if len(given) not in (1, 2):
        raise WeightsError(f"Expected one or two numbers as {key}, but got {given[:5]}.")
    return (int(given[0]), int(given[-1]))


def _axis(value: int, given: bool, default: int, rank: int) -> int:
    """An axis of a value with its batch, which may be counted from the end."""
    return axis_of(int(value) if given else default, rank)


def _read_convolution(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    p = layer.convolution_param
    weight = r.blob(layer, 0)
    kernel = _two(p, "kernel_size", "kernel", None)
    if weight.ndim != 4 or weight.shape[0] != p.num_output or weight.shape[2:] != kernel:
        raise WeightsError(f"Convolution {layer.name!r}: its blob {weight.shape} does not fit.")
    rows, columns = _two(p, "pad", "pad", 0)
    dilations = (int(p.dilation[0]), int(p.dilation[-1])) if p.dilation else (1, 1)
    weight, padding = _without_zeros(weight, (rows, columns, rows, columns), dilations)
    value = r.importer.convolution(
        layer.name,
        x[0],
        weight,
        r.bias(layer, p),
        strides=_two(p, "stride", "stride", 1),
        padding=padding,
        dilations=dilations,
        groups=int(p.group) if p.HasField("group") else 1,
    )
    return [value]


def _without_zeros(weight: Array, padding: Padding, dilations: Pair) -> tuple[Array, Padding]:
    """A kernel without the rows and columns of zeros by which uneven padding is written."""
    if not weight.any():
        return weight, padding
    sides = list(padding)
    for axis in (2, 3):
        taps = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).any(axis=1)
        step = dilations[axis - 2]
        first, last = int(taps.argmax()), len(taps) - int(taps[::-1].argmax())
        first = min(first, sides[axis - 2] // step)
        last = len(taps) - min(len(taps) - last, sides[axis] // step)
        weight = weight.take(range(first, last), axis=axis)
        sides[axis - 2] -= first * step
        sides[axis] -= (len(taps) - last) * step
    return weight, (sides[0], sides[1], sides[2], sides[3])


def _read_deconvolution(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    """The one that repeats cells."""
    p, weight = layer.convolution_param, r.blob(layer, 0)
    channels = r.importer.shape(x[0])[0]
    kernel = _two(p, "kernel_size", "kernel", None)
    bias = r.bias(layer, p)
    repeats = (
        kernel == _two(p, "stride", "stride", 1)
        and _two(p, "pad", "pad", 0) == (0, 0)
        and weight.shape == (channels, 1, *kernel)
        and p.group == p.num_output == channels
        and (weight == 1).all()
        and (bias is None or not bias.any())
    )
    if not repeats:
        raise r.importer.unsupported("Deconvolution", layer.name)
    return [r.importer.add(ops.Upsample, layer.name, x[0], scales=kernel)]


def _read_linear(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    p, weight = layer.inner_product_param, r.blob(layer, 0)
    shape = r.importer.shape(x[0])
    axis = _axis(p.axis, p.HasField("axis"), 1, len(shape) + 1)
    value = x[0]
    if axis == 1 and len(shape) > 1:
        target = (math.prod(shape),)
        value = r.importer.add(ops.Reshape, f"{layer.name}_flat", value, target=target)
    elif axis != len(shape):
        raise r.importer.unsupported("InnerProduct over several axes", layer.name)
    inputs = r.importer.shape(value)[-1]
    weight = weight.reshape((inputs, -1)).T if p.transpose else weight.reshape((-1, inputs))
    return [r.importer.linear(layer.name, value, weight, r.bias(layer, p))]


def _read_pool(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    p = layer.pooling_param
    if p.pool not in (0, 1):
        raise r.importer.unsupported("stochastic Pooling", layer.name)
    size = r.importer.spatial(x[0])
    if p.global_pooling:
        if p.pool == 1:
            return [r.importer.add(ops.GlobalAveragePool, layer.name, x[0])]
        return [r.importer.add(ops.MaxPool, layer.name, x[0], kernel=size, strides=size)]
    rows, columns = _two(p, "pad", "pad", 0)
    window = ops.MaxPool(
        name=layer.name,
        inputs=(x[0],),
        kernel=_two(p, "kernel_size", "kernel", None),
        strides=_two(p, "stride", "stride", 1),
        padding=(rows, columns, rows, columns),
    )
    window.check()
    floor = p.round_mode == 1 or (p.HasField("ceil_mode") and not p.ceil_mode)
    padding = window.padding if floor else _rounded_up(window, size)
    if padding is None:
        raise r.importer.unsupported("Pooling outside of its input", layer.name)
    settings = {"kernel": window.kernel, "strides": window.strides, "padding": padding}
    if p.pool == 0:
        return [r.importer.add(ops.MaxPool, layer.name, x[0], **settings)]
    counted = any(window.padding)
    if counted and padding != window.padding:
        raise r.importer.unsupported("an average that counts half its padding", layer.name)
    return [r.importer.add(ops.AveragePool, layer.name, x[0], count_padding=counted, **settings)]


def _read_norm(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    p = layer.batch_norm_param
    total = float(r.blob(layer, 2).reshape(-1)[0])
    factor = np.float32(0 if total == 0 else 1 / total)
    mean, variance = (r.blob(layer, index).reshape(-1) * factor for index in (0, 1))
    norm = {
        "gamma": np.ones_like(mean),
        "beta": np.zeros_like(mean),
        "mean": mean,
        "variance": variance,
    }
    epsilon = float(p.eps) if p.HasField("eps") else 1e-5
    return [r.importer.batch_norm(layer.name, x[0], norm, epsilon)]


def _read_scale(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    p = layer.scale_param
    shape = r.importer.shape(x[0])
    axis = _axis(p.axis, p.HasField("axis"), 1, len(shape) + 1)
    if len(x) == 1:
        if axis != 1:
            raise r.importer.unsupported("Scale along another axis than channels", layer.name)
        shift = r.blob(layer, 1) if p.bias_term else None
        return [r.importer.scaled(layer.name, x[0], r.blob(layer, 0), shift)]
    factors, wanted = x[1], (shape[0], *[1] * (len(shape) - 1))
    given = r.importer.shape(factors)
    if p.bias_term or (given != shape and (math.prod(given) != shape[0] or given[0] != shape[0])):
        raise r.importer.unsupported(f"Scale of {shape} by {given}", layer.name)
    if given not in (shape, wanted):
        name = f"{layer.name}_factors"
        factors = r.importer.add(ops.Reshape, name, factors, target=wanted)
    return [r.importer.product(layer.name, x[0], factors)]


def _read_bias(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    p = layer.bias_param
    if len(x) != 1 or (p.HasField("axis") and p.axis != 1):
        raise r.importer.unsupported("Bias of two values, or along another axis", layer.name)
    return [r.importer.scaled(layer.name, x[0], None, r.blob(layer, 0))]


def _read_power(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    """Scale and shift; a sixth of a ReLU6 of x + 3 is a hard sigmoid."""
    p = layer.power_param
    scale = float(p.scale) if p.HasField("scale") else 1.0
    shift = float(p.shift)
    if p.HasField("power") and p.power != 1:
        raise r.importer.unsupported(f"Power of {p.power:g}", layer.name)
    before = r.importer.maker(x[0])
    is_sixth = abs(scale - _SIXTH) < _TINY and shift == 0
    if is_sixth and isinstance(before, ops.Relu6) and before.inputs[0] in r.shifted:
        source = r.shifted[before.inputs[0]]
        return [r.importer.add(ops.HardSigmoid, layer.name, source)]
    factors = (np.array(scale, np.float32), np.array(shift, np.float32))
    value = r.importer.scaled(layer.name, x[0], *factors)
    if (scale, shift) == (1.0, 3.0):
        r.shifted[value] = x[0]
    return [value]


def _read_eltwise(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    p = layer.eltwise_param
    kind = p.operation if p.HasField("operation") else 1
    if kind not in (0, 1) or len(x) < 2 or (p.coeff and len(p.coeff) != len(x)):
        raise r.importer.unsupported(f"Eltwise of the kind {kind}", layer.name)
    values = list(x)
    for index, factor in enumerate(p.coeff):
        if factor != 1:
            scale = np.array(factor, np.float32)
            values[index] = r.importer.scaled(f"{layer.name}_coeff", x[index], scale, None)
    total = values[0]
    for value in values[1:]:
        if kind == 0:
            total = r.importer.product(layer.name, total, value)
        else:
            total = r.importer.add(ops.Add, layer.name, total, value)
    return [total]


def _read_concat(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    p = layer.concat_param
    rank = len(r.importer.shape(x[0])) + 1
    old = int(p.concat_dim) if p.HasField("concat_dim") else 1
    axis = _axis(p.axis, p.HasField("axis"), old, rank)
    return [r.importer.add(ops.Concatenate, layer.name, *x, axis=axis) if len(x) > 1 else x[0]]


def _read_slice(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    p = layer.slice_param
    shape = r.importer.shape(x[0])
    old = int(p.slice_dim) if p.HasField("slice_dim") else 1
    axis = _axis(p.axis, p.HasField("axis"), old, len(shape) + 1)
    if axis == 0:
        raise r.importer.unsupported("Slice of the batch", layer.name)
    length, count = shape[axis - 1], len(layer.top)
    if not p.slice_point and (not count or length % count):
        raise WeightsError(f"Slice {layer.name!r}: {length} cannot be cut in {count}.")
    points = list(p.slice_point) or [length // count * index for index in range(1, count)]
    limits = [0, *points, length]
    return [
        r.importer.add(ops.Slice, layer.name, x[0], axis=axis, start=int(start), stop=int(stop))
        for start, stop in itertools.pairwise(limits)
    ]


def _read_reshape(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    p, shape = layer.reshape_param, r.importer.shape(x[0])
    target = reshape_target([int(size) for size in p.shape.dim], shape)
    if target is None or p.axis or (p.HasField("num_axes") and p.num_axes != -1):
        wanted = list(p.shape.dim)
        raise r.importer.unsupported(f"Reshape of {shape} to {wanted}", layer.name)
    return [r.importer.add(ops.Reshape, layer.name, x[0], target=target)]


def _read_flatten(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    p, shape = layer.flatten_param, r.importer.shape(x[0])
    rank = len(shape) + 1
    first = _axis(p.axis, p.HasField("axis"), 1, rank)
    last = _axis(p.end_axis, p.HasField("end_axis"), rank - 1, rank)
    if not 1 <= first <= last:
        raise r.importer.unsupported("Flatten across the batch", layer.name)
    target = (*shape[: first - 1], math.prod(shape[first - 1 : last]), *shape[last:])
    return [r.importer.add(ops.Reshape, layer.name, x[0], target=target)]


def _read_permute(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    order = [int(axis) for axis in layer.permute_param.order]
    rest = [axis for axis in range(len(r.importer.shape(x[0])) + 1) if axis not in order]
    return [r.importer.add(ops.Transpose, layer.name, x[0], order=(*order, *rest))]


def _read_relu(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    slope = float(layer.relu_param.negative_slope)
    if slope == 0:
        return [r.importer.add(ops.Relu, layer.name, x[0])]
    return [r.importer.add(ops.LeakyRelu, layer.name, x[0], slope=slope)]


def _read_prelu(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    return [r.importer.prelu(layer.name, x[0], r.blob(layer, 0))]


def _read_softmax(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    p = layer.softmax_param
    axis = _axis(p.axis, p.HasField("axis"), 1, len(r.importer.shape(x[0])) + 1)
    return [r.importer.add(ops.Softmax, layer.name, x[0], axis=axis)]


def _read_hard_sigmoid(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    return [r.importer.hard_sigmoid(layer.name, x[0], 0.2, 0.5)]


def _one(kind: type[Operation]) -> Any:
    return lambda r, layer, x: [r.importer.add(kind, layer.name, x[0])]


def _read_same(r: _Reader, layer: Any, x: Sequence[str]) -> Sequence[str]:
    return [x[0]] * len(layer.top)


_READERS: Mapping[str, Callable[[_Reader, Any, Sequence[str]], Sequence[str]]] = {
    "Convolution": _read_convolution,
    "ConvolutionDepthwise": _read_convolution,
    "DepthwiseConvolution": _read_convolution,
    "Deconvolution": _read_deconvolution,
    "InnerProduct": _read_linear,
    "Pooling": _read_pool,
    "BatchNorm": _read_norm,
    "Scale": _read_scale,
    "Bias": _read_bias,
    "Power": _read_power,
    "Eltwise": _read_eltwise,
    "Concat": _read_concat,
    "Slice": _read_slice,
    "Reshape": _read_reshape,
    "Flatten": _read_flatten,
    "Permute": _read_permute,
    "ReLU": _read_relu,
    "ReLU6": _one(ops.Relu6),
    "PReLU": _read_prelu,
    "Sigmoid": _one(ops.Sigmoid),
    "TanH": _one(ops.Tanh),
    "HardSigmoid": _read_hard_sigmoid,
    "HardSwish": _one(ops.HardSwish),
    "Softmax": _read_softmax,
    "Dropout": _read_same,
    "Identity": _read_same,
    "Split": _read_same,
    "Silence": lambda r, layer, x: [],
}
"""From the format's layers to ours."""
