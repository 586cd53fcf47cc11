"""ONNX: a plain graph of any batch size, with the model card among its metadata."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.formats.emitting import Rules, ceil_padding, emit, same_padding
from facemask_zoo.converters.formats.importing import (
    OPEN_BATCH,
    Importer,
    LooseTensors,
    axis_of,
    damage_reported,
    reshape_target,
    settled_shape,
)
from facemask_zoo.converters.half import to_half
from facemask_zoo.converters.limits import Budget, Computed, read_bytes
from facemask_zoo.converters.protobuf_schema import check_counts
from facemask_zoo.errors import UnsupportedOperationError, WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.operations import Operation, Padding, Shape, Window
from facemask_zoo.graph.program import Program

FORMAT = "onnx"

# Old enough for every runtime in use; one operation came later.
_OPSET, _OPSET_OF_HARD_SWISH = 13, 14
_IR_VERSION = 8
_SUPPRESSION = "NonMaxSuppression"
_ALIASES = ("", "ai.onnx")  # of the domain of ONNX's own operations
_SIXTH = 1 / 6
_TINY = 1e-6
# Where resizes take the centres of cells for each other; for whole factors these are one.
_CENTRES = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")
_MOST_INTEGERS = 4096

Array = NDArray[Any]
_Attributes = dict[str, Any]
Result = str | Array


def read(path: Path) -> Program | LooseTensors:
    """Read a graph of any architecture.

    Of a file of ours that goes on from the outputs to boxes, the tensors alone are read.

    Raises:
        WeightsError: The file is damaged, keeps data elsewhere, or is no network of floats.
        UnsupportedOperationError: It does more than graphs can.
    """
    with damage_reported(path, "ONNX file"):
        proto = _parsed(path)
        if any(node.op_type == _SUPPRESSION for node in proto.graph.node):
            return _loose(proto)
        reader = _Reader(proto)
        for node in proto.graph.node:
            reader.read(node)
        return reader.program()


def _loose(proto: onnx.ModelProto) -> LooseTensors:
    card = _card_text(proto)
    if card is None:
        raise UnsupportedOperationError(FORMAT, _SUPPRESSION)
    budget = Budget()
    tensors = {
        tensor.name: _array(tensor, budget)
        for tensor in proto.graph.initializer
        if tensor.name.endswith((".weight", ".bias"))
    }
    return LooseTensors(tensors, card)


def read_card(path: Path) -> str | None:
    """The text of the card within a file of any precision; None if there is none.

    Raises:
        WeightsError: It is no ONNX file.
    """
    with damage_reported(path, "ONNX file"):
        return _card_text(_parsed(path))


def write(program: Program, path: Path) -> None:
    """Write a graph for any batch size; inputs and outputs have the graph's names.

    Raises:
        UnsupportedOperationError: The program holds what is folded when files are read.
    """
    path.write_bytes(graph_bytes(program))


def graph_bytes(program: Program, *, half: bool = False) -> bytes:
    """The file that :func:`write` writes.

    Args:
        program: What to write.
        half: Whether to store and compute in half precision; input and outputs stay single.
    """
    emitter = OnnxEmitter(program, half=half)
    emitter.emit()
    return emitter.finish([image_input(program.graph)], _outputs(program.graph))


class OnnxEmitter:
    """Collects nodes; values are their names.

    Args:
        program: What to write.
        half: Whether to compute in half precision, between a cast at the start and one at each end.
    """

    def __init__(self, program: Program, *, half: bool = False) -> None:
        self.program = program
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._half = half

    def emit(self) -> None:
        """Write every operation."""
        graph = self.program.graph
        image = graph.input
        if self._half:
            image = self.node("Cast", [image], f"{image}_half", to=onnx.TensorProto.FLOAT16)
        emit(graph, image, self, _RULES, FORMAT)

    def operation(self, kind: str, operation: Operation, inputs: Sequence[str], **more: Any) -> str:
        """Add the node of an operation; an output in half precision is cast under its name."""
        name = operation.name
        if not self._half or name not in self.program.graph.outputs:
            return self.node(kind, list(inputs), name, **more)
        inner = self.node(kind, list(inputs), f"{name}_half", **more)
        self.node("Cast", [inner], name, to=onnx.TensorProto.FLOAT)
        return inner

    def tensor(self, operation: Operation, part: str, shape: Shape | None = None) -> str:
        """Add a tensor of the program, in another shape if one is given."""
        name = f"{operation.name}.{part}"
        values = self.program.tensors[name]
        stored = to_half(values) if self._half else values
        return self.constant(name, stored if shape is None else stored.reshape(shape))

    def node(self, kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        """Add a node with one output of its own name."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        """Add a constant."""
        self.constants.append(numpy_helper.from_array(np.array(values, order="C"), name))
        return name

    def integers(self, name: str, values: Sequence[int]) -> str:
        """Add a constant of integers."""
        return self.constant(name, np.array(values, dtype=np.int64))

    def finish(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> bytes:
        """The whole file, with the card."""
        graph = helper.make_graph(self.nodes, "facemask_zoo", inputs, outputs, self.constants)
        late = any(node.op_type == "HardSwish" for node in self.nodes)
        opset = helper.make_opsetid("", _OPSET_OF_HARD_SWISH if late else _OPSET)
        proto = helper.make_model(graph, opset_imports=[opset], producer_name="facemask_zoo")
        proto.ir_version = _IR_VERSION
        if self.program.card:
            helper.set_model_props(proto, {CARD_KEY: self.program.card})
        onnx.checker.check_model(proto)
        return bytes(proto.SerializeToString(deterministic=True))


def image_input(graph: Graph) -> onnx.ValueInfoProto:
    """The graph's input, (N, ...)."""
    return _value_info(graph.input, graph.input_shape)


def _outputs(graph: Graph) -> list[onnx.ValueInfoProto]:
    return [_value_info(name, shape) for name, shape in graph.output_shapes.items()]


def _value_info(name: str, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", *shape])


def _window(window: Window) -> _Attributes:
    attributes: _Attributes = {"kernel_shape": window.kernel}
    if window.strides != (1, 1):
        attributes["strides"] = window.strides
    if any(window.padding):
        attributes["pads"] = window.padding
    return attributes


def _write_convolution(emitter: OnnxEmitter, op: ops.Convolution, x: Sequence[str]) -> str:
    attributes = _window(op)
    if op.groups > 1:
        attributes["group"] = op.groups
    if op.dilations != (1, 1):
        attributes["dilations"] = op.dilations
    inputs = [x[0], emitter.tensor(op, "weight"), emitter.tensor(op, "bias")]
    return emitter.operation("Conv", op, inputs, **attributes)


def _write_linear(emitter: OnnxEmitter, op: ops.Linear, x: Sequence[str]) -> str:
    inputs = emitter.program.graph.input_shapes(op)[0]
    if len(inputs) == 1:
        tensors = [emitter.tensor(op, "weight"), emitter.tensor(op, "bias")]
        return emitter.operation("Gemm", op, [x[0], *tensors], transB=1)
    weight = emitter.tensor(op, "weight")
    turned = emitter.node("Transpose", [weight], f"{op.name}_weight_t", perm=[1, 0])
    product = emitter.node("MatMul", [x[0], turned], f"{op.name}_product")
    return emitter.operation("Add", op, [product, emitter.tensor(op, "bias")])


def _write_slice(emitter: OnnxEmitter, op: ops.Slice, x: Sequence[str]) -> str:
    limits = {"starts": op.start, "ends": op.stop, "axes": op.axis}
    constants = [emitter.integers(f"{op.name}_{key}", [value]) for key, value in limits.items()]
    return emitter.operation("Slice", op, [x[0], *constants])


def _write_pad(emitter: OnnxEmitter, op: ops.Pad, x: Sequence[str]) -> str:
    top, left, bottom, right = op.padding
    before, after = op.channels
    pads = [0, before, top, left, 0, after, bottom, right]
    return emitter.operation("Pad", op, [x[0], emitter.integers(f"{op.name}_pads", pads)])


def _unpadded(
    emitter: OnnxEmitter, op: ops.MaxPool | ops.AveragePool, x: Sequence[str]
) -> list[str]:
    """The input of a pool; behind zero padding, by way of a reshape that changes nothing.

    onnxruntime makes padding of the pool's own of such zeros, which never win in a maximum.
    """
    (source,) = op.inputs
    if not isinstance(emitter.program.graph.by_name.get(source), ops.Pad):
        return list(x)
    shape = emitter.integers(f"{op.name}_shape", [0, *emitter.program.graph.shapes[source]])
    return [emitter.node("Reshape", [*x, shape], f"{op.name}_padded")]


def _write_upsample(emitter: OnnxEmitter, op: ops.Upsample, x: Sequence[str]) -> str:
    scales = emitter.constant(f"{op.name}_scales", np.array([1, 1, *op.scales], np.float32))
    modes: _Attributes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    if op.mode == "nearest":
        modes = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
    return emitter.operation("Resize", op, [x[0], "", scales], **modes)


def _write_reshape(emitter: OnnxEmitter, op: ops.Reshape, x: Sequence[str]) -> str:
    # 0 keeps the batch; -1 leaves one axis open, which some runtimes need for batches over 1.
    target = [0, *op.target]
    if len(op.target) > 1:
        target[1] = -1
    return emitter.operation("Reshape", op, [x[0], emitter.integers(f"{op.name}_shape", target)])


def _plain(kind: str, **attributes: Any) -> Any:
    def write_it(emitter: OnnxEmitter, op: Operation, x: Sequence[str]) -> str:
        return emitter.operation(kind, op, x, **attributes)

    return write_it


def _write_relu6(emitter: OnnxEmitter, op: ops.Relu6, x: Sequence[str]) -> str:
    kind = np.float16 if emitter._half else np.float32
    limits = [
        emitter.constant(f"{op.name}_{key}", np.array(value, kind))
        for key, value in (("low", 0), ("high", 6))
    ]
    return emitter.operation("Clip", op, [x[0], *limits])


def _write_prelu(emitter: OnnxEmitter, op: ops.Prelu, x: Sequence[str]) -> str:
    rank = len(emitter.program.graph.shapes[op.name])
    slope = emitter.tensor(op, "slope", (-1, *[1] * (rank - 1)))
    return emitter.operation("PRelu", op, [x[0], slope])


_RULES: Rules[OnnxEmitter, str] = {
    ops.Convolution: _write_convolution,
    ops.MaxPool: lambda e, op, x: e.operation("MaxPool", op, _unpadded(e, op, x), **_window(op)),
    ops.AveragePool: lambda e, op, x: e.operation(
        "AveragePool",
        op,
        _unpadded(e, op, x),
        count_include_pad=int(op.count_padding),
        **_window(op),
    ),
    ops.GlobalAveragePool: _plain("GlobalAveragePool"),
    ops.Linear: _write_linear,
    ops.Add: _plain("Add"),
    ops.Multiply: _plain("Mul"),
    ops.Concatenate: lambda e, op, x: e.operation("Concat", op, x, axis=op.axis),
    ops.Slice: _write_slice,
    ops.Pad: _write_pad,
    ops.Upsample: _write_upsample,
    ops.Reshape: _write_reshape,
    ops.Transpose: lambda e, op, x: e.operation("Transpose", op, x, perm=op.order),
    ops.Relu: _plain("Relu"),
    ops.Relu6: _write_relu6,
    ops.LeakyRelu: lambda e, op, x: e.operation("LeakyRelu", op, x, alpha=op.slope),
    ops.Prelu: _write_prelu,
    ops.Sigmoid: _plain("Sigmoid"),
    ops.Tanh: _plain("Tanh"),
    ops.HardSigmoid: _plain("HardSigmoid", alpha=_SIXTH, beta=0.5),
    ops.HardSwish: _plain("HardSwish"),
    ops.Softmax: lambda e, op, x: e.operation("Softmax", op, x, axis=op.axis),
}


class _Reader:
    """Follows the nodes of a file; a value is a name in the graph, or an array if it is constant.

    Arrays of integers may hold -1 for the batch, where a file computes shapes.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        graph = proto.graph
        self._budget = Budget()
        self.computed = Computed()
        self.values: dict[str, Result] = {
            tensor.name: self._array(tensor) for tensor in graph.initializer
        }
        images = [each for each in graph.input if each.name not in self.values]
        if len(images) != 1:
            names = [each.name for each in images]
            raise WeightsError(f"Expected one input, but the file has {names[:5]}.")
        self.importer = Importer(FORMAT, images[0].name, _input_shape(images[0]))
        self.values[images[0].name] = self.importer.input
        self._outputs = [each.name for each in graph.output]
        self._card = _card_text(proto) or ""
        opsets = (each.version for each in proto.opset_import if each.domain in _ALIASES)
        self.opset = max(opsets, default=_OPSET)
        self.batch = _batch(images[0])

    def read(self, node: onnx.NodeProto) -> None:
        """Take in a node."""
        rule = _READERS.get(node.op_type)
        if rule is None or node.domain not in _ALIASES:
            raise self.importer.unsupported(node.op_type, node.name)
        missing = [name for name in node.input if name and name not in self.values]
        if missing or not node.output:
            raise WeightsError(f"{node.op_type} {node.name!r}: nothing before it gives {missing}.")
        results = rule(self, node, _attributes(node, self._budget))
        self.values.update(zip(node.output, results, strict=False))

    def program(self) -> Program:
        """What was read."""
        found = [self.values.get(name) for name in self._outputs]
        if not all(isinstance(each, str) for each in found):
            raise WeightsError(f"Nothing gives the outputs {self._outputs[:5]}.")
        return self.importer.program([str(each) for each in found], self._card, self._outputs)

    def value(self, node: onnx.NodeProto, index: int = 0) -> str:
        """An input that depends on the picture."""
        result = self.values.get(node.input[index]) if index < len(node.input) else None
        if not isinstance(result, str):
            raise self.importer.unsupported(f"{node.op_type} of constants", node.name)
        return result

    def constant(self, node: onnx.NodeProto, index: int) -> Array | None:
        """An input that is constant; None if the node has none there."""
        if index >= len(node.input) or not node.input[index]:
            return None
        result = self.values[node.input[index]]
        if isinstance(result, str):
            raise self.importer.unsupported(f"{node.op_type} by computed numbers", node.name)
        return result

    def needed(self, node: onnx.NodeProto, index: int) -> Array:
        """An input that has to be there and constant."""
        found = self.constant(node, index)
        if found is None:
            raise WeightsError(f"{node.op_type} {node.name!r} lacks its input {index}.")
        return found

    def integers(self, node: onnx.NodeProto, index: int, given: Any) -> list[int] | None:
        """Integers that are an input, or an attribute in older files; None if they are neither."""
        found = self.constant(node, index)
        if found is None:
            return None if given is None else [int(value) for value in np.ravel(given)]
        if found.size > _MOST_INTEGERS:
            raise WeightsError(f"{node.op_type} {node.name!r}: its input {index} is too long.")
        return [int(value) for value in found.ravel()]

    def padding(self, node: onnx.NodeProto, a: _Attributes, window: Window) -> Padding:
        """Padding of a window whose kernel and strides are known."""
        size = self.importer.spatial(self.value(node))
        mode = a.get("auto_pad", b"NOTSET").decode()
        if mode == "SAME_UPPER":
            return same_padding(window, size)
        if mode == "SAME_LOWER":
            top, left, bottom, right = same_padding(window, size)
            return (bottom, right, top, left)
        pads = tuple(a.get("pads", [0, 0, 0, 0])) if mode == "NOTSET" else (0, 0, 0, 0)
        return _four(pads, node)

    def _array(self, tensor: onnx.TensorProto) -> Array:
        return _array(tensor, self._budget)


def _read_convolution(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    weight = r.needed(node, 1)
    if weight.ndim != 4:
        raise r.importer.unsupported(f"a Conv of {weight.ndim} dimensions", node.name)
    window = ops.Convolution(
        name="window",
        inputs=(),
        filters=1,
        kernel=(weight.shape[2], weight.shape[3]),
        strides=_pair(a.get("strides", (1, 1)), node),
        dilations=_pair(a.get("dilations", (1, 1)), node),
    )
    value = r.importer.convolution(
        node.output[0],
        r.value(node),
        weight,
        r.constant(node, 2),
        strides=window.strides,
        padding=r.padding(node, a, window),
        dilations=window.dilations,
        groups=int(a.get("group", 1)),
    )
    return [value]


def _read_pool(kind: type[ops.MaxPool | ops.AveragePool]) -> Any:
    def read_it(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
        if any(step != 1 for step in a.get("dilations", (1, 1))):
            raise r.importer.unsupported(f"{node.op_type} with dilations", node.name)
        window = Window(
            name="window",
            inputs=(),
            kernel=_pair(a["kernel_shape"], node),
            strides=_pair(a.get("strides", (1, 1)), node),
        )
        window.check()
        padding = r.padding(node, a, window)
        rounded = padding
        if a.get("ceil_mode"):
            padded = ops.MaxPool(
                name="window",
                inputs=(),
                kernel=window.kernel,
                strides=window.strides,
                padding=padding,
            )
            rounded = ceil_padding(padded, r.importer.spatial(r.value(node)))
        more: _Attributes = {}
        if kind is ops.AveragePool:
            counted = bool(a.get("count_include_pad", 0))
            if counted and rounded != padding:
                raise r.importer.unsupported("an average that counts half its padding", node.name)
            more["count_padding"] = counted and any(padding)
        return [
            r.importer.add(
                kind,
                node.output[0],
                r.value(node),
                kernel=window.kernel,
                strides=window.strides,
                padding=rounded,
                **more,
            )
        ]

    return read_it


def _read_global_max(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    size = r.importer.spatial(r.value(node))
    return [r.importer.add(ops.MaxPool, node.output[0], r.value(node), kernel=size, strides=size)]


def _read_mean(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    x = r.value(node)
    axes = r.integers(node, 1, a.get("axes"))
    if axes is None or sorted(axis % 4 for axis in axes) != [2, 3] or len(r.importer.shape(x)) != 3:
        raise r.importer.unsupported(f"a mean over the axes {axes}", node.name)
    name = node.output[0]
    if a.get("keepdims", 1):
        return [r.importer.add(ops.GlobalAveragePool, name, x)]
    pooled = r.importer.add(ops.GlobalAveragePool, f"{name}_pooled", x)
    target = r.importer.shape(x)[:1]
    return [r.importer.add(ops.Reshape, name, pooled, target=target)]


def _read_most(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    x = r.value(node)
    axes = r.integers(node, 1, a.get("axes"))
    if axes is None or sorted(axis % 4 for axis in axes) != [2, 3] or len(r.importer.shape(x)) != 3:
        raise r.importer.unsupported(f"a maximum over the axes {axes}", node.name)
    name, size, keep = node.output[0], r.importer.spatial(x), a.get("keepdims", 1)
    inner = name if keep else f"{name}_pooled"
    pooled = r.importer.add(ops.MaxPool, inner, x, kernel=size, strides=size)
    if keep:
        return [pooled]
    return [r.importer.add(ops.Reshape, name, pooled, target=r.importer.shape(x)[:1])]


def _read_gemm(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    if a.get("transA"):
        raise r.importer.unsupported("Gemm of a transposed value", node.name)
    weight, bias = r.needed(node, 1), r.constant(node, 2)
    weight = weight if a.get("transB") else weight.T
    weight = weight * np.float32(a.get("alpha", 1.0))
    if bias is not None:
        if bias.ndim > 1 and bias.shape[:-1] != (1,):
            raise r.importer.unsupported(f"Gemm with a bias of shape {bias.shape}", node.name)
        bias = bias.reshape(-1) * np.float32(a.get("beta", 1.0))
        bias = np.broadcast_to(bias, weight.shape[:1])
    return [r.importer.linear(node.output[0], r.value(node), weight, bias)]


def _read_matmul(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    weight = r.needed(node, 1)
    if weight.ndim != 2:
        raise r.importer.unsupported("a product of values", node.name)
    return [r.importer.linear(node.output[0], r.value(node), weight.T, None)]


def _read_norm(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    if a.get("training_mode"):
        raise r.importer.unsupported("BatchNormalization in training", node.name)
    parts = ("gamma", "beta", "mean", "variance")
    norm = {part: r.needed(node, index) for index, part in enumerate(parts, 1)}
    epsilon = float(a.get("epsilon", 1e-5))
    return [r.importer.batch_norm(node.output[0], r.value(node), norm, epsilon)]


def _read_arithmetic(
    kind: type[Operation] | None, scale: Callable[[Array], Array | None], shift: Any
) -> Any:
    """Of two values by `kind`, or of a value and a constant as a scale and a shift."""

    def read_it(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
        left, right = (r.values[name] for name in node.input)
        name = node.output[0]
        if isinstance(left, str) and isinstance(right, str):
            if kind is None:
                raise r.importer.unsupported(f"{node.op_type} of two values", node.name)
            if kind is ops.Multiply:
                return [r.importer.product(name, left, right)]
            return [r.importer.add(kind, name, left, right)]
        if not isinstance(left, str) and not isinstance(right, str):
            return [_of_constants(r, node, left, right)]
        constant, value = (right, left) if isinstance(left, str) else (left, right)
        if not isinstance(left, str) and kind is None:
            raise r.importer.unsupported(f"{node.op_type} of a constant by a value", node.name)
        assert isinstance(value, str)
        assert not isinstance(constant, str)
        if kind is ops.Add and (layer := r.importer.biased(name, value, constant)) is not None:
            return [layer]
        _check_by_channel(r, node, constant, r.importer.shape(value))
        return [r.importer.scaled(name, value, scale(constant), shift(constant))]

    return read_it


def _of_constants(r: _Reader, node: onnx.NodeProto, left: Array, right: Array) -> Array:
    """Arithmetic of shapes; it may not touch the unknown batch."""
    functions: dict[str, np.ufunc] = {
        "Add": np.add,
        "Sub": np.subtract,
        "Mul": np.multiply,
        "Div": np.floor_divide,  # ONNX cuts what is left over; below, nothing is negative
    }
    function = functions.get(node.op_type)
    if function is np.floor_divide and left.dtype.kind == "f":  # of sizes, which gives a scale
        function = np.true_divide
    batch = (left < 0).any() or (right < 0).any()
    by_zero = node.op_type == "Div" and not right.all()
    unfit = left.dtype.kind not in "iuf" or max(left.size, right.size) > 8
    if function is None or unfit or batch or by_zero:
        raise r.importer.unsupported(f"{node.op_type} of constants", node.name)
    return np.asarray(function(left, right))


def _check_by_channel(r: _Reader, node: onnx.NodeProto, constant: Array, shape: Shape) -> None:
    """A constant may be one number, or one for each channel; neither adds axes."""
    wanted = (shape[0], *[1] * (len(shape) - 1))
    one = constant.size == 1 and constant.ndim <= len(wanted) + 1
    if not one and constant.shape not in (wanted, (1, *wanted)):
        text = f"{node.op_type} with a constant of shape {constant.shape}"
        raise r.importer.unsupported(text, node.name)


def _read_clip(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    low, high = r.constant(node, 1), r.constant(node, 2)
    least = float(a.get("min", -math.inf) if low is None else low.reshape(-1)[0])
    most = float(a.get("max", math.inf) if high is None else high.reshape(-1)[0])
    largest = float(np.finfo(np.float32).max)
    if least <= -largest and most >= largest:
        return [r.value(node)]
    if least == 0 and most == 6:
        return [r.importer.add(ops.Relu6, node.output[0], r.value(node))]
    if least == 0 and most >= largest:
        return [r.importer.add(ops.Relu, node.output[0], r.value(node))]
    raise r.importer.unsupported(f"Clip to {least:g}..{most:g}", node.name)


def _read_hard_sigmoid(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    alpha, beta = float(a.get("alpha", 0.2)), float(a.get("beta", 0.5))
    return [r.importer.hard_sigmoid(node.output[0], r.value(node), alpha, beta)]


def _read_prelu(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    slope = r.needed(node, 1)
    _check_by_channel(r, node, slope, r.importer.shape(r.value(node)))
    return [r.importer.prelu(node.output[0], r.value(node), slope)]


def _read_softmax(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    x = r.value(node)
    rank = len(r.importer.shape(x)) + 1
    axis = int(a.get("axis", -1 if r.opset >= _OPSET else 1)) % rank
    if r.opset < _OPSET and axis != rank - 1:  # which then meant all axes from there on
        raise r.importer.unsupported("Softmax over several axes", node.name)
    return [r.importer.add(ops.Softmax, node.output[0], x, axis=axis)]


def _read_concat(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    parts = [r.values[name] for name in node.input]
    if not any(isinstance(part, str) for part in parts):
        return [r.computed.joined([r.needed(node, index) for index in range(len(parts))])]
    values = [r.value(node, index) for index in range(len(parts))]
    axis = int(a["axis"]) % (len(r.importer.shape(values[0])) + 1)
    if len(values) == 1:
        return [values[0]]
    return [r.importer.add(ops.Concatenate, node.output[0], *values, axis=axis)]


def _read_split(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    x = r.value(node)
    shape = r.importer.shape(x)
    axis = int(a.get("axis", 0)) % (len(shape) + 1)
    if axis == 0:
        raise r.importer.unsupported("Split of the batch", node.name)
    count, length = len(node.output), shape[axis - 1]
    sizes = r.integers(node, 1, a.get("split"))
    if sizes is None:
        part = -(-length // count)
        sizes = [max(min(part, length - index * part), 0) for index in range(count)]
    results: list[Result] = []
    start = 0
    for name, size in zip(node.output, sizes, strict=True):
        results.append(
            r.importer.add(ops.Slice, name, x, axis=axis, start=start, stop=start + size)
        )
        start += size
    return results


def _read_slice(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    starts = r.integers(node, 1, a.get("starts")) or []
    ends = r.integers(node, 2, a.get("ends")) or []
    axes = r.integers(node, 3, a.get("axes")) or list(range(len(starts)))
    steps = r.integers(node, 4, None) or [1] * len(starts)
    if set(steps) != {1} or not len(starts) == len(ends) == len(axes):
        raise r.importer.unsupported("Slice with steps", node.name)
    source = r.values[node.input[0]]
    if not isinstance(source, str):
        if axes != [0] or source.ndim != 1:
            raise r.importer.unsupported("Slice of constants", node.name)
        return [source[starts[0] : ends[0]]]
    value = source
    for start, end, axis in zip(starts, ends, axes, strict=True):
        shape = r.importer.shape(value)
        axis %= len(shape) + 1
        if axis == 0:
            raise r.importer.unsupported("Slice of the batch", node.name)
        first, last, _ = slice(start, end).indices(shape[axis - 1])
        if (first, last) != (0, shape[axis - 1]):
            value = r.importer.add(
                ops.Slice, node.output[0], value, axis=axis, start=first, stop=last
            )
    return [value]


def _read_pad(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    fill = r.constant(node, 2)
    value = float(a.get("value", 0.0) if fill is None else fill.reshape(-1)[0])
    x = r.value(node)
    pads = _pads(r, node, a, len(r.importer.shape(x)) + 1)
    if a.get("mode", b"constant") != b"constant" or value or len(pads) != 8 or pads[0] or pads[4]:
        raise r.importer.unsupported("Pad with anything but zeros around a feature map", node.name)
    _, before, top, left, _, after, bottom, right = pads
    padding = (top, left, bottom, right)
    return [r.importer.add(ops.Pad, node.output[0], x, padding=padding, channels=(before, after))]


def _pads(r: _Reader, node: onnx.NodeProto, a: _Attributes, rank: int) -> list[int]:
    """What is added before every axis, then after every one."""
    given = r.integers(node, 1, a.get("pads")) or []
    axes = _axes(node, r.integers(node, 3, None), rank)
    if len(given) != 2 * len(axes):
        raise WeightsError(f"Pad {node.name!r}: {len(given)} sizes are not two for every axis.")
    pads = [0] * 2 * rank
    for index, axis in enumerate(axes):
        pads[axis], pads[axis + rank] = given[index], given[index + len(axes)]
    return pads


def _axes(node: onnx.NodeProto, given: Sequence[int] | None, rank: int) -> list[int]:
    """Axes counted from the start; all of them where none are given."""
    axes = list(range(rank)) if given is None else [axis_of(axis, rank) for axis in given]
    if len(set(axes)) != len(axes):
        raise WeightsError(f"{node.op_type} {node.name!r} names an axis twice: {axes[:8]}.")
    return axes


def _read_resize(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    x = r.value(node)
    scales = _scales(r, node, a)
    whole = np.rint(scales)
    if scales.size != 4 or (np.abs(scales - whole) > _TINY).any() or (whole[:2] != 1).any():
        raise r.importer.unsupported("a resize by other than whole factors", node.name)
    mode = a.get("mode", b"nearest").decode()
    places = a.get("coordinate_transformation_mode", _old_places(r, node)).decode()
    rounding = a.get("nearest_mode", b"round_prefer_floor").decode()
    repeats = _repeats(places, rounding) or node.op_type == "Upsample" or r.opset < 11
    if a.get("antialias") or not (
        repeats if mode == "nearest" else mode == "linear" and places in _CENTRES
    ):
        raise r.importer.unsupported(f"a {mode} resize with {places}, {rounding}", node.name)
    factors = (int(whole[2]), int(whole[3]))
    kind = "nearest" if mode == "nearest" else "bilinear"
    return [r.importer.add(ops.Upsample, node.output[0], x, scales=factors, mode=kind)]


def _scales(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> Array:
    """By how much a resize enlarges every axis."""
    shape = (1, *r.importer.shape(r.value(node)))
    axes = _axes(node, a.get("axes"), len(shape))
    given = r.constant(node, 2 if node.op_type == "Resize" and r.opset > 10 else 1)
    if node.op_type == "Resize" and (given is None or not given.size):
        if a.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
            raise r.importer.unsupported("a resize that keeps the aspect ratio", node.name)
        sizes = r.needed(node, 3).ravel()
        sizes = np.array([_one_for_batch(r, *each) for each in zip(sizes, axes, strict=True)])
        given = sizes / np.array(shape)[axes]
    given = np.ravel(a.get("scales", []) if given is None else given)
    if given.size != len(axes):
        raise WeightsError(
            f"{node.op_type} {node.name!r}: {given.size} sizes for {len(axes)} axes."
        )
    scales = np.ones(len(shape))
    scales[axes] = given
    return scales


def _one_for_batch(r: _Reader, size: int, axis: int) -> int:
    """A size, which is 1 if it is the batch's."""
    return 1 if axis == 0 and size in (OPEN_BATCH, r.batch) else int(size)


def _repeats(places: str, rounding: str) -> bool:
    """Whether the nearest cell, for a whole factor, is the one that a cell lies in."""
    if places in _CENTRES:
        return rounding.startswith("round_prefer_")
    return rounding == "floor" and places in ("asymmetric", "tf_half_pixel_for_nn")


def _old_places(r: _Reader, node: onnx.NodeProto) -> bytes:
    return b"half_pixel" if node.op_type == "Resize" and r.opset > 10 else b"asymmetric"


def _read_reshape(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    wanted = r.integers(node, 1, a.get("shape"))
    source = r.values[node.input[0]]
    if wanted is None:
        raise WeightsError(f"Reshape {node.name!r} lacks its shape.")
    if not isinstance(source, str):
        return [r.computed.reshaped(source, wanted)]
    shape = r.importer.shape(source)
    target = reshape_target(wanted, shape)
    if target is None:
        raise r.importer.unsupported(f"Reshape of {shape} to {wanted} across the batch", node.name)
    return [r.importer.add(ops.Reshape, node.output[0], source, target=target)]


def _read_flatten(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    x = r.value(node)
    if int(a.get("axis", 1)) != 1:
        raise r.importer.unsupported("Flatten across the batch", node.name)
    target = (math.prod(r.importer.shape(x)),)
    return [r.importer.add(ops.Reshape, node.output[0], x, target=target)]


def _read_squeeze(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    axes = r.integers(node, 1, a.get("axes"))
    source = r.values[node.input[0]]
    if not isinstance(source, str):
        return [np.squeeze(source, tuple(axes) if axes else None)]
    shape = (OPEN_BATCH, *r.importer.shape(source))
    chosen = {axis % len(shape) for axis in axes or []}
    if not chosen or any(shape[axis] != 1 for axis in chosen):
        raise r.importer.unsupported("Squeeze of unknown axes", node.name)
    target = tuple(size for axis, size in enumerate(shape) if axis not in chosen)[1:]
    return [r.importer.add(ops.Reshape, node.output[0], source, target=target)]


def _read_unsqueeze(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    axes = r.integers(node, 1, a.get("axes")) or []
    source = r.values[node.input[0]]
    if not isinstance(source, str):
        return [np.expand_dims(source, tuple(axes))]
    rank = len(r.importer.shape(source)) + 1 + len(axes)
    chosen = {axis % rank for axis in axes}
    if 0 in chosen:
        raise r.importer.unsupported("Unsqueeze before the batch", node.name)
    sizes = iter(r.importer.shape(source))
    target = tuple(1 if axis in chosen else next(sizes) for axis in range(1, rank))
    return [r.importer.add(ops.Reshape, node.output[0], source, target=target)]


def _read_transpose(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    source = r.values[node.input[0]]
    if not isinstance(source, str):
        return [source.transpose(a.get("perm"))]
    order = tuple(a.get("perm", reversed(range(len(r.importer.shape(source)) + 1))))
    return [r.importer.add(ops.Transpose, node.output[0], source, order=order)]


def _read_dropout(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    training = r.constant(node, 2)
    if training is not None and training.any():
        raise r.importer.unsupported("Dropout in training", node.name)
    return _read_same(r, node, a)


def _read_same(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    return [r.values[node.input[0]]]


def _read_cast(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    source = r.values[node.input[0]]
    if isinstance(source, str):
        if a["to"] not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
            raise r.importer.unsupported("Cast to other than floats", node.name)
        return [source]
    return [r.computed.cast(source, helper.tensor_dtype_to_np_dtype(a["to"]))]


def _read_constant(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    for key in ("value", "value_ints", "value_floats", "value_int", "value_float"):
        if key in a:
            return [np.asarray(a[key])]
    raise r.importer.unsupported("a Constant of text", node.name)


def _read_shape(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    shape = (OPEN_BATCH, *r.importer.shape(r.value(node)))
    return [np.array(shape[a.get("start", 0) : a.get("end")], np.int64)]


def _read_gather(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
    data, indices = r.needed(node, 0), r.needed(node, 1)
    if data.ndim != 1 or data.dtype.kind not in "iu" or indices.size > data.size:
        raise r.importer.unsupported("Gather of other than a shape", node.name)
    return [r.computed.taken(data, indices)]


def _one(kind: type[Operation], **attributes: Any) -> Any:
    def read_it(r: _Reader, node: onnx.NodeProto, a: _Attributes) -> list[Result]:
        return [r.importer.add(kind, node.output[0], r.value(node), **attributes)]

    return read_it


def _nothing(constant: Array) -> None:
    return None


_READERS: Mapping[str, Callable[[_Reader, onnx.NodeProto, _Attributes], list[Result]]] = {
    "Conv": _read_convolution,
    "MaxPool": _read_pool(ops.MaxPool),
    "AveragePool": _read_pool(ops.AveragePool),
    "GlobalAveragePool": _one(ops.GlobalAveragePool),
    "GlobalMaxPool": _read_global_max,
    "ReduceMean": _read_mean,
    "ReduceMax": _read_most,
    "Gemm": _read_gemm,
    "MatMul": _read_matmul,
    "BatchNormalization": _read_norm,
    "Add": _read_arithmetic(ops.Add, _nothing, lambda constant: constant),
    "Sub": _read_arithmetic(None, _nothing, lambda constant: -constant),
    "Mul": _read_arithmetic(ops.Multiply, lambda constant: constant, _nothing),
    "Div": _read_arithmetic(None, lambda constant: 1 / constant.astype(np.float64), _nothing),
    "Clip": _read_clip,
    "Relu": _one(ops.Relu),
    "LeakyRelu": lambda r, n, a: _one(ops.LeakyRelu, slope=float(a.get("alpha", 0.01)))(r, n, a),
    "PRelu": _read_prelu,
    "Sigmoid": _one(ops.Sigmoid),
    "Tanh": _one(ops.Tanh),
    "HardSigmoid": _read_hard_sigmoid,
    "HardSwish": _one(ops.HardSwish),
    "Softmax": _read_softmax,
    "Concat": _read_concat,
    "Split": _read_split,
    "Slice": _read_slice,
    "Pad": _read_pad,
    "Resize": _read_resize,
    "Upsample": _read_resize,
    "Reshape": _read_reshape,
    "Flatten": _read_flatten,
    "Squeeze": _read_squeeze,
    "Unsqueeze": _read_unsqueeze,
    "Transpose": _read_transpose,
    "Identity": _read_same,
    "Dropout": _read_dropout,
    "Cast": _read_cast,
    "Constant": _read_constant,
    "Shape": _read_shape,
    "Gather": _read_gather,
}
"""From the format's operations to ours."""


def _input_shape(image: onnx.ValueInfoProto) -> Shape:
    kind = image.type.tensor_type
    sizes = [int(dimension.dim_value) for dimension in kind.shape.dim]
    if kind.elem_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16) or len(sizes) < 2:
        raise WeightsError(f"Input {image.name!r}: expected floats with a batch, got {sizes}.")
    return settled_shape(image.name, sizes[1:])


def _batch(image: onnx.ValueInfoProto) -> int:
    """The batch that a file states; 1 where it is open."""
    return int(image.type.tensor_type.shape.dim[0].dim_value) or 1


def _pair(values: Sequence[int], node: onnx.NodeProto) -> tuple[int, int]:
    if len(values) != 2:
        raise WeightsError(f"{node.op_type} {node.name!r}: expected two numbers, got {values}.")
    return (int(values[0]), int(values[1]))


def _four(values: Sequence[int], node: onnx.NodeProto) -> Padding:
    if len(values) != 4:
        raise WeightsError(f"{node.op_type} {node.name!r}: expected four numbers, got {values}.")
    return (int(values[0]), int(values[1]), int(values[2]), int(values[3]))


def _attributes(node: onnx.NodeProto, budget: Budget) -> _Attributes:
    """Attributes by name; tensors as arrays, texts as bytes."""
    found: _Attributes = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        is_tensor = attribute.type == onnx.AttributeProto.TENSOR
        found[attribute.name] = _array(value, budget) if is_tensor else value
    return found


def _parsed(path: Path) -> onnx.ModelProto:
    data = read_bytes(path)
    check_counts(onnx.ModelProto, data)
    return onnx.load_model_from_string(data)


def _card_text(proto: onnx.ModelProto) -> str | None:
    return {entry.key: entry.value for entry in proto.metadata_props}.get(CARD_KEY)


def _array(tensor: onnx.TensorProto, budget: Budget) -> Array:
    if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise WeightsError(f"Tensor {tensor.name!r} lies outside the file, which is not read.")
    if tensor.float_data:  # onnx would make a Python object of every number
        budget.spend(4 * len(tensor.float_data))
        values = np.fromiter(tensor.float_data, np.float32, len(tensor.float_data))
        return values.reshape(tuple(tensor.dims))
    stored = np.asarray(numpy_helper.to_array(tensor))
    budget.spend(stored.nbytes)
    return stored.astype(np.float32) if stored.dtype == np.float16 else stored
