"""TensorFlow's frozen graph (``.pb``), read and written without TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.formats.family_emitting import FamilyEmitter, Pads
from facemask_zoo.converters.formats.family_importing import (
    BATCH,
    Array,
    FamilyImporter,
    Masks,
    Result,
)
from facemask_zoo.converters.formats.importing import damage_reported, settled_shape
from facemask_zoo.converters.limits import Budget, read_bytes
from facemask_zoo.converters.protobuf_schema import load, parse, serialize
from facemask_zoo.errors import UnsupportedOperationError, WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.operations import Operation, Padding, Pair, Shape, Window
from facemask_zoo.graph.program import Program

FORMAT = "tensorflow"

_SCHEMA = load("tensorflow")

_FLOAT, _INT32, _STRING, _INT64 = 1, 3, 7, 9
_DTYPES = {_FLOAT: "<f4", _INT32: "<i4", _INT64: "<i8"}
_VALUES_FIELDS = {_FLOAT: "float_val", _INT32: "int_val", _INT64: "int64_val"}
# Any runtime since TensorFlow 1.0 reads graphs of this age.
_PRODUCER = 27
_SOURCES = ("Placeholder", "Const", "NoOp")
_MAX_AXES = 8
_MAX_PARTS = 1024


def read(path: Path) -> Program:
    """Read a graph of any architecture.

    Raises:
        WeightsError: The file is damaged, or is no network of floats.
        UnsupportedOperationError: It does more than graphs can.
    """
    with damage_reported(path, "frozen graph"):
        definition = parse_graph(read_bytes(path))
        return read_definition(definition, (_card_text(definition) or b"").decode())


def read_definition(definition: Any, card: str) -> Program:
    """The program that a ``GraphDef`` without functions and variables is.

    Args:
        definition: Everything that no other node sees is an output.
        card: Text of the card; empty if there is none.

    Raises:
        WeightsError: It is damaged, or is no network of floats.
        UnsupportedOperationError: It has other operations than a network needs.
    """
    _check_operations(definition)
    return _Reader(definition).program(card)


def read_card(path: Path) -> bytes | None:
    """The text of the card within a file; None if there is none.

    Raises:
        WeightsError: It is no frozen graph.
    """
    with damage_reported(path, "frozen graph"):
        return _card_text(parse_graph(read_bytes(path)))


def parse_graph(data: bytes) -> Any:
    """A ``GraphDef`` that only computes.

    Raises:
        WeightsError: The bytes are damaged, or there are functions in it.
        UnsupportedOperationError: It has other operations than a network needs: those that read or
            write files would run with the user's rights.
    """
    graph = parse(_SCHEMA["GraphDef"], data)
    if graph.library.function:
        raise WeightsError("The graph holds functions, which no network here needs.")
    _check_operations(graph)
    return graph


def _check_operations(graph: Any) -> None:
    for node in graph.node:
        if node.op not in _READERS and node.op not in _SOURCES:
            raise UnsupportedOperationError(FORMAT, f"{node.op:.100}", f"{node.name:.100}")


def end_names(definition: Any) -> list[str]:
    """Names of the nodes that compute something and that no other node sees, in order."""
    seen = {_source(each)[0] for node in definition.node for each in node.input}
    return [
        node.name for node in definition.node if node.name not in seen and node.op not in _SOURCES
    ]


def write(program: Program, path: Path) -> None:
    """Write a graph; pictures are (N, H, W, C), outputs as in the program.

    Raises:
        UnsupportedOperationError: TensorFlow has no such operation.
    """
    path.write_bytes(graph_bytes(program))


def graph_bytes(program: Program) -> bytes:
    """The graph that :func:`write` writes; :func:`node_name` names inputs and outputs."""
    emitter = _Emitter(program)
    emitter.emit()
    if program.card:
        emitter.text(CARD_KEY, program.card)
    return serialize(emitter.definition)


def node_name(name: str) -> str:
    """What a value of a graph is called in the file: no name begins with an underscore there."""
    return f".{name}" if name.startswith("_") else name


class _Emitter(FamilyEmitter[str]):
    """Writes nodes; values are their names."""

    format = FORMAT
    ends_are_unseen = True
    plain: ClassVar[dict[type[Operation], str]] = {
        kind: kind.__name__ for kind in (ops.Relu, ops.Relu6, ops.Sigmoid, ops.Tanh)
    }

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.definition = _SCHEMA["GraphDef"]()
        self.definition.versions.producer = _PRODUCER

    def input(self, name: str, shape: Shape) -> str:
        return self.node("Placeholder", [], name, dtype=_FLOAT, shape=(BATCH, *shape))

    def constant(self, name: str, values: NDArray[Any]) -> str:
        tensor = _tensor_message(values)
        return self.node("Const", [], name, dtype=tensor.dtype, value=tensor)

    def text(self, name: str, text: str) -> None:
        """A string constant."""
        tensor = _SCHEMA["Tensor"](dtype=_STRING, string_val=[text.encode()])
        tensor.tensor_shape.SetInParent()
        self.node("Const", [], name, dtype=_STRING, value=tensor)

    def weight(self, name: str, values: NDArray[np.float32]) -> str:
        return self.constant(name, values)

    def unary(self, kind: str, value: str, shape: Shape, name: str) -> str:
        return self._float(kind, [value], name)

    def binary(
        self, kind: type[Operation], values: Sequence[str], shape: Shape, name: str, fused: Any
    ) -> str:
        return self._float("AddV2" if kind is ops.Add else "Mul", values, name)

    def convolved(
        self, op: ops.Convolution, value: str, same: bool, shape: Shape, name: str, fused: Any
    ) -> str:
        channels = self.graph.input_shapes(op)[0][0]
        # TensorFlow's depthwise operation takes equal strides and no dilation on a CPU.
        plain = op.strides[0] == op.strides[1] and op.dilations == (1, 1)
        depthwise = op.groups == channels > 1 and plain
        weight = self.program.tensors[f"{op.name}.weight"].transpose(2, 3, 1, 0)
        if depthwise:
            weight = weight.reshape(*op.kernel, channels, op.filters // channels)
        product = self._float(
            "DepthwiseConv2dNative" if depthwise else "Conv2D",
            [value, self.weight(f"{op.name}.weight", weight)],
            f"{name}/product",
            strides=[1, *op.strides, 1],
            dilations=[1, *op.dilations, 1],
            padding=_padding(same),
        )
        if depthwise or op.groups == 1:
            return self._float("BiasAdd", [product, self.tensor(op, "bias")], name)
        # TensorFlow would fuse a sum, and has no fused convolution in groups.
        bias = self.program.tensors[f"{op.name}.bias"]
        return self._float("Sub", [product, self.weight(f"{op.name}.bias", -bias)], name)

    def pooled(self, op: Window, value: str, same: bool, shape: Shape, name: str) -> str:
        kind = "MaxPool" if isinstance(op, ops.MaxPool) else "AvgPool"
        sizes = {"ksize": [1, *op.kernel, 1], "strides": [1, *op.strides, 1]}
        return self._float(kind, [value], name, padding=_padding(same), **sizes)

    def mean(self, value: str, shape: Shape, name: str) -> str:
        axes = self._integers(f"{name}/axes", [1, 2])
        return self._float("Mean", [value, axes], name, keep_dims=True)

    def passed(self, value: str, shape: Shape, name: str) -> str:
        return self._float("Identity", [value], name)

    def linear(
        self, op: ops.Linear, value: str, rank: int, shape: Shape, name: str, fused: Any
    ) -> str:
        kind = "MatMul" if rank == 1 else "BatchMatMulV2"
        weight = self.tensor(op, "weight", (1, 0))
        product = self._float(kind, [value, weight], f"{name}/product")
        return self._float("BiasAdd", [product, self.tensor(op, "bias")], name)

    def joined(self, values: Sequence[str], axis: int, shape: Shape, name: str) -> str:
        if len(values) == 1:  # ConcatV2 wants two or more
            return self._float("Identity", values, name)
        inputs = [*values, self._integers(f"{name}/axis", axis)]
        return self._float("ConcatV2", inputs, name, N=len(values))

    def sliced(
        self, value: str, begin: Sequence[int], sizes: Sequence[int], shape: Shape, name: str
    ) -> str:
        limits = [
            self._integers(f"{name}/{key}", values)
            for key, values in (("begin", begin), ("size", sizes))
        ]
        return self._float("Slice", [value, *limits], name, Index=_INT32)

    def padded(self, value: str, pads: Pads, fill: float, shape: Shape, name: str) -> str:
        sides = self.constant(f"{name}/paddings", np.array(pads, np.int32))
        if not fill:
            return self._float("Pad", [value, sides], name)
        constant = self.constant(f"{name}/fill", np.array(fill, np.float32))
        return self._float("PadV2", [value, sides, constant], name)

    def resized(self, op: ops.Upsample, value: str, shape: Shape, name: str) -> str:
        size = self._integers(f"{name}/size", shape[:2])
        if op.mode == "nearest":
            return self._float("ResizeNearestNeighbor", [value, size], name)
        return self._float("ResizeBilinear", [value, size], name, half_pixel_centers=True)

    def reshaped(self, value: str, shape: Shape, name: str) -> str:
        target = self._integers(f"{name}/shape", (BATCH, *shape))
        return self._float("Reshape", [value, target], name)

    def transposed(self, value: str, order: tuple[int, ...], shape: Shape, name: str) -> str:
        return self._float("Transpose", [value, self._integers(f"{name}/order", order)], name)

    def leaky(self, op: ops.LeakyRelu, value: str, shape: Shape, name: str) -> str:
        return self._float("LeakyRelu", [value], name, alpha=op.slope)

    def prelu(self, slope: NDArray[Any], value: str, shape: Shape, name: str) -> str:
        positive = self._float("Relu", [value], f"{name}/positive")
        mirrored = self._float("Neg", [value], f"{name}/mirrored")
        negative = self._float("Relu", [mirrored], f"{name}/negative")
        slopes = self.constant(f"{name}/slopes", -slope)
        scaled = self._float("Mul", [negative, slopes], f"{name}/scaled")
        return self._float("AddV2", [positive, scaled], name)

    def softmax(self, value: str, shape: Shape, name: str) -> str:
        return self._float("Softmax", [value], name)

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node; its name in the file is returned."""
        name = node_name(name)
        node = self.definition.node.add(name=name, op=kind, input=inputs)
        for key, value in attributes.items():
            node.attr.add(key=key, value=_attribute_message(key, value))
        return name

    def _float(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        return self.node(kind, inputs, name, T=_FLOAT, **attributes)

    def _integers(self, name: str, values: int | Sequence[int]) -> str:
        return self.constant(name, np.array(values, np.int32))


def _padding(same: bool) -> bytes:
    return b"SAME" if same else b"VALID"


def _attribute_message(key: str, value: Any) -> Any:
    """An attribute; its kind follows from the Python type, and from the key for integers."""
    kinds = {bytes: "s", bool: "b", float: "f"}
    if type(value) in kinds:
        return _SCHEMA["Value"](**{kinds[type(value)]: value})
    if isinstance(value, tuple):
        return _SCHEMA["Value"](shape=_shape_message(value))
    if isinstance(value, list):
        return _SCHEMA["Value"](list=_SCHEMA["List"](i=value))
    if isinstance(value, int):
        return _SCHEMA["Value"](i=value) if key == "N" else _SCHEMA["Value"](type=value)
    return _SCHEMA["Value"](tensor=value)


def constant_node(name: str, values: NDArray[Any]) -> Any:
    """A node that holds floats or integers."""
    tensor = _tensor_message(values)
    node = _SCHEMA["NodeDef"](name=name, op="Const")
    node.attr.add(key="dtype", value=_attribute_message("dtype", tensor.dtype))
    node.attr.add(key="value", value=_attribute_message("value", tensor))
    return node


def _tensor_message(values: NDArray[Any]) -> Any:
    kind = _FLOAT if values.dtype.kind == "f" else _INT32
    stored = values.astype(_DTYPES[kind], copy=False)
    tensor = _SCHEMA["Tensor"](dtype=kind, tensor_content=stored.tobytes())
    tensor.tensor_shape.CopyFrom(_shape_message(values.shape))
    return tensor


def _shape_message(sizes: Sequence[int]) -> Any:
    return _SCHEMA["Shape"](dim=[_SCHEMA["Dimension"](size=size) for size in sizes])


class _Node:
    """A node: its attributes by name, and where its inputs come from."""

    def __init__(self, message: Any) -> None:
        self.kind: str = message.op
        self.name: str = message.name
        self.attributes = {each.key: each.value for each in message.attr}
        self.inputs = [_source(each) for each in message.input if not each.startswith("^")]

    @property
    def label(self) -> str:
        """The name, as it was before :func:`node_name`."""
        return self.name.removeprefix(".") if self.name.startswith("._") else self.name

    def get(self, key: str) -> Any:
        """An attribute; an empty one if the node has none of that name."""
        return self.attributes.get(key, _SCHEMA["Value"]())

    def pair(self, key: str) -> Pair:
        """The two numbers for height and width; ones if they are not given."""
        values = list(self.get(key).list.i)
        if not values:
            return (1, 1)
        if len(values) != 4 or values[0] != 1 or values[3] != 1:
            raise UnsupportedOperationError(
                FORMAT, f"{self.kind} with {key} {values[:5]}", self.name
            )
        return (values[1], values[2])

    def check_layout(self) -> None:
        """Only channels last is read; it is also what a graph means that does not say."""
        layout = self.get("data_format").s
        if layout not in (b"", b"NHWC"):
            raise UnsupportedOperationError(FORMAT, f"{self.kind} of {layout!r:.20}", self.name)

    def padding(self) -> Padding | bool:
        """On each side; or whether it is SAME."""
        mode = self.get("padding").s
        if mode != b"EXPLICIT":
            return bool(mode == b"SAME")
        sides = list(self.get("explicit_paddings").list.i)
        if len(sides) != 8 or any(sides[:2]) or any(sides[6:]):
            raise UnsupportedOperationError(FORMAT, f"{self.kind} with padding", self.name)
        return (sides[2], sides[4], sides[3], sides[5])


def _source(text: str) -> tuple[str, int]:
    """Node and number of the result that an input names."""
    name, colon, number = text.partition(":")
    if colon and not (number.isascii() and number.isdigit() and len(number) < 4):
        raise WeightsError(f"{text!r:.100} is no input.")
    return name, int(number or 0)


class _Reader:
    """Follows the nodes of a graph; results by name of the node."""

    def __init__(self, definition: Any) -> None:
        self._definition = definition
        self._nodes = {node.name: _Node(node) for node in definition.node}
        if len(self._nodes) != len(definition.node):
            raise WeightsError("Two nodes have one name.")
        images = [node for node in self._nodes.values() if node.kind == "Placeholder"]
        if len(images) != 1:
            raise WeightsError(f"Expected one placeholder, but the graph has {len(images)}.")
        self._budget = Budget()
        shape = _input_shape(images[0])
        self.batch = shape[0]
        self.importer = FamilyImporter(FORMAT, images[0].label, shape[1:])
        self._results: dict[str, list[Result]] = {images[0].name: [self.importer.input]}

    def program(self, card: str) -> Program:
        """What was read: everything that no other node sees is an output."""
        ends = [self._nodes[name] for name in end_names(self._definition)]
        for end in ends:
            self._follow(end)
        results = [(end.label, self._results[end.name][0]) for end in ends]
        return self.importer.end(results, card)

    def _follow(self, end: _Node) -> None:
        """Take in a node and all that it needs, in an order in which they can be computed."""
        stack, open_nodes = [end], set[str]()
        while stack:
            node = stack[-1]
            missing = [name for name, _ in node.inputs if name not in self._results]
            if node.name in self._results:
                stack.pop()
            elif not missing:
                self._results[node.name] = self._read(node)
                stack.pop()
            elif node.name in open_nodes:
                raise WeightsError(f"{node.kind} {node.name!r:.100} is part of a circle.")
            else:
                open_nodes.add(node.name)
                stack += [self._find(name) for name in dict.fromkeys(missing)]

    def _find(self, name: str) -> _Node:
        if name not in self._nodes:
            raise WeightsError(f"There is no node {name!r:.100}.")
        return self._nodes[name]

    def _read(self, node: _Node) -> list[Result]:
        if node.kind == "Const":
            return [self._constant(node)]
        rule = _READERS.get(node.kind)
        if rule is None:
            raise self.importer.unsupported(node.kind, node.name)
        return rule(self, node)

    def inputs(self, node: _Node) -> list[Result]:
        """What a node sees."""
        return [self.input(node, index) for index in range(len(node.inputs))]

    def input(self, node: _Node, index: int = 0) -> Result:
        """What a node sees at a place."""
        if not -len(node.inputs) <= index < len(node.inputs):
            raise WeightsError(f"{node.kind} {node.name!r:.100} lacks its input {index}.")
        name, number = node.inputs[index]
        results = self._results[name]
        if number >= len(results):
            raise self.importer.unsupported(f"result {number} of {self._find(name).kind}", name)
        return results[number]

    def array(self, node: _Node, index: int) -> Array:
        """A constant that a node sees."""
        return self.importer.array(self.input(node, index), node.name)

    def integers(self, node: _Node, index: int) -> list[int]:
        """A constant of a few integers."""
        return self.importer.integers(self.input(node, index), node.name)

    def number(self, node: _Node, index: int) -> int:
        """A constant of one integer."""
        values = self.integers(node, index)
        if len(values) != 1:
            raise WeightsError(f"{node.name!r:.100}: expected one number, but got {values}.")
        return values[0]

    def _constant(self, node: _Node) -> Array:
        """The values as a view where they are stored plainly.

        TensorFlow may leave out the tail of a constant when it repeats one value, and zeros.
        """
        tensor = node.get("value").tensor
        if tensor.dtype not in _DTYPES:
            raise self.importer.unsupported(f"constants of type {tensor.dtype}", node.name)
        sizes = [dimension.size for dimension in tensor.tensor_shape.dim[:_MAX_AXES]]
        kind = np.dtype(_DTYPES[tensor.dtype])
        listed = getattr(tensor, _VALUES_FIELDS[tensor.dtype])
        count = math.prod(sizes)
        if min(sizes, default=0) < 0 or len(listed) > count:
            raise WeightsError(f"{node.name}: the values cannot fill the shape {sizes}.")
        self._budget.spend(count * kind.itemsize)
        if not listed and not tensor.tensor_content:
            return np.zeros(sizes, kind)
        if not listed:
            return np.frombuffer(tensor.tensor_content, kind).reshape(sizes)
        values = np.fromiter(listed, kind, len(listed))
        return np.pad(values, (0, count - len(values)), mode="edge").reshape(sizes)


def _conv(r: _Reader, node: _Node) -> list[Result]:
    kernel = r.array(node, 1)
    if kernel.ndim != 4:
        raise WeightsError(f"{node.name}: expected a 4-dimensional kernel, got {kernel.shape}.")
    return [_convolved(r, node, kernel.transpose(3, 2, 0, 1), depthwise=False)]


def _depthwise(r: _Reader, node: _Node) -> list[Result]:
    kernel = r.array(node, 1)
    if kernel.ndim != 4:
        raise WeightsError(f"{node.name}: expected a 4-dimensional kernel, got {kernel.shape}.")
    height, width, channels, times = kernel.shape
    flat = kernel.reshape(height, width, 1, channels * times).transpose(3, 2, 0, 1)
    return [_convolved(r, node, flat, depthwise=True)]


def _convolved(r: _Reader, node: _Node, kernel: Array, *, depthwise: bool) -> str:
    node.check_layout()
    return r.importer.convolved(
        node.label,
        r.input(node),
        kernel,
        None,
        strides=node.pair("strides"),
        dilations=node.pair("dilations"),
        padding=node.padding(),
        depthwise=depthwise,
    )


def _pool(kind: type[ops.MaxPool | ops.AveragePool]) -> _Rule:
    def read_it(r: _Reader, node: _Node) -> list[Result]:
        node.check_layout()
        sizes = {"kernel": node.pair("ksize"), "strides": node.pair("strides")}
        x, padding = r.input(node), node.padding()
        return [r.importer.pooled(kind, node.label, x, padding=padding, **sizes)]

    return read_it


def _norm(r: _Reader, node: _Node) -> list[Result]:
    node.check_layout()
    if node.get("is_training").b or "is_training" not in node.attributes:
        raise r.importer.unsupported(f"{node.kind} in training", node.name)
    parts = ("gamma", "beta", "mean", "variance")
    norm = {part: r.array(node, index) for index, part in enumerate(parts, 1)}
    epsilon = node.get("epsilon").f if "epsilon" in node.attributes else 1e-4
    return [r.importer.normalised(node.label, r.input(node), norm, float(epsilon))]


def _mean(r: _Reader, node: _Node) -> list[Result]:
    keep = bool(node.get("keep_dims").b)
    return [r.importer.mean(node.label, r.input(node), r.integers(node, 1), keep=keep)]


def _most(r: _Reader, node: _Node) -> list[Result]:
    keep = bool(node.get("keep_dims").b)
    return [r.importer.most(node.label, r.input(node), r.integers(node, 1), keep=keep)]


def _product(first: str, second: str, *, keep: bool) -> _Rule:
    """A product with a constant; the attributes say which of the two is transposed."""

    def read_it(r: _Reader, node: _Node) -> list[Result]:
        weight = r.array(node, 1)
        if node.get(first).b or weight.ndim != 2:
            raise r.importer.unsupported(f"{node.kind} of values", node.name)
        weight = weight if node.get(second).b else weight.T
        return [r.importer.connected(node.label, r.input(node), weight, None, keep=keep)]

    return read_it


def _arithmetic(kind: str) -> _Rule:
    def read_it(r: _Reader, node: _Node) -> list[Result]:
        node.check_layout()
        return [r.importer.arithmetic(kind, node.label, r.input(node), r.input(node, 1))]

    return read_it


def _concatenation(r: _Reader, node: _Node) -> list[Result]:
    return [r.importer.joined(node.label, r.inputs(node)[:-1], r.number(node, -1))]


def _squeeze(r: _Reader, node: _Node) -> list[Result]:
    axes = list(node.get("squeeze_dims").list.i)[:_MAX_AXES]
    return [r.importer.squeezed(node.label, r.input(node), axes)]


def _strided_slice(r: _Reader, node: _Node) -> list[Result]:
    names = ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    masks = Masks(*(int(node.get(f"{name}_mask").i) for name in names))
    begin, end, strides = (r.integers(node, index) for index in (1, 2, 3))
    x = r.input(node)
    return [r.importer.strided(node.label, x, begin, end, strides, masks, r.batch)]


def _slice(r: _Reader, node: _Node) -> list[Result]:
    begin, sizes = r.integers(node, 1), r.integers(node, 2)
    return [r.importer.window(node.label, r.input(node), begin, sizes, r.batch)]


def _split(r: _Reader, node: _Node) -> list[Result]:
    count = int(node.get("num_split").i)
    if not 1 <= count <= _MAX_PARTS:
        raise WeightsError(f"{node.name}: expected a few parts, but got {count}.")
    names = [f"{node.label}_{index}" for index in range(count)]
    return r.importer.pieces(names, r.input(node, 1), r.number(node, 0), None)


def _split_by_sizes(r: _Reader, node: _Node) -> list[Result]:
    sizes = r.integers(node, 1)
    names = [f"{node.label}_{index}" for index in range(len(sizes))]
    return r.importer.pieces(names, r.input(node), r.number(node, 2), sizes)


def _pad(r: _Reader, node: _Node) -> list[Result]:
    fill = float(r.array(node, 2).reshape(-1)[0]) if len(node.inputs) > 2 else 0.0
    return [r.importer.surrounded(node.label, r.input(node), r.array(node, 1), fill)]


def _resize(mode: str) -> _Rule:
    def read_it(r: _Reader, node: _Node) -> list[Result]:
        half = node.get("half_pixel_centers").b
        if node.get("align_corners").b or (mode == "bilinear" and not half):
            raise r.importer.unsupported(f"{node.kind} that is not by half pixels", node.name)
        return [r.importer.resized(node.label, r.input(node), r.integers(node, 1), mode)]

    return read_it


def _leaky(r: _Reader, node: _Node) -> list[Result]:
    slope = float(node.get("alpha").f) if "alpha" in node.attributes else 0.2
    return [r.importer.activated(ops.LeakyRelu, node.label, r.input(node), slope=slope)]


def _prod(r: _Reader, node: _Node) -> list[Result]:
    values = r.integers(node, 0)
    if min(values, default=1) < 0:
        raise r.importer.unsupported("Prod of an unknown batch", node.name)
    return [np.array(min(math.prod(values), 1 << 31), np.int64)]


def _of_arrays(function: Callable[..., Array]) -> _Rule:
    """Arithmetic of constants alone, such as statistics of the data."""

    def read_it(r: _Reader, node: _Node) -> list[Result]:
        arrays = [r.array(node, index) for index in range(len(node.inputs))]
        return [r.importer.computed.broadcast(function, arrays, np.float32)]

    return read_it


def _gather(r: _Reader, node: _Node) -> list[Result]:
    data, places = r.array(node, 0), r.array(node, 1)
    if data.ndim != 1 or data.dtype.kind not in "iu" or places.size > data.size:
        raise r.importer.unsupported("GatherV2 of other than a shape", node.name)
    return [r.importer.computed.taken(data, places)]


def _cast(r: _Reader, node: _Node) -> list[Result]:
    kind = _DTYPES.get(node.get("DstT").type)
    if kind is None:
        raise r.importer.unsupported("Cast to other types", node.name)
    return [r.importer.computed.cast(r.array(node, 0), kind)]


def _activation(kind: type[Operation]) -> _Rule:
    return lambda r, node: [r.importer.activated(kind, node.label, r.input(node))]


def _same(r: _Reader, node: _Node) -> list[Result]:
    return [r.input(node)]


_Rule = Callable[[_Reader, _Node], list[Result]]
_READERS: Mapping[str, _Rule] = {
    "Conv2D": _conv,
    "DepthwiseConv2dNative": _depthwise,
    "MaxPool": _pool(ops.MaxPool),
    "AvgPool": _pool(ops.AveragePool),
    "FusedBatchNorm": _norm,
    "FusedBatchNormV2": _norm,
    "FusedBatchNormV3": _norm,
    "Mean": _mean,
    "Max": _most,
    "MatMul": _product("transpose_a", "transpose_b", keep=False),
    "BatchMatMulV2": _product("adj_x", "adj_y", keep=True),
    "Add": _arithmetic("add"),
    "AddV2": _arithmetic("add"),
    "BiasAdd": _arithmetic("add"),
    "Sub": _arithmetic("sub"),
    "Mul": _arithmetic("mul"),
    "RealDiv": _arithmetic("div"),
    "Neg": lambda r, node: [r.importer.negated(node.label, r.input(node))],
    "Rsqrt": _of_arrays(lambda values: 1 / np.sqrt(values)),
    "Sqrt": _of_arrays(np.sqrt),
    "Maximum": _of_arrays(np.maximum),
    "ConcatV2": _concatenation,
    "Reshape": lambda r, node: [
        r.importer.reshaped(node.label, r.input(node), r.integers(node, 1))
    ],
    "Tile": lambda r, node: [r.importer.repeated(node.label, r.input(node), r.integers(node, 1))],
    "Squeeze": _squeeze,
    "ExpandDims": lambda r, node: [
        r.importer.expanded(node.label, r.input(node), r.number(node, 1))
    ],
    "Transpose": lambda r, node: [
        r.importer.turned(node.label, r.input(node), r.integers(node, 1))
    ],
    "StridedSlice": _strided_slice,
    "Slice": _slice,
    "Split": _split,
    "SplitV": _split_by_sizes,
    "Pad": _pad,
    "PadV2": _pad,
    "ResizeNearestNeighbor": _resize("nearest"),
    "ResizeBilinear": _resize("bilinear"),
    "Relu": _activation(ops.Relu),
    "Relu6": _activation(ops.Relu6),
    "LeakyRelu": _leaky,
    "Sigmoid": _activation(ops.Sigmoid),
    "Tanh": _activation(ops.Tanh),
    "Softmax": lambda r, node: [r.importer.softmax(node.label, r.input(node))],
    "Identity": _same,
    "IdentityN": lambda r, node: list(r.inputs(node)),
    "StopGradient": _same,
    "Shape": lambda r, node: [r.importer.shape_of(r.input(node), node.name)],
    "Pack": lambda r, node: [r.importer.stacked(node.label, r.inputs(node))],
    "Prod": _prod,
    "GatherV2": _gather,
    "Cast": _cast,
}
"""From the format's operations to ours."""


def _input_shape(image: _Node) -> Shape:
    sizes = [int(dimension.size) for dimension in image.get("shape").shape.dim[:_MAX_AXES]]
    if image.get("dtype").type != _FLOAT or len(sizes) < 2:
        raise WeightsError(f"{image.name}: expected floats with a batch, but got {sizes}.")
    return (sizes[0] if sizes[0] > 0 else BATCH, *settled_shape(image.name, sizes[1:]))


def _card_text(definition: Any) -> bytes | None:
    for node in definition.node:
        if node.name == CARD_KEY and node.op == "Const":
            values = _Node(node).get("value").tensor.string_val
            if len(values) != 1:
                raise WeightsError(f"{node.name}: expected one text, but got {len(values)}.")
            return bytes(values[0])
    return None
