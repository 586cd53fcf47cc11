"""TFLite: a float graph of any batch size, by the schema alone, without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.formats.family_emitting import FamilyEmitter, Pads
from facemask_zoo.converters.formats.family_importing import (
    Array,
    FamilyImporter,
    Masks,
    Result,
)
from facemask_zoo.converters.formats.importing import damage_reported, settled_shape
from facemask_zoo.converters.half import to_half
from facemask_zoo.converters.limits import Budget, read_bytes
from facemask_zoo.converters.signatures import TFLITE_IDENTIFIER
from facemask_zoo.errors import WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.operations import Operation, Shape, Window
from facemask_zoo.graph.program import Program

FORMAT = "tflite"

_VERSION = 3
_ALIGNMENT = 16
_KINDS = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int32": schema.TensorType.INT32,
}
_SIGNATURE = "serving_default"
SUPPRESSION = "TFLite_Detection_PostProcess"
"""The custom operation with which a file of ours may go on from the outputs to boxes."""

_DTYPES = {
    schema.TensorType.FLOAT32: "<f4",
    schema.TensorType.FLOAT16: "<f2",
    schema.TensorType.INT32: "<i4",
    schema.TensorType.INT64: "<i8",
}
_KIND_NAMES: dict[int, str] = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}
_MAX_REFERENCES = 100_000
_MAX_METADATA = 64
_MAX_NAME_BYTES = 1024


def read(path: Path) -> Program:
    """Read a graph of any architecture, in full precision or with weights in half.

    Of a file of ours that goes on from the outputs to boxes, the network is read.

    Raises:
        WeightsError: The file is damaged or quantised.
        UnsupportedOperationError: It does more than graphs can.
    """
    data = read_bytes(path)
    with damage_reported(path, "TFLite file"):
        return _Reader(schema.Model.GetRootAs(data, 0)).program()


def read_card(path: Path) -> bytes | None:
    """The text of the card within a file of any precision; None if there is none.

    Raises:
        WeightsError: It is no TFLite file.
    """
    data = read_bytes(path)
    with damage_reported(path, "TFLite file"):
        return _card_text(schema.Model.GetRootAs(data, 0))


def write(program: Program, path: Path) -> None:
    """Write a graph; pictures are (N, H, W, C), outputs as in the graph.

    The declared N is 1; ``resize_tensor_input`` makes it any other.

    Raises:
        UnsupportedOperationError: TFLite has no such operation.
    """
    path.write_bytes(graph_bytes(program))


def graph_bytes(program: Program, *, half: bool = False) -> bytes:
    """The file that :func:`write` writes.

    Args:
        program: What to write.
        half: Whether to store the weights in half precision; they are computed with in single.
    """
    emitter = TFLiteEmitter(program, half=half)
    outputs = emitter.emit()
    inputs = {program.graph.input: emitter.image_tensor}
    return emitter.writer.finish(FORMAT, inputs, outputs, card_metadata(program))


def card_metadata(program: Program) -> dict[str, bytes]:
    """The card that travels with a program, as files hold it."""
    return {CARD_KEY: program.card.encode()} if program.card else {}


class AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Places vectors where vector instructions can read them without a copy."""

    def StartVector(self, size: int, count: int, alignment: int) -> Any:  # noqa: N802
        return super().StartVector(size, count, max(alignment, _ALIGNMENT))


class GraphTensor(NamedTuple):
    """A tensor of the file, and its shape with the batch in front."""

    number: int
    shape: Shape


class GraphWriter:
    """Collects tensors and operators of one graph, and gives the file."""

    def __init__(self) -> None:
        self._buffers = [schema.BufferT()]  # by convention the first one is empty
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[int, str], int] = {}

    def tensor(self, name: str, shape: Shape, *, any_batch: bool = True) -> GraphTensor:
        """Declare a tensor of floats that is computed.

        Args:
            name: Its name.
            shape: Its shape for one picture, with the batch.
            any_batch: Whether its first axis may become longer.
        """
        kind = schema.TensorType.FLOAT32
        tensor = _made(schema.TensorT, shape=_integers(shape), type=kind, name=name)
        if any_batch:
            tensor.shapeSignature = _integers((-1, *shape[1:]))
        self._tensors.append(tensor)
        return GraphTensor(len(self._tensors) - 1, shape)

    def constant(self, name: str, values: NDArray[Any]) -> GraphTensor:
        """A tensor of float32, float16 or int32 values."""
        kind = _KINDS[values.dtype.name]
        buffer = self._buffer(np.ascontiguousarray(values).reshape(-1).view(np.uint8))
        tensor = _made(
            schema.TensorT, shape=_integers(values.shape), type=kind, name=name, buffer=buffer
        )
        self._tensors.append(tensor)
        return GraphTensor(len(self._tensors) - 1, values.shape)

    def operator(
        self,
        kind: str,
        inputs: Sequence[GraphTensor],
        outputs: Sequence[GraphTensor],
        options: Any = None,
    ) -> None:
        """Add a builtin operator; `options` is an object of the schema."""
        operator = self._operator((getattr(schema.BuiltinOperator, kind), ""), inputs, outputs)
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = options

    def custom_operator(
        self,
        name: str,
        inputs: Sequence[GraphTensor],
        outputs: Sequence[GraphTensor],
        options: bytes,
    ) -> None:
        """Add an operator that the schema only knows by name; `options` is a flexbuffer."""
        operator = self._operator((schema.BuiltinOperator.CUSTOM, name), inputs, outputs)
        operator.customOptions = np.frombuffer(options, np.uint8)

    def finish(
        self,
        name: str,
        inputs: Mapping[str, GraphTensor],
        outputs: Mapping[str, GraphTensor],
        metadata: Mapping[str, bytes],
    ) -> bytes:
        """The whole file, with one signature that names inputs and outputs."""
        entries = [
            _made(schema.MetadataT, name=key, buffer=self._buffer(np.frombuffer(value, np.uint8)))
            for key, value in metadata.items()
        ]
        graph = _made(
            schema.SubGraphT,
            tensors=self._tensors,
            inputs=_integers([part.number for part in inputs.values()]),
            outputs=_integers([part.number for part in outputs.values()]),
            operators=self._operators,
            name=name,
        )
        return packed(
            _made(
                schema.ModelT,
                version=_VERSION,
                description="facemask_zoo",
                metadata=entries,
                signatureDefs=[_signature(inputs, outputs)],
                subgraphs=[graph],
                operatorCodes=[_code(*code) for code in self._codes],
                buffers=self._buffers,
            )
        )

    def _operator(
        self, code: tuple[int, str], inputs: Sequence[GraphTensor], outputs: Sequence[GraphTensor]
    ) -> Any:
        operator = _made(
            schema.OperatorT,
            opcodeIndex=self._codes.setdefault(code, len(self._codes)),
            inputs=_integers([part.number for part in inputs]),
            outputs=_integers([part.number for part in outputs]),
        )
        self._operators.append(operator)
        return operator

    def _buffer(self, data: NDArray[np.uint8]) -> int:
        self._buffers.append(_made(schema.BufferT, data=data))
        return len(self._buffers) - 1


def packed(model: Any) -> bytes:
    """The file of a ``ModelT``."""
    builder = AlignedBuilder(0)
    builder.Finish(model.Pack(builder), TFLITE_IDENTIFIER)
    return bytes(builder.Output())


def _made(kind: Any, **fields: Any) -> Any:
    """An object of the schema with some of its fields set."""
    made = kind()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def _integers(values: Sequence[int]) -> NDArray[np.int32]:
    return np.array(values, np.int32)


def _code(kind: int, name: str) -> Any:
    # Readers of old take the first field, which has 7 bits; all of ours fit.
    return _made(
        schema.OperatorCodeT,
        deprecatedBuiltinCode=min(kind, 127),
        builtinCode=kind,
        version=1,
        customCode=name or None,
    )


def _signature(inputs: Mapping[str, GraphTensor], outputs: Mapping[str, GraphTensor]) -> Any:
    sides = [
        [
            _made(schema.TensorMapT, name=name, tensorIndex=part.number)
            for name, part in side.items()
        ]
        for side in (inputs, outputs)
    ]
    return _made(schema.SignatureDefT, inputs=sides[0], outputs=sides[1], signatureKey=_SIGNATURE)


_ACTIVATIONS: dict[type[Operation], int] = {
    ops.Relu: schema.ActivationFunctionType.RELU,
    ops.Relu6: schema.ActivationFunctionType.RELU6,
}


class TFLiteEmitter(FamilyEmitter[GraphTensor]):
    """Writes operators.

    Args:
        program: What to write.
        half: Whether to store the weights in half precision.
        writer: Collects them; a new one unless given.
    """

    format = FORMAT
    fused = tuple(_ACTIVATIONS)
    plain: ClassVar[dict[type[Operation], str]] = {
        ops.Relu: "RELU",
        ops.Relu6: "RELU6",
        ops.Sigmoid: "LOGISTIC",
        ops.Tanh: "TANH",
    }

    def __init__(self, program: Program, *, half: bool = False, any_batch: bool = True) -> None:
        super().__init__(program)
        self.writer = GraphWriter()
        self._half = half
        self._any_batch = any_batch

    def input(self, name: str, shape: Shape) -> GraphTensor:
        self.image_tensor = self.writer.tensor(name, (1, *shape), any_batch=self._any_batch)
        return self.image_tensor

    def constant(self, name: str, values: NDArray[Any]) -> GraphTensor:
        return self.writer.constant(name, values)

    def weight(self, name: str, values: NDArray[np.float32]) -> GraphTensor:
        if not self._half:
            return self.writer.constant(name, values)
        stored = self.writer.constant(name, to_half(values))
        weight = self.writer.tensor(f"{name}_float32", values.shape, any_batch=False)
        self.writer.operator("DEQUANTIZE", [stored], [weight], schema.DequantizeOptionsT())
        return weight

    def unary(self, kind: str, value: GraphTensor, shape: Shape, name: str) -> GraphTensor:
        return self._add(kind, [value], shape, name)

    def binary(
        self,
        kind: type[Operation],
        values: Sequence[GraphTensor],
        shape: Shape,
        name: str,
        fused: Operation | None,
    ) -> GraphTensor:
        code, options = (
            ("ADD", schema.AddOptionsT()) if kind is ops.Add else ("MUL", schema.MulOptionsT())
        )
        options.fusedActivationFunction = _function(fused)
        return self._add(code, values, shape, name, options)

    def convolved(
        self,
        op: ops.Convolution,
        value: GraphTensor,
        same: bool,
        shape: Shape,
        name: str,
        fused: Operation | None,
    ) -> GraphTensor:
        channels = value.shape[3]
        depthwise = op.groups == channels > 1
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.padding = _padding(same)
        options.strideH, options.strideW = op.strides
        options.dilationHFactor, options.dilationWFactor = op.dilations
        options.fusedActivationFunction = _function(fused)
        if depthwise:
            options.depthMultiplier = op.filters // channels
        weight = self.tensor(op, "weight", (1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
        code = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        return self._add(code, [value, weight, self.tensor(op, "bias")], shape, name, options)

    def pooled(
        self, op: Window, value: GraphTensor, same: bool, shape: Shape, name: str
    ) -> GraphTensor:
        options = _made(
            schema.Pool2DOptionsT,
            padding=_padding(same),
            strideH=op.strides[0],
            strideW=op.strides[1],
            filterHeight=op.kernel[0],
            filterWidth=op.kernel[1],
        )
        code = "MAX_POOL_2D" if isinstance(op, ops.MaxPool) else "AVERAGE_POOL_2D"
        return self._add(code, [value], shape, name, options)

    def mean(self, value: GraphTensor, shape: Shape, name: str) -> GraphTensor:
        axes = self.constant(f"{name}/axes", _integers([1, 2]))
        return self._add(
            "MEAN", [value, axes], shape, name, _made(schema.ReducerOptionsT, keepDims=True)
        )

    def linear(
        self,
        op: ops.Linear,
        value: GraphTensor,
        rank: int,
        shape: Shape,
        name: str,
        fused: Operation | None,
    ) -> GraphTensor:
        options = _made(schema.FullyConnectedOptionsT, keepNumDims=rank > 1)
        options.fusedActivationFunction = _function(fused)
        inputs = [value, self.tensor(op, "weight"), self.tensor(op, "bias")]
        return self._add("FULLY_CONNECTED", inputs, shape, name, options)

    def joined(
        self, values: Sequence[GraphTensor], axis: int, shape: Shape, name: str
    ) -> GraphTensor:
        options = _made(schema.ConcatenationOptionsT, axis=axis)
        return self._add("CONCATENATION", values, shape, name, options)

    def sliced(
        self,
        value: GraphTensor,
        begin: Sequence[int],
        sizes: Sequence[int],
        shape: Shape,
        name: str,
    ) -> GraphTensor:
        constants = [
            self.constant(f"{name}/{key}", _integers(values))
            for key, values in (("begin", begin), ("size", sizes))
        ]
        return self._add("SLICE", [value, *constants], shape, name, schema.SliceOptionsT())

    def padded(
        self, value: GraphTensor, pads: Pads, fill: float, shape: Shape, name: str
    ) -> GraphTensor:
        sides = self.constant(f"{name}/paddings", np.array(pads, np.int32))
        if not fill:
            return self._add("PAD", [value, sides], shape, name, schema.PadOptionsT())
        constant = self.constant(f"{name}/fill", np.array([fill], np.float32))
        return self._add("PADV2", [value, sides, constant], shape, name, schema.PadV2OptionsT())

    def resized(self, op: ops.Upsample, value: GraphTensor, shape: Shape, name: str) -> GraphTensor:
        size = self.constant(f"{name}/size", _integers(shape[:2]))
        if op.mode == "nearest":
            options = schema.ResizeNearestNeighborOptionsT()
            return self._add("RESIZE_NEAREST_NEIGHBOR", [value, size], shape, name, options)
        options = _made(schema.ResizeBilinearOptionsT, halfPixelCenters=True)
        return self._add("RESIZE_BILINEAR", [value, size], shape, name, options)

    def reshaped(self, value: GraphTensor, shape: Shape, name: str) -> GraphTensor:
        target = _integers((-1, *shape))
        constant = self.constant(f"{name}/shape", target)
        options = _made(schema.ReshapeOptionsT, newShape=target)
        return self._add("RESHAPE", [value, constant], shape, name, options)

    def transposed(
        self, value: GraphTensor, order: tuple[int, ...], shape: Shape, name: str
    ) -> GraphTensor:
        constant = self.constant(f"{name}/order", _integers(order))
        options = schema.TransposeOptionsT()
        return self._add("TRANSPOSE", [value, constant], shape, name, options)

    def leaky(self, op: ops.LeakyRelu, value: GraphTensor, shape: Shape, name: str) -> GraphTensor:
        options = _made(schema.LeakyReluOptionsT, alpha=op.slope)
        return self._add("LEAKY_RELU", [value], shape, name, options)

    def prelu(
        self, slope: NDArray[Any], value: GraphTensor, shape: Shape, name: str
    ) -> GraphTensor:
        return self._add("PRELU", [value, self.weight(f"{name}.slope", slope)], shape, name)

    def softmax(self, value: GraphTensor, shape: Shape, name: str) -> GraphTensor:
        return self._add("SOFTMAX", [value], shape, name, _made(schema.SoftmaxOptionsT, beta=1.0))

    def hard_swish(self, value: GraphTensor, shape: Shape, name: str) -> GraphTensor:
        return self._add("HARD_SWISH", [value], shape, name, schema.HardSwishOptionsT())

    def _add(
        self,
        kind: str,
        inputs: Sequence[GraphTensor],
        shape: Shape,
        name: str,
        options: Any = None,
    ) -> GraphTensor:
        result = self.writer.tensor(name, (1, *shape), any_batch=self._any_batch)
        self.writer.operator(kind, inputs, [result], options)
        return result


def _padding(same: bool) -> int:
    return int(schema.Padding.SAME if same else schema.Padding.VALID)


def _function(activation: Operation | None) -> int:
    none = schema.ActivationFunctionType.NONE
    return int(none if activation is None else _ACTIVATIONS[type(activation)])


class _Node:
    """An operator: what it is, what it sees and what it gives.

    Args:
        reader: The file that it is in.
        table: The schema's view of it.
    """

    def __init__(self, reader: _Reader, table: Any) -> None:
        self._table = table
        self.kind = reader.kinds[table.OpcodeIndex()]
        reader.count(table.InputsLength() + table.OutputsLength())
        self.inputs = [int(table.Inputs(index)) for index in range(table.InputsLength())]
        self.outputs = [int(table.Outputs(index)) for index in range(table.OutputsLength())]
        if not self.inputs or not self.outputs:
            raise WeightsError(f"A {self.kind} has no inputs or no outputs.")
        self.names: list[str] = [reader.name(index) for index in self.outputs]
        self.name: str = self.names[0]

    def options(self, kind: str) -> Any:
        """The operator's settings, an object of the schema's class for them."""
        table = self._table.BuiltinOptions()
        given = self._table.BuiltinOptionsType()
        if table is None or given != getattr(schema.BuiltinOptions, kind):
            raise WeightsError(f"{self.kind} {self.name!r} lacks its settings.")
        view = getattr(schema, kind)()
        view.Init(table.Bytes, table.Pos)
        return getattr(schema, f"{kind}T").InitFromObj(view)

    @property
    def has_options(self) -> bool:
        """Whether there are any."""
        return self._table.BuiltinOptions() is not None


class _Reader:
    """Follows the operators of a file; results by number of the tensor."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._graph = file.Subgraphs(0)
        self._left = _MAX_REFERENCES
        self._length = self.count(self._graph.TensorsLength())
        self._budget = Budget()
        self.kinds = [
            _kind_of(file.OperatorCodes(index))
            for index in range(self.count(file.OperatorCodesLength()))
        ]
        self.values: dict[int, Result] = {}
        if self._graph.InputsLength() != 1:
            raise WeightsError(f"Expected one input, but got {self._graph.InputsLength()}.")
        self._start(self._graph.Inputs(0))

    def _start(self, image: int) -> None:
        tensor = self._tensor(image)
        shape = _shape(tensor)
        if tensor.Type() != schema.TensorType.FLOAT32:
            raise WeightsError("Expected an input of floats, but the file is quantised.")
        if tensor.ShapeSignatureLength() == len(shape):  # open axes are 1 in the shape itself
            shape = tuple(int(tensor.ShapeSignature(axis)) for axis in range(len(shape)))
        if len(shape) < 2 or shape[0] == 0:
            raise WeightsError(f"Expected an input with a batch, but got {shape}.")
        self.batch = shape[0]
        stored = settled_shape(self.name(image), shape[1:])
        self.importer = FamilyImporter(FORMAT, self.name(image), stored)
        self.values[image] = self.importer.input

    def program(self) -> Program:
        """What was read: up to the outputs, or to the suppression in a file of ours."""
        card = _card_text(self._file)
        for index in range(self.count(self._graph.OperatorsLength())):
            node = _Node(self, self._graph.Operators(index))
            if node.kind == SUPPRESSION and card:
                return self._end(node.inputs[:2], card)
            rule = _READERS.get(node.kind)
            if rule is None:
                raise self.importer.unsupported(node.kind, node.name)
            self.values.update(zip(node.outputs, rule(self, node), strict=False))
        count = self.count(self._graph.OutputsLength())
        return self._end([self._graph.Outputs(index) for index in range(count)], card or b"")

    def _end(self, outputs: Sequence[int], card: bytes) -> Program:
        results = [(self.name(each), self.result(each)) for each in outputs]
        return self.importer.end(results, card.decode())

    def count(self, length: int) -> int:
        """Account for things that the file lists; they may be the same bytes again and again."""
        self._left -= length
        if self._left < 0:
            raise WeightsError(f"The file lists more than {_MAX_REFERENCES} parts.")
        return length

    def name(self, tensor: int) -> str:
        """Name of a tensor."""
        return _name(self._tensor(tensor))

    def result(self, tensor: int) -> Result:
        """What is known of a tensor."""
        if tensor not in self.values:
            self.values[tensor] = self._stored(tensor)
        return self.values[tensor]

    def input(self, node: _Node, index: int = 0) -> Result:
        """What a node sees at a place."""
        if not index < len(node.inputs):
            raise WeightsError(f"{node.kind} {node.name!r} lacks its input {index}.")
        return self.result(node.inputs[index])

    def array(self, node: _Node, index: int) -> Array:
        """A constant that a node sees."""
        return self.importer.array(self.input(node, index), node.name)

    def bias(self, node: _Node) -> Array | None:
        """The constant at the third place, which may be left out."""
        return self.array(node, 2) if len(node.inputs) > 2 and node.inputs[2] >= 0 else None

    def integers(self, node: _Node, index: int) -> list[int]:
        """A constant of a few integers."""
        return self.importer.integers(self.input(node, index), node.name)

    def finished(self, node: _Node, result: Result, function: int) -> Result:
        """The result after the activation that the file keeps within an operator."""
        if function == schema.ActivationFunctionType.NONE:
            return result
        kind = _ACTIVATION_OF.get(function)
        if kind is None:
            raise self.importer.unsupported(f"{node.kind} with activation {function}", node.name)
        return self.importer.activated(kind, node.name, result)

    def inner(self, node: _Node, function: int) -> str:
        """Name for an operation that an activation in the same operator comes after."""
        return node.name if not function else f"{node.name}_linear"

    def _tensor(self, index: int) -> Any:
        if not 0 <= index < self._length:
            raise WeightsError(f"The file has no tensor {index}.")
        return self._graph.Tensors(index)

    def _stored(self, index: int) -> Array:
        tensor = self._tensor(index)
        kind = _DTYPES.get(tensor.Type())
        if kind is None or tensor.Sparsity() is not None:
            raise WeightsError(f"{_name(tensor)}: expected floats, but the file is quantised.")
        buffer = self._file.Buffers(tensor.Buffer())
        if buffer.DataIsNone() or buffer.Offset() > 1:
            raise WeightsError(f"{_name(tensor)}: nothing gives it, or it lies elsewhere.")
        stored: Array = buffer.DataAsNumpy().view(kind).reshape(_shape(tensor))
        self._budget.spend(stored.size * max(stored.itemsize, 4))
        return stored


def _conv(r: _Reader, node: _Node) -> list[Result]:
    options = node.options("Conv2DOptions")
    return [_convolved(r, node, options, r.array(node, 1), (0, 3, 1, 2), depthwise=False)]


def _depthwise(r: _Reader, node: _Node) -> list[Result]:
    options = node.options("DepthwiseConv2DOptions")
    kernel = r.array(node, 1)
    if kernel.ndim != 4 or kernel.shape[0] != 1:
        raise WeightsError(f"{node.name}: expected a depthwise kernel, got {kernel.shape}.")
    return [_convolved(r, node, options, kernel, (3, 0, 1, 2), depthwise=True)]


def _convolved(
    r: _Reader, node: _Node, options: Any, kernel: Array, order: Sequence[int], *, depthwise: bool
) -> Result:
    if kernel.ndim != 4:
        raise WeightsError(f"{node.name}: expected a 4-dimensional kernel, got {kernel.shape}.")
    function = options.fusedActivationFunction
    made = r.importer.convolved(
        r.inner(node, function),
        r.input(node),
        kernel.transpose(order),
        r.bias(node),
        strides=(options.strideH, options.strideW),
        dilations=(options.dilationHFactor, options.dilationWFactor),
        padding=options.padding == schema.Padding.SAME,
        depthwise=depthwise,
    )
    return r.finished(node, made, function)


def _pool(kind: type[ops.MaxPool | ops.AveragePool]) -> _Rule:
    def read_it(r: _Reader, node: _Node) -> list[Result]:
        options = node.options("Pool2DOptions")
        function = options.fusedActivationFunction
        made = r.importer.pooled(
            kind,
            r.inner(node, function),
            r.input(node),
            kernel=(options.filterHeight, options.filterWidth),
            strides=(options.strideH, options.strideW),
            padding=options.padding == schema.Padding.SAME,
        )
        return [r.finished(node, made, function)]

    return read_it


def _mean(r: _Reader, node: _Node) -> list[Result]:
    keep = bool(node.options("ReducerOptions").keepDims)
    return [r.importer.mean(node.name, r.input(node), r.integers(node, 1), keep=keep)]


def _most(r: _Reader, node: _Node) -> list[Result]:
    keep = bool(node.options("ReducerOptions").keepDims)
    return [r.importer.most(node.name, r.input(node), r.integers(node, 1), keep=keep)]


def _connected(r: _Reader, node: _Node) -> list[Result]:
    options = node.options("FullyConnectedOptions")
    if options.weightsFormat:
        raise r.importer.unsupported("FULLY_CONNECTED with shuffled weights", node.name)
    function = options.fusedActivationFunction
    name, keep = r.inner(node, function), bool(options.keepNumDims)
    made = r.importer.connected(name, r.input(node), r.array(node, 1), r.bias(node), keep=keep)
    return [r.finished(node, made, function)]


def _product(r: _Reader, node: _Node) -> list[Result]:
    options = node.options("BatchMatMulOptions")
    weight = r.array(node, 1)
    if options.adjX or weight.ndim != 2:
        raise r.importer.unsupported("a product of values", node.name)
    weight = weight if options.adjY else weight.T
    return [r.importer.connected(node.name, r.input(node), weight, None, keep=True)]


def _arithmetic(kind: str, options_kind: str) -> _Rule:
    def read_it(r: _Reader, node: _Node) -> list[Result]:
        has_function = node.has_options
        function = node.options(options_kind).fusedActivationFunction if has_function else 0
        sides = (r.input(node), r.input(node, 1))
        made = r.importer.arithmetic(kind, r.inner(node, function), *sides)
        return [r.finished(node, made, function)]

    return read_it


def _concatenation(r: _Reader, node: _Node) -> list[Result]:
    options = node.options("ConcatenationOptions")
    function = options.fusedActivationFunction
    parts = [r.result(each) for each in node.inputs]
    made = r.importer.joined(r.inner(node, function), parts, options.axis)
    return [r.finished(node, made, function)]


def _reshape(r: _Reader, node: _Node) -> list[Result]:
    if len(node.inputs) > 1:
        wanted = r.integers(node, 1)
    else:
        given = node.options("ReshapeOptions").newShape
        wanted = r.importer.integers(np.asarray(given, np.int32), node.name)
    return [r.importer.reshaped(node.name, r.input(node), wanted)]


def _squeeze(r: _Reader, node: _Node) -> list[Result]:
    axes = node.options("SqueezeOptions").squeezeDims
    chosen = r.importer.integers(np.asarray([] if axes is None else axes, np.int32), node.name)
    return [r.importer.squeezed(node.name, r.input(node), chosen)]


def _expand(r: _Reader, node: _Node) -> list[Result]:
    (axis,) = r.integers(node, 1)
    return [r.importer.expanded(node.name, r.input(node), axis)]


def _transpose(r: _Reader, node: _Node) -> list[Result]:
    return [r.importer.turned(node.name, r.input(node), r.integers(node, 1))]


def _strided_slice(r: _Reader, node: _Node) -> list[Result]:
    options = node.options("StridedSliceOptions")
    masks = Masks(
        begin=options.beginMask,
        end=options.endMask,
        ellipsis=options.ellipsisMask,
        new_axis=options.newAxisMask,
        shrink=options.shrinkAxisMask,
    )
    begin, end, strides = (r.integers(node, index) for index in (1, 2, 3))
    x = r.input(node)
    return [r.importer.strided(node.name, x, begin, end, strides, masks, r.batch)]


def _slice(r: _Reader, node: _Node) -> list[Result]:
    begin, sizes = r.integers(node, 1), r.integers(node, 2)
    return [r.importer.window(node.name, r.input(node), begin, sizes, r.batch)]


def _split(r: _Reader, node: _Node) -> list[Result]:
    (axis,) = r.integers(node, 0)
    return r.importer.pieces(node.names, r.input(node, 1), axis, None)


def _split_by_sizes(r: _Reader, node: _Node) -> list[Result]:
    sizes = r.integers(node, 1)
    (axis,) = r.integers(node, 2)
    return r.importer.pieces(node.names, r.input(node), axis, sizes)


def _pad(r: _Reader, node: _Node) -> list[Result]:
    fill = float(r.array(node, 2).reshape(-1)[0]) if len(node.inputs) > 2 else 0.0
    return [r.importer.surrounded(node.name, r.input(node), r.array(node, 1), fill)]


def _resize(mode: str, options_kind: str) -> _Rule:
    def read_it(r: _Reader, node: _Node) -> list[Result]:
        options = node.options(options_kind)
        if options.alignCorners or (mode == "bilinear" and not options.halfPixelCenters):
            raise r.importer.unsupported(f"{node.kind} that is not by half pixels", node.name)
        return [r.importer.resized(node.name, r.input(node), r.integers(node, 1), mode)]

    return read_it


def _leaky(r: _Reader, node: _Node) -> list[Result]:
    slope = float(node.options("LeakyReluOptions").alpha)
    return [r.importer.activated(ops.LeakyRelu, node.name, r.input(node), slope=slope)]


def _prelu(r: _Reader, node: _Node) -> list[Result]:
    return [r.importer.sloped(node.name, r.input(node), r.array(node, 1))]


def _softmax(r: _Reader, node: _Node) -> list[Result]:
    if node.options("SoftmaxOptions").beta != 1:
        raise r.importer.unsupported("SOFTMAX with a temperature", node.name)
    return [r.importer.softmax(node.name, r.input(node))]


def _dequantize(r: _Reader, node: _Node) -> list[Result]:
    stored = r.array(node, 0)
    if stored.dtype != np.float16:
        raise WeightsError(f"{node.name}: expected floats, but the file is quantised.")
    return [r.importer.computed.cast(stored, np.float32)]


def _pack(r: _Reader, node: _Node) -> list[Result]:
    return [r.importer.stacked(node.name, [r.result(each) for each in node.inputs])]


def _activation(kind: type[Operation]) -> _Rule:
    return lambda r, node: [r.importer.activated(kind, node.name, r.input(node))]


_Rule = Callable[[_Reader, _Node], list[Result]]
_ACTIVATION_OF = {
    **{code: kind for kind, code in _ACTIVATIONS.items()},
    schema.ActivationFunctionType.TANH: ops.Tanh,
}
_READERS: Mapping[str, _Rule] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "MAX_POOL_2D": _pool(ops.MaxPool),
    "AVERAGE_POOL_2D": _pool(ops.AveragePool),
    "MEAN": _mean,
    "REDUCE_MAX": _most,
    "FULLY_CONNECTED": _connected,
    "BATCH_MATMUL": _product,
    "ADD": _arithmetic("add", "AddOptions"),
    "SUB": _arithmetic("sub", "SubOptions"),
    "MUL": _arithmetic("mul", "MulOptions"),
    "DIV": _arithmetic("div", "DivOptions"),
    "NEG": lambda r, node: [r.importer.negated(node.name, r.input(node))],
    "CONCATENATION": _concatenation,
    "RESHAPE": _reshape,
    "TILE": lambda r, node: [r.importer.repeated(node.name, r.input(node), r.integers(node, 1))],
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand,
    "TRANSPOSE": _transpose,
    "STRIDED_SLICE": _strided_slice,
    "SLICE": _slice,
    "SPLIT": _split,
    "SPLIT_V": _split_by_sizes,
    "PAD": _pad,
    "PADV2": _pad,
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest", "ResizeNearestNeighborOptions"),
    "RESIZE_BILINEAR": _resize("bilinear", "ResizeBilinearOptions"),
    "RELU": _activation(ops.Relu),
    "RELU6": _activation(ops.Relu6),
    "LEAKY_RELU": _leaky,
    "PRELU": _prelu,
    "LOGISTIC": _activation(ops.Sigmoid),
    "TANH": _activation(ops.Tanh),
    "HARD_SWISH": _activation(ops.HardSwish),
    "SOFTMAX": _softmax,
    "DEQUANTIZE": _dequantize,
    "SHAPE": lambda r, node: [r.importer.shape_of(r.input(node), node.name)],
    "PACK": _pack,
}
"""From the format's operations to ours."""


def _kind_of(code: Any) -> str:
    """Name of an operation; the older field has 7 bits."""
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    if number == schema.BuiltinOperator.CUSTOM:
        return str(code.CustomCode() or b"", "utf-8")[:_MAX_NAME_BYTES]
    return _KIND_NAMES.get(number, f"operator {number}")


def _shape(tensor: Any) -> Shape:
    return tuple(int(tensor.Shape(axis)) for axis in range(min(tensor.ShapeLength(), 8)))


def _card_text(file: Any) -> bytes | None:
    for index in range(min(file.MetadataLength(), _MAX_METADATA)):
        entry = file.Metadata(index)
        if _name(entry) == CARD_KEY:
            return bytes(file.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return None


def _name(table: Any) -> str:
    """Name of a tensor or another table; any number of them may share a long one."""
    name: bytes = table.Name() or b""
    if len(name) > _MAX_NAME_BYTES:
        raise WeightsError(f"A name in the file has {len(name)} bytes.")
    return name.decode()
