"""MXNet: a symbol as JSON and its arrays, any operator that graphs have; all without MXNet."""

from __future__ import annotations

import ast
import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.formats.emitting import Rules, emit, full_padding, one_padding
from facemask_zoo.converters.formats.importing import (
    Importer,
    LooseTensors,
    axis_of,
    chosen_size,
    damage_reported,
    reshape_target,
)
from facemask_zoo.converters.formats.mxnet_arrays import (
    canonical_name,
    read_arrays,
    variable_name,
    write_arrays,
)
from facemask_zoo.converters.limits import MAX_TEXT_BYTES, read_bytes
from facemask_zoo.errors import UnsupportedOperationError, WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.graph import Names
from facemask_zoo.graph.operations import Operation, Pair, Shape
from facemask_zoo.graph.program import Program

FORMAT = "mxnet"

USUAL_SIZES = (224, 299, 256, 192, 160, 128, 112, 96, 64, 48, 32, 28)
"""Heights and widths that are tried, in this order, where a symbol does not state its input's."""

# The double underscores are MXNet's way to mark attributes that are not the operator's own.
_CARD_ATTRIBUTE = f"__{CARD_KEY}__"
_SHAPE_ATTRIBUTE = "__shape__"
_VARIABLE = "null"
_MXNET_VERSION = 10901
_MAX_NODES = 20_000
_MAX_ATTRIBUTE = 200
# Below this a number is a padding that never wins.
_LOWEST = float(np.finfo(np.float32).min)

Array = NDArray[np.float32]
Place = tuple[int, int]
Nodes = list[dict[str, Any]]


def read(path: Path) -> Program | LooseTensors:
    """Read the arrays, and the graph from ``<stem>-symbol.json`` if that lies beside them.

    A symbol need not say how large its input is. Where it does not, the channels are those of the
    first convolution, and the first of ``USUAL_SIZES`` that fits is taken.

    Raises:
        WeightsError: A file is damaged, or the two do not fit.
        UnsupportedOperationError: The symbol does more than graphs can.
    """
    arrays = read_arrays(path)
    symbol = symbol_path(path)
    if not symbol.is_file():
        return LooseTensors({canonical_name(key): values for key, values in arrays.items()})
    with damage_reported(symbol, "symbol of MXNet"):
        return _from_symbol(_Symbol(read_bytes(symbol, MAX_TEXT_BYTES)), arrays)


def write(program: Program, path: Path) -> None:
    """Write what MXNet's own ``export`` would: ``.params`` and ``-symbol.json``.

    ``mxnet.gluon.SymbolBlock.imports(symbol, [input], params)`` loads the pair, for any batch size.

    Raises:
        UnsupportedOperationError: MXNet has no equivalent of an operation.
    """
    emitter = _Emitter(program)
    symbol = emitter.symbol()
    write_arrays({f"arg:{name}": values for name, values in emitter.arrays.items()}, path)
    symbol_path(path).write_text(symbol, encoding="utf-8")


def companions(path: Path) -> list[Path]:
    """The graph of a file of weights."""
    return [symbol_path(path)]


def symbol_path(path: Path) -> Path:
    """Where the graph of a ``.params`` file lies; an epoch such as ``-0000`` is not part of it."""
    return path.with_name(re.sub(r"-\d{4}$", "", path.stem) + "-symbol.json")


class _Emitter:
    """Collects nodes; values are their indices."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.nodes: Nodes = []
        self.arrays: dict[str, Array] = {}
        self._names = Names()
        for name in program.graph.shapes:
            self._names.fresh(name)

    def symbol(self) -> str:
        """The whole graph as MXNet's JSON; the card is an attribute of the input."""
        graph = self.program.graph
        attributes = {_SHAPE_ATTRIBUTE: _text((0, *graph.input_shape))}
        if self.program.card:
            attributes[_CARD_ATTRIBUTE] = self.program.card
        values = emit(graph, self._node(_VARIABLE, graph.input, attributes), self, _RULES, FORMAT)
        described = {
            "nodes": self.nodes,
            "arg_nodes": [i for i, node in enumerate(self.nodes) if node["op"] == _VARIABLE],
            "node_row_ptr": list(range(len(self.nodes) + 1)),
            "heads": [[values[name], 0, 0] for name in graph.outputs],
            "attrs": {"mxnet_version": ["int", _MXNET_VERSION]},
        }
        return json.dumps(described, indent=1)

    def shape(self, operation: Operation, index: int = 0) -> Shape:
        """Shape of an input, without the batch."""
        return self.program.graph.shapes[operation.inputs[index]]

    def add(self, kind: str, operation: Operation, *inputs: int, **attributes: object) -> int:
        """Append the node that has an operation's name."""
        return self._node(kind, operation.name, _texts(attributes), *inputs)

    def step(
        self, kind: str, operation: Operation, what: str, *inputs: int, **attributes: object
    ) -> int:
        """Append a node on the way to an operation's."""
        name = self._names.fresh(f"{operation.name}_{what}")
        return self._node(kind, name, _texts(attributes), *inputs)

    def tensor(self, operation: Operation, part: str, called: str = "") -> int:
        """Append the variable of a tensor, whose name tells MXNet's initialisers what it is."""
        name = self._names.fresh(f"{operation.name}_{called or part}")
        self.arrays[name] = self.program.tensors[f"{operation.name}.{part}"]
        return self._node(_VARIABLE, name, {})

    def padded(self, operation: ops.Window, x: int, fill: float = 0.0) -> tuple[int, Pair]:
        """The input of a window, padded if both sides differ, and the padding that is left."""
        top, left, bottom, right = operation.padding
        if (top, left) == (bottom, right):
            return x, (top, left)
        width = (0, 0, 0, 0, top, bottom, left, right)
        settings = {"mode": "constant", "pad_width": width, "constant_value": fill}
        return self.step("Pad", operation, "pad", x, **settings), (0, 0)

    def _node(self, kind: str, name: str, attributes: dict[str, str], *inputs: int) -> int:
        node = {"op": kind, "name": name, "inputs": [[index, 0, 0] for index in inputs]}
        self.nodes.append({**node, "attrs": attributes} if attributes else node)
        return len(self.nodes) - 1


def _texts(attributes: Mapping[str, object]) -> dict[str, str]:
    return {key: _text(value) for key, value in attributes.items()}


def _text(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _write_convolution(e: _Emitter, op: ops.Convolution, x: Sequence[int]) -> int:
    image, pad = e.padded(op, x[0])
    settings = {"kernel": op.kernel, "stride": op.strides, "dilate": op.dilations, "pad": pad}
    tensors = (e.tensor(op, "weight"), e.tensor(op, "bias"))
    return e.add(
        "Convolution", op, image, *tensors, **settings, num_filter=op.filters, num_group=op.groups
    )


def _write_max_pool(e: _Emitter, op: ops.MaxPool, x: Sequence[int]) -> int:
    said = one_padding(op, e.shape(op)[1:], full_padding)
    image, (pad, full) = x[0], said or ((0, 0), False)
    if said is None:
        image, pad = e.padded(op, x[0], _LOWEST)
    return e.add("Pooling", op, image, pool_type="max", **_pool(op, pad, full))


def _write_average_pool(e: _Emitter, op: ops.AveragePool, x: Sequence[int]) -> int:
    said = one_padding(op, e.shape(op)[1:], full_padding)
    image, (pad, full) = x[0], said or ((0, 0), False)
    if said is None or (full and op.count_padding):
        if not op.count_padding:
            raise UnsupportedOperationError(FORMAT, f"{op.kind} with uneven padding", op.name)
        image, pad = e.padded(op, x[0])
        full = False
    settings = {"pool_type": "avg", "count_include_pad": op.count_padding}
    return e.add("Pooling", op, image, **settings, **_pool(op, pad, full))


def _pool(op: ops.Window, pad: Pair, full: bool) -> dict[str, Any]:
    return {
        "kernel": op.kernel,
        "stride": op.strides,
        "pad": pad,
        "pooling_convention": "full" if full else "valid",
    }


def _write_linear(e: _Emitter, op: ops.Linear, x: Sequence[int]) -> int:
    tensors = (e.tensor(op, "weight"), e.tensor(op, "bias"))
    flatten = len(e.shape(op)) == 1
    return e.add("FullyConnected", op, x[0], *tensors, num_hidden=op.features, flatten=flatten)


def _write_arithmetic(what: str) -> Any:
    def write_it(e: _Emitter, op: Operation, x: Sequence[int]) -> int:
        kind = "elemwise" if e.shape(op, 0) == e.shape(op, 1) else "broadcast"
        return e.add(f"{kind}_{what}", op, *x)

    return write_it


def _write_concatenate(e: _Emitter, op: ops.Concatenate, x: Sequence[int]) -> int:
    return e.add("Concat", op, *x, dim=op.axis, num_args=len(x))


def _write_slice(e: _Emitter, op: ops.Slice, x: Sequence[int]) -> int:
    return e.add("slice_axis", op, x[0], axis=op.axis, begin=op.start, end=op.stop)


def _write_pad(e: _Emitter, op: ops.Pad, x: Sequence[int]) -> int:
    """MXNet pads the last two axes; channels are one of them while they are swapped with rows."""
    top, left, bottom, right = op.padding
    sides = (0, 0, 0, 0, top, bottom, left, right)
    settings = {"mode": "constant", "constant_value": 0.0}
    if not any(op.channels):
        return e.add("Pad", op, x[0], pad_width=sides, **settings)
    image = x[0]
    if any(op.padding):
        image = e.step("Pad", op, "sides", image, pad_width=sides, **settings)
    image = e.step("transpose", op, "rows", image, axes=_ROWS_FIRST)
    width = (0, 0, 0, 0, *op.channels, 0, 0)
    image = e.step("Pad", op, "channels", image, pad_width=width, **settings)
    return e.add("transpose", op, image, axes=_ROWS_FIRST)


_ROWS_FIRST = (0, 2, 1, 3)


def _write_upsample(e: _Emitter, op: ops.Upsample, x: Sequence[int]) -> int:
    down, right = op.scales
    if op.mode == "bilinear":
        sizes = {"scale_height": float(down), "scale_width": float(right)}
        return e.add(
            "_contrib_BilinearResize2D", op, x[0], mode="size", align_corners=False, **sizes
        )
    if down == right:
        settings = {"scale": down, "sample_type": "nearest", "num_args": 1}
        return e.add("UpSampling", op, x[0], **settings)
    rows = e.step("repeat", op, "rows", x[0], repeats=down, axis=2)
    return e.add("repeat", op, rows, repeats=right, axis=3)


def _write_reshape(e: _Emitter, op: ops.Reshape, x: Sequence[int]) -> int:
    return e.add("Reshape", op, x[0], shape=(0, *op.target))


def _write_hard_swish(e: _Emitter, op: ops.HardSwish, x: Sequence[int]) -> int:
    gate = e.step("hard_sigmoid", op, "gate", x[0], **_HARD_SIGMOID)
    return e.add("elemwise_mul", op, x[0], gate)


_HARD_SIGMOID = {"alpha": 1 / 6, "beta": 0.5}


def _plain(kind: str, **attributes: object) -> Any:
    return lambda e, op, x: e.add(kind, op, x[0], **attributes)


_RULES: Rules[_Emitter, int] = {
    ops.Convolution: _write_convolution,
    ops.MaxPool: _write_max_pool,
    ops.AveragePool: _write_average_pool,
    ops.GlobalAveragePool: _plain("Pooling", kernel=(1, 1), global_pool=True, pool_type="avg"),
    ops.Linear: _write_linear,
    ops.Add: _write_arithmetic("add"),
    ops.Multiply: _write_arithmetic("mul"),
    ops.Concatenate: _write_concatenate,
    ops.Slice: _write_slice,
    ops.Pad: _write_pad,
    ops.Upsample: _write_upsample,
    ops.Reshape: _write_reshape,
    ops.Transpose: lambda e, op, x: e.add("transpose", op, x[0], axes=op.order),
    ops.Relu: _plain("Activation", act_type="relu"),
    ops.Relu6: _plain("clip", a_min=0.0, a_max=6.0),
    ops.LeakyRelu: lambda e, op, x: e.add("LeakyReLU", op, x[0], act_type="leaky", slope=op.slope),
    ops.Prelu: lambda e, op, x: e.add(
        "LeakyReLU", op, x[0], e.tensor(op, "slope", "gamma"), act_type="prelu"
    ),
    ops.Sigmoid: _plain("Activation", act_type="sigmoid"),
    ops.Tanh: _plain("Activation", act_type="tanh"),
    ops.HardSigmoid: _plain("hard_sigmoid", **_HARD_SIGMOID),
    ops.HardSwish: _write_hard_swish,
    ops.Softmax: lambda e, op, x: e.add("softmax", op, x[0], axis=op.axis),
}


class _Symbol:
    """The nodes of a file, with what they see checked to be there and before them."""

    def __init__(self, text: bytes) -> None:
        described = json.loads(text)
        self.nodes = [_Node.of(node) for node in described["nodes"]]
        if len(self.nodes) > _MAX_NODES:
            raise WeightsError(f"The symbol has {len(self.nodes)} nodes; networks need fewer.")
        self.heads = [_place(head) for head in described["heads"]]
        for index, node in enumerate(self.nodes):
            if any(not 0 <= source < index for source, _ in node.inputs):
                raise WeightsError(f"{node.op} {node.name!r} sees what is not before it.")

    @property
    def card(self) -> str:
        """The card that the symbol carries; empty if there is none."""
        found = (node.settings.texts.get(_CARD_ATTRIBUTE, "") for node in self.nodes)
        return next((text for text in found if text), "")

    def variables(self) -> dict[int, _Node]:
        """The nodes without an operator, but for labels that only training needs."""
        labels = {
            node.inputs[1][0]
            for node in self.nodes
            if node.op in _WITH_LABELS and len(node.inputs) == 2
        }
        return {
            index: node
            for index, node in enumerate(self.nodes)
            if node.op == _VARIABLE and index not in labels
        }


@dataclasses.dataclass(frozen=True)
class _Node:
    """One node of a symbol."""

    op: str
    name: str
    inputs: tuple[Place, ...]
    settings: _Settings

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> _Node:
        """From the file; older versions of MXNet call the settings otherwise."""
        texts: dict[str, str] = {}
        for key in ("param", "attr", "attrs"):
            texts |= {str(name): str(value) for name, value in node.get(key, {}).items()}
        inputs = tuple(_place(each) for each in node["inputs"])
        return cls(str(node["op"]), str(node["name"]), inputs, _Settings(texts))


def _place(values: Sequence[Any]) -> Place:
    node, output = values[0], values[1]
    if type(node) is not int or type(output) is not int:
        raise WeightsError(f"Not a symbol of MXNet: {values!r:.100} names no value.")
    return (node, output)


@dataclasses.dataclass(frozen=True)
class _Settings:
    """Attributes of a node, which MXNet writes as text."""

    texts: Mapping[str, str]

    def value(self, key: str, default: Any) -> Any:
        """The number, tuple or text that an attribute is."""
        text = self.texts.get(key)
        if text is None:
            return default
        if len(text) > _MAX_ATTRIBUTE:
            raise WeightsError(f"The attribute {key} is a text of {len(text)} letters.")
        if isinstance(default, str):
            return text
        if text in ("true", "false"):
            return text == "true"
        try:
            return ast.literal_eval(text.replace("L", ""))
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise WeightsError(f"The attribute {key} is {text!r}.") from error

    def number(self, key: str, default: float) -> float:
        """An attribute that is a number."""
        return float(self.value(key, default))

    def integer(self, key: str, default: int) -> int:
        """An attribute that is an integer."""
        return int(self.value(key, default))

    def integers(self, key: str, default: Sequence[int]) -> tuple[int, ...]:
        """An attribute that is a tuple."""
        value = self.value(key, tuple(default))
        return tuple(int(each) for each in (value if isinstance(value, tuple | list) else (value,)))

    def pair(self, key: str, default: Pair) -> Pair:
        """An attribute that is two numbers."""
        found = self.integers(key, default) or default
        if len(found) != 2:
            raise WeightsError(f"The attribute {key} is {found}: only two dimensions are known.")
        return (found[0], found[1])

    def is_set(self, key: str, *, default: bool = False) -> bool:
        """An attribute that is true or false."""
        return bool(self.value(key, default))


def _from_symbol(symbol: _Symbol, arrays: Mapping[str, Array]) -> Program | LooseTensors:
    """A program; the tensors alone where only the card says how large the input is, or who is who.

    Earlier files of ours have a card, but state no shape; Gluon may save a block under other names.
    """
    named = {variable_name(key): values for key, values in arrays.items()}
    variables = symbol.variables()
    known = {index: named[node.name] for index, node in variables.items() if node.name in named}
    unstated = all(_SHAPE_ATTRIBUTE not in node.settings.texts for node in variables.values())
    if symbol.card and (unstated or (named and not known)):
        return LooseTensors({canonical_name(key): v for key, v in arrays.items()}, symbol.card)
    images = [index for index in variables if index not in known]
    if len(images) != 1:
        names = [variables[index].name for index in images]
        raise WeightsError(f"Expected one input without an array, but the symbol has {names[:5]}.")
    problem: WeightsError | None = None
    for shape in _input_shapes(symbol, images[0], known):
        try:
            return _Reader(symbol, known, images[0], shape).program()
        except UnsupportedOperationError:
            raise
        except WeightsError as error:
            problem = problem or error
    raise problem or WeightsError("Nothing says what shape the symbol's input has.")


def _input_shapes(symbol: _Symbol, image: int, known: Mapping[int, Array]) -> Iterator[Shape]:
    """What the input's shape can be, without the batch."""
    stated = symbol.nodes[image].settings.integers(_SHAPE_ATTRIBUTE, ())[1:]
    if stated and min(stated) > 0:
        yield stated
        return
    for node in symbol.nodes:
        weight = known.get(node.inputs[1][0]) if len(node.inputs) > 1 else None
        if weight is None or node.op not in ("Convolution", "FullyConnected"):
            continue
        if weight.ndim == 2:
            yield (weight.shape[1],)
            return
        channels = weight.shape[1] * node.settings.integer("num_group", 1)
        sizes = [chosen] if (chosen := chosen_size()) else [(size, size) for size in USUAL_SIZES]
        yield from ((channels, *size) for size in sizes)
        return


class _Reader:
    """Follows the nodes of a symbol; a value is a name in the graph, or an array if constant."""

    def __init__(
        self, symbol: _Symbol, known: Mapping[int, Array], image: int, shape: Shape
    ) -> None:
        self._symbol = symbol
        self.importer = Importer(FORMAT, symbol.nodes[image].name, shape)
        self.values: dict[Place, str | Array] = {(i, 0): array for i, array in known.items()}
        self.values[image, 0] = self.importer.input
        # Paddings that never win, which only a largest value can take in.
        self.lowest: dict[str, tuple[str, ops.Padding]] = {}

    def program(self) -> Program:
        """What was read."""
        needed = self._needed()
        for index, node in enumerate(self._symbol.nodes):
            if node.op == _VARIABLE or index not in needed:
                continue
            rule = _READERS.get(node.op)
            if rule is None:
                raise self.importer.unsupported(node.op, node.name)
            for output, result in enumerate(rule(self, node, node.settings)):
                self.values[index, output] = result
        found = [self.values.get(head) for head in self._symbol.heads]
        if not found or not all(isinstance(each, str) for each in found):
            raise WeightsError(f"Nothing gives the outputs {self._symbol.heads[:5]}.")
        return self.importer.program([str(each) for each in found], self._symbol.card)

    def _needed(self) -> set[int]:
        """The nodes that the outputs depend on."""
        needed = {index for index, _ in self._symbol.heads}
        for index in range(len(self._symbol.nodes) - 1, -1, -1):
            if index in needed:
                needed.update(source for source, _ in self._symbol.nodes[index].inputs)
        return needed

    def value(self, node: _Node, index: int = 0) -> str:
        """An input that depends on the picture."""
        result = self.either(node, index)
        if not isinstance(result, str):
            raise self.importer.unsupported(f"{node.op} of constants", node.name)
        if result in self.lowest:
            raise self.importer.unsupported(f"{node.op} of other than zero padding", node.name)
        return result

    def array(self, node: _Node, index: int) -> Array:
        """An input that is constant."""
        result = self.either(node, index)
        if isinstance(result, str):
            raise self.importer.unsupported(f"{node.op} by computed numbers", node.name)
        return result

    def any(self, node: _Node, index: int) -> str | Array:
        """An input of either kind."""
        result = self.either(node, index)
        return self.value(node, index) if isinstance(result, str) else result

    def either(self, node: _Node, index: int) -> str | Array:
        place = node.inputs[index] if index < len(node.inputs) else None
        if place is None or place not in self.values:
            raise WeightsError(f"{node.op} {node.name!r}: its input {index} is missing.")
        return self.values[place]


_Results = Sequence[str | Array]


def _read_convolution(r: _Reader, node: _Node, s: _Settings) -> _Results:
    if s.value("layout", "None") not in ("None", "NCHW"):
        raise r.importer.unsupported("Convolution with channels last", node.name)
    weight = r.array(node, 1)
    if weight.shape[2:] != s.integers("kernel", ()):
        raise WeightsError(f"Convolution {node.name!r}: weight {weight.shape} is not its kernel's.")
    rows, columns = s.pair("pad", (0, 0))
    value = r.importer.convolution(
        node.name,
        r.value(node),
        weight,
        None if s.is_set("no_bias") else r.array(node, 2),
        strides=s.pair("stride", (1, 1)),
        padding=(rows, columns, rows, columns),
        dilations=s.pair("dilate", (1, 1)),
        groups=s.integer("num_group", 1),
    )
    return [value]


def _read_linear(r: _Reader, node: _Node, s: _Settings) -> _Results:
    x = r.value(node)
    if s.is_set("flatten", default=True):
        x = _flat(r, f"{node.name}_flat", x)
    bias = None if s.is_set("no_bias") else r.array(node, 2)
    return [r.importer.linear(node.name, x, r.array(node, 1), bias)]


def _flat(r: _Reader, name: str, x: str) -> str:
    shape = r.importer.shape(x)
    if len(shape) == 1:
        return x
    return r.importer.add(ops.Reshape, name, x, target=(math.prod(shape),))


def _read_norm(r: _Reader, node: _Node, s: _Settings) -> _Results:
    x = r.value(node)
    if s.integer("axis", 1) != 1:
        raise r.importer.unsupported("BatchNorm of other than channels", node.name)
    parts = ("gamma", "beta", "mean", "variance")
    norm = {part: r.array(node, index) for index, part in enumerate(parts, 1)}
    if s.is_set("fix_gamma", default=True):
        norm["gamma"] = np.ones_like(norm["gamma"])
    return [r.importer.batch_norm(node.name, x, norm, s.number("eps", 1e-3))]


def _read_pool(r: _Reader, node: _Node, s: _Settings) -> _Results:
    kind = s.value("pool_type", "max")
    if kind not in ("max", "avg") or s.value("layout", "None") not in ("None", "NCHW"):
        raise r.importer.unsupported(f"Pooling of the type {kind}", node.name)
    x, around = _within(r, node, kind)
    if s.is_set("global_pool"):
        return [_whole(r, node.name, x, kind)]
    rows, columns = s.pair("pad", (0, 0))
    window = ops.MaxPool(
        name="window",
        inputs=(),
        kernel=s.pair("kernel", (1, 1)),
        strides=s.pair("stride", (1, 1)),
        padding=(rows, columns, rows, columns),
    )
    window.check()
    padding = _pool_padding(r, node, window)
    shared = {"kernel": window.kernel, "strides": window.strides}
    if kind == "max":
        top, left, bottom, right = (a + b for a, b in zip(padding, around, strict=True))
        both = (top, left, bottom, right)
        return [r.importer.add(ops.MaxPool, node.name, x, padding=both, **shared)]
    counted = s.is_set("count_include_pad", default=True) and any(window.padding)
    if counted and padding != window.padding:
        raise r.importer.unsupported("an average that counts half its padding", node.name)
    settings = {"padding": padding, "count_padding": counted, **shared}
    return [r.importer.add(ops.AveragePool, node.name, x, **settings)]


def _within(r: _Reader, node: _Node, kind: str) -> tuple[str, ops.Padding]:
    """What is pooled, and the padding around it that cannot be the largest."""
    x = r.either(node, 0)
    if kind == "max" and isinstance(x, str) and x in r.lowest:
        return r.lowest[x]
    return r.value(node), (0, 0, 0, 0)


def _pool_padding(r: _Reader, node: _Node, window: ops.MaxPool) -> ops.Padding:
    convention = node.settings.value("pooling_convention", "valid")
    if convention == "valid":
        return window.padding
    source = r.either(node, 0)
    assert isinstance(source, str)
    padding = full_padding(window, r.importer.spatial(source)) if convention == "full" else None
    if padding is None:
        text = f"Pooling of padding alone, or with the convention {convention}"
        raise r.importer.unsupported(text, node.name)
    return padding


def _whole(r: _Reader, name: str, x: str, kind: str) -> str:
    if kind == "avg":
        return r.importer.add(ops.GlobalAveragePool, name, x)
    size = r.importer.spatial(x)
    return r.importer.add(ops.MaxPool, name, x, kernel=size, strides=size)


def _read_mean(r: _Reader, node: _Node, s: _Settings) -> _Results:
    x = r.value(node)
    axes = sorted(axis_of(axis, 4) for axis in s.integers("axis", ()))
    if axes != [2, 3] or len(r.importer.shape(x)) != 3 or s.is_set("exclude"):
        raise r.importer.unsupported(f"{node.op} over the axes {axes}", node.name)
    if s.is_set("keepdims"):
        return [r.importer.add(ops.GlobalAveragePool, node.name, x)]
    pooled = r.importer.add(ops.GlobalAveragePool, f"{node.name}_pooled", x)
    return [_flat(r, node.name, pooled)]


def _read_adaptive(r: _Reader, node: _Node, s: _Settings) -> _Results:
    x = r.value(node)
    sizes = s.integers("output_size", (1,)) or (1,)
    cells = (sizes[0], sizes[-1])
    if cells == (1, 1):
        return [r.importer.add(ops.GlobalAveragePool, node.name, x)]
    height, width = r.importer.spatial(x)
    if min(cells) < 1 or len(sizes) > 2 or height % cells[0] or width % cells[1]:
        text = f"{node.op} of {height} x {width} to {sizes}"
        raise r.importer.unsupported(text, node.name)
    step = (height // cells[0], width // cells[1])
    return [r.importer.add(ops.AveragePool, node.name, x, kernel=step, strides=step)]


def _read_add(r: _Reader, node: _Node, s: _Settings) -> _Results:
    left, right = r.any(node, 0), r.any(node, 1)
    if isinstance(left, str) and isinstance(right, str):
        return [r.importer.add(ops.Add, node.name, left, right)]
    value, constant = _with_constant(r, node, left, right)
    return [r.importer.scaled(node.name, value, None, constant)]


def _read_multiply(r: _Reader, node: _Node, s: _Settings) -> _Results:
    left, right = r.any(node, 0), r.any(node, 1)
    if isinstance(left, str) and isinstance(right, str):
        return [r.importer.product(node.name, left, right)]
    value, constant = _with_constant(r, node, left, right)
    return [r.importer.scaled(node.name, value, constant, None)]


def _with_constant(
    r: _Reader, node: _Node, left: str | Array, right: str | Array
) -> tuple[str, Array]:
    """A value and an array of one number, or of one for each channel."""
    value, constant = (left, right) if isinstance(left, str) else (right, left)
    if not isinstance(value, str) or isinstance(constant, str):
        raise r.importer.unsupported(f"{node.op} of constants", node.name)
    shape = r.importer.shape(value)
    wanted = (shape[0], *[1] * (len(shape) - 1))
    one = constant.size == 1 and constant.ndim <= len(wanted) + 1
    if not one and constant.shape not in (wanted, (1, *wanted)):
        text = f"{node.op} with a constant of shape {constant.shape}"
        raise r.importer.unsupported(text, node.name)
    return value, constant


def _read_sum(r: _Reader, node: _Node, s: _Settings) -> _Results:
    total = r.value(node)
    for index in range(1, len(node.inputs)):
        total = r.importer.add(ops.Add, node.name, total, r.value(node, index))
    return [total]


def _by_number(
    scale: Callable[[float], float | None], shift: Callable[[float], float | None]
) -> Any:
    def read_it(r: _Reader, node: _Node, s: _Settings) -> _Results:
        number = s.number("scalar", 1.0)
        factors = [
            None if each is None else np.array(each, np.float32)
            for each in (scale(number), shift(number))
        ]
        return [r.importer.scaled(node.name, r.value(node), *factors)]

    return read_it


def _read_activation(r: _Reader, node: _Node, s: _Settings) -> _Results:
    kind = s.value("act_type", "")
    if kind not in _ACTIVATIONS:
        raise r.importer.unsupported(f"Activation of the type {kind}", node.name)
    return [r.importer.add(_ACTIVATIONS[kind], node.name, r.value(node))]


_ACTIVATIONS: Mapping[str, type[Operation]] = {
    "relu": ops.Relu,
    "sigmoid": ops.Sigmoid,
    "tanh": ops.Tanh,
}


def _read_leaky(r: _Reader, node: _Node, s: _Settings) -> _Results:
    kind = s.value("act_type", "leaky")
    if kind == "prelu":
        return [r.importer.prelu(node.name, r.value(node), r.array(node, 1))]
    if kind != "leaky":
        raise r.importer.unsupported(f"LeakyReLU of the type {kind}", node.name)
    slope = s.number("slope", 0.25)
    return [r.importer.add(ops.LeakyRelu, node.name, r.value(node), slope=slope)]


def _read_clip(r: _Reader, node: _Node, s: _Settings) -> _Results:
    low, high = s.number("a_min", math.nan), s.number("a_max", math.nan)
    if low != 0 or not (high == 6 or high >= -_LOWEST):
        raise r.importer.unsupported(f"clip to {low:g}..{high:g}", node.name)
    return [r.importer.add(ops.Relu6 if high == 6 else ops.Relu, node.name, r.value(node))]


def _read_hard_sigmoid(r: _Reader, node: _Node, s: _Settings) -> _Results:
    alpha, beta = s.number("alpha", 0.2), s.number("beta", 0.5)
    return [r.importer.hard_sigmoid(node.name, r.value(node), alpha, beta)]


def _read_softmax(r: _Reader, node: _Node, s: _Settings) -> _Results:
    x = r.value(node)
    if s.texts.get("temperature", "None") not in ("None", "1.0") or s.is_set("use_length"):
        raise r.importer.unsupported("softmax with a temperature or length", node.name)
    axis = axis_of(s.integer("axis", -1), len(r.importer.shape(x)) + 1)
    return [r.importer.add(ops.Softmax, node.name, x, axis=axis)]


def _read_softmax_output(r: _Reader, node: _Node, s: _Settings) -> _Results:
    x = r.value(node)
    channels = s.is_set("multi_output") or s.value("mode", "instance") == "channel"
    rank = len(r.importer.shape(x)) + 1
    if not channels and rank > 2 and not s.is_set("preserve_shape"):
        raise r.importer.unsupported(f"{node.op} over several axes", node.name)
    return [r.importer.add(ops.Softmax, node.name, x, axis=1 if channels else rank - 1)]


def _read_concat(r: _Reader, node: _Node, s: _Settings) -> _Results:
    values = [r.value(node, index) for index in range(len(node.inputs))]
    axis = axis_of(s.integer("dim", 1), len(r.importer.shape(values[0])) + 1)
    if len(values) == 1:
        return values
    return [r.importer.add(ops.Concatenate, node.name, *values, axis=axis)]


def _read_split(r: _Reader, node: _Node, s: _Settings) -> _Results:
    x = r.value(node)
    shape = r.importer.shape(x)
    axis = axis_of(s.integer("axis", 1), len(shape) + 1)
    count = s.integer("num_outputs", 0)
    if axis == 0 or s.is_set("squeeze_axis") or count < 1 or shape[axis - 1] % count:
        raise r.importer.unsupported(f"{node.op} into {count} along axis {axis}", node.name)
    size = shape[axis - 1] // count
    return [
        r.importer.add(ops.Slice, node.name, x, axis=axis, start=i * size, stop=(i + 1) * size)
        for i in range(count)
    ]


def _read_slice_axis(r: _Reader, node: _Node, s: _Settings) -> _Results:
    begin, end = s.value("begin", 0), s.value("end", None)
    return [_part(r, node, r.value(node), s.integer("axis", 0), begin, end)]


def _read_slice(r: _Reader, node: _Node, s: _Settings) -> _Results:
    begins, ends = s.value("begin", ()), s.value("end", ())
    if set(s.value("step", ())) - {None, 1} or len(begins) != len(ends):
        raise r.importer.unsupported("slice with steps", node.name)
    value = r.value(node)
    for axis, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if (begin, end) not in ((None, None), (0, None)):
            value = _part(r, node, value, axis, begin, end)
    return [value]


def _part(r: _Reader, node: _Node, x: str, axis: int, begin: Any, end: Any) -> str:
    shape = r.importer.shape(x)
    axis = axis_of(axis, len(shape) + 1)
    if axis == 0:
        raise r.importer.unsupported(f"{node.op} of the batch", node.name)
    start, stop, _ = slice(begin, end).indices(shape[axis - 1])
    if (start, stop) == (0, shape[axis - 1]):
        return x
    return r.importer.add(ops.Slice, node.name, x, axis=axis, start=start, stop=stop)


def _read_reshape(r: _Reader, node: _Node, s: _Settings) -> _Results:
    x = r.value(node)
    shape = r.importer.shape(x)
    codes = s.integers("shape", ())
    wanted = None if s.is_set("reverse") else _without_codes(codes, shape)
    target = None if wanted is None else reshape_target(wanted, shape)
    if target is None:
        raise r.importer.unsupported(f"Reshape of {shape} to {codes} across the batch", node.name)
    return [r.importer.add(ops.Reshape, node.name, x, target=target)]


def _without_codes(codes: Sequence[int], shape: Shape) -> list[int] | None:
    """A shape with MXNet's codes replaced by sizes; -1 stays, 0 is the batch; None if it moves.

    0 copies the next axis, -2 all that are left, -3 the product of the next two; -4 splits the next
    one in two, of which one may be -1.
    """
    left, wanted = [0, *shape], []
    steps = iter(codes)
    for code in steps:
        if code == -2:
            wanted += left
            left = []
        elif code == -3:
            wanted.append(left[0] * left[1])
            left = left[2:]
        elif code == -4:
            first, second, whole = next(steps, 0), next(steps, 0), left[0]
            if whole == 0 or -(first * second) > whole or 0 in (first, second):
                return None
            wanted += [first if first > 0 else whole // second]
            wanted += [second if second > 0 else whole // first]
            left = left[1:]
        else:
            wanted.append(left[0] if code == 0 else code)
            left = left[1:]
    return wanted


def _read_transpose(r: _Reader, node: _Node, s: _Settings) -> _Results:
    x = r.value(node)
    rank = len(r.importer.shape(x)) + 1
    order = s.integers("axes", ()) or tuple(reversed(range(rank)))
    return [r.importer.add(ops.Transpose, node.name, x, order=order)]


def _read_swap(r: _Reader, node: _Node, s: _Settings) -> _Results:
    x = r.value(node)
    order = list(range(len(r.importer.shape(x)) + 1))
    first, second = s.integer("dim1", 0), s.integer("dim2", 0)
    order[first], order[second] = order[second], order[first]
    return [r.importer.add(ops.Transpose, node.name, x, order=tuple(order))]


def _read_flatten(r: _Reader, node: _Node, s: _Settings) -> _Results:
    return [_flat(r, node.name, r.value(node))]


def _read_expand(r: _Reader, node: _Node, s: _Settings) -> _Results:
    x = r.value(node)
    shape = r.importer.shape(x)
    axis = axis_of(s.integer("axis", 0), len(shape) + 2)
    if axis == 0:
        raise r.importer.unsupported("expand_dims before the batch", node.name)
    return [
        r.importer.add(
            ops.Reshape, node.name, x, target=(*shape[: axis - 1], 1, *shape[axis - 1 :])
        )
    ]


def _read_squeeze(r: _Reader, node: _Node, s: _Settings) -> _Results:
    x = r.value(node)
    shape = r.importer.shape(x)
    axes = {axis_of(axis, len(shape) + 1) for axis in s.integers("axis", ())}
    if not axes or 0 in axes or any(shape[axis - 1] != 1 for axis in axes):
        raise r.importer.unsupported("squeeze of unknown axes", node.name)
    target = tuple(size for axis, size in enumerate(shape, 1) if axis not in axes)
    return [r.importer.add(ops.Reshape, node.name, x, target=target)]


def _read_upsampling(r: _Reader, node: _Node, s: _Settings) -> _Results:
    if s.value("sample_type", "nearest") != "nearest" or len(node.inputs) != 1:
        raise r.importer.unsupported("UpSampling by other than repeating", node.name)
    scale = s.integer("scale", 1)
    return [r.importer.add(ops.Upsample, node.name, r.value(node), scales=(scale, scale))]


def _read_repeat(r: _Reader, node: _Node, s: _Settings) -> _Results:
    """Rows, then columns, is one step."""
    x = r.value(node)
    axis, count = s.integer("axis", 0), s.integer("repeats", 1)
    if axis not in (2, 3) or len(r.importer.shape(x)) != 3:
        raise r.importer.unsupported(f"repeat along axis {axis}", node.name)
    before = r.importer.maker(x)
    if axis == 2:
        return [r.importer.add(ops.Upsample, node.name, x, scales=(count, 1))]
    if isinstance(before, ops.Upsample) and before.mode == "nearest" and before.scales[1] == 1:
        scales = (before.scales[0], count)
        return [r.importer.add(ops.Upsample, node.name, before.inputs[0], scales=scales)]
    return [r.importer.add(ops.Upsample, node.name, x, scales=(1, count))]


def _read_bilinear(r: _Reader, node: _Node, s: _Settings) -> _Results:
    scales = (s.number("scale_height", math.nan), s.number("scale_width", math.nan))
    whole = tuple(int(scale) for scale in scales if scale >= 1 and scale == int(scale))
    aligned = s.is_set("align_corners", default=True) or s.value("mode", "size") != "size"
    if len(whole) != 2 or aligned:
        raise r.importer.unsupported("a bilinear resize by other than whole factors", node.name)
    return [r.importer.add(ops.Upsample, node.name, r.value(node), scales=whole, mode="bilinear")]


def _read_pad(r: _Reader, node: _Node, s: _Settings) -> _Results:
    x = r.value(node)
    width = s.integers("pad_width", ())
    value = s.number("constant_value", 0.0)
    if s.value("mode", "constant") != "constant" or len(width) != 8 or width[0] or width[1]:
        raise r.importer.unsupported("Pad with anything but constants around a map", node.name)
    _, _, before, after, top, bottom, left, right = width
    padding = (top, left, bottom, right)
    padded = r.importer.add(ops.Pad, node.name, x, padding=padding, channels=(before, after))
    if value <= _LOWEST / 2 and before == after == 0:
        r.lowest[padded] = (x, padding)
    elif value != 0:
        raise r.importer.unsupported(f"Pad with {value:g}", node.name)
    return [padded]


def _read_dropout(r: _Reader, node: _Node, s: _Settings) -> _Results:
    if s.value("mode", "training") != "training":
        raise r.importer.unsupported("Dropout outside of training", node.name)
    return _read_same(r, node, s)


def _one(kind: type[Operation]) -> Any:
    return lambda r, node, s: [r.importer.add(kind, node.name, r.value(node))]


def _read_same(r: _Reader, node: _Node, s: _Settings) -> _Results:
    return [r.value(node)]


def _none(number: float) -> None:
    return None


_WITH_LABELS = ("SoftmaxOutput", "Softmax", "LogisticRegressionOutput", "LinearRegressionOutput")

_READERS: Mapping[str, Callable[[_Reader, _Node, _Settings], _Results]] = {
    "Convolution": _read_convolution,
    "FullyConnected": _read_linear,
    "BatchNorm": _read_norm,
    "Pooling": _read_pool,
    "mean": _read_mean,
    "_contrib_AdaptiveAvgPooling2D": _read_adaptive,
    "elemwise_add": _read_add,
    "broadcast_add": _read_add,
    "broadcast_plus": _read_add,
    "_plus": _read_add,
    "_Plus": _read_add,
    "add_n": _read_sum,
    "ElementWiseSum": _read_sum,
    "elemwise_mul": _read_multiply,
    "broadcast_mul": _read_multiply,
    "_mul": _read_multiply,
    "_Mul": _read_multiply,
    "_plus_scalar": _by_number(_none, lambda number: number),
    "_PlusScalar": _by_number(_none, lambda number: number),
    "_minus_scalar": _by_number(_none, lambda number: -number),
    "_MinusScalar": _by_number(_none, lambda number: -number),
    "_rminus_scalar": _by_number(lambda number: -1.0, lambda number: number),
    "_mul_scalar": _by_number(lambda number: number, _none),
    "_MulScalar": _by_number(lambda number: number, _none),
    "_div_scalar": _by_number(lambda number: 1 / number if number else math.inf, _none),
    "_DivScalar": _by_number(lambda number: 1 / number if number else math.inf, _none),
    "Activation": _read_activation,
    "relu": _one(ops.Relu),
    "sigmoid": _one(ops.Sigmoid),
    "tanh": _one(ops.Tanh),
    "LogisticRegressionOutput": _one(ops.Sigmoid),
    "LinearRegressionOutput": _read_same,
    "LeakyReLU": _read_leaky,
    "clip": _read_clip,
    "hard_sigmoid": _read_hard_sigmoid,
    "softmax": _read_softmax,
    "SoftmaxActivation": _read_softmax_output,
    "SoftmaxOutput": _read_softmax_output,
    "Softmax": _read_softmax_output,
    "Concat": _read_concat,
    "concat": _read_concat,
    "SliceChannel": _read_split,
    "split": _read_split,
    "slice_axis": _read_slice_axis,
    "slice": _read_slice,
    "crop": _read_slice,
    "Reshape": _read_reshape,
    "reshape": _read_reshape,
    "Flatten": _read_flatten,
    "flatten": _read_flatten,
    "expand_dims": _read_expand,
    "squeeze": _read_squeeze,
    "transpose": _read_transpose,
    "SwapAxis": _read_swap,
    "swapaxes": _read_swap,
    "UpSampling": _read_upsampling,
    "repeat": _read_repeat,
    "_contrib_BilinearResize2D": _read_bilinear,
    "Pad": _read_pad,
    "pad": _read_pad,
    "Dropout": _read_dropout,
    "identity": _read_same,
    "_copy": _read_same,
    "BlockGrad": _read_same,
}
"""From the format's operators to ours."""
