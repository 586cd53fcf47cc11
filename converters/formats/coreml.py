"""Core ML: an ML program (``.mlpackage``) for iPhone, iPad and Mac, written by coremltools."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.formats.emitting import Rules, emit
from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.operations import Operation, Shape
from facemask_zoo.graph.program import Program
from facemask_zoo.quiet import native_stderr_silenced

with native_stderr_silenced():  # about every framework that it has not been tested with
    import coremltools
    from coremltools.converters.mil import Builder, mil
    from coremltools.proto import Model_pb2

FORMAT = "coreml"

_TARGET = coremltools.target.iOS15
_MAX_BATCH = 64
_MAX_AXES = 5
_MAX_AXES_OF_LINEAR = 3
_SIXTH = np.float32(1 / 6)
_MODEL = "Data/com.apple.CoreML/model.mlmodel"
_DATE_KEY = "com.github.apple.coremltools.conversion_date"


def write(program: Program, path: Path) -> None:
    """Write an ML program in full precision for batches of up to 64 samples.

    Summary and licence are those of the card, which is in the user-defined metadata.

    Raises:
        UnsupportedOperationError: Core ML has no equivalent of an operation.
    """
    graph = program.graph
    batch = coremltools.RangeDim(1, _MAX_BATCH, default=1)
    with native_stderr_silenced():  # its progress bars
        package = coremltools.convert(
            _mil_program(program),
            inputs=[coremltools.TensorType(graph.input, shape=(batch, *graph.input_shape))],
            convert_to="mlprogram",
            compute_precision=coremltools.precision.FLOAT32,
            minimum_deployment_target=_TARGET,
            skip_model_load=True,
        )
    if program.card:
        card = json.loads(program.card)
        package.short_description = card.get("summary", "")
        package.license = card.get("license", "")
        package.user_defined_metadata[CARD_KEY] = program.card
    del package.user_defined_metadata[_DATE_KEY]
    package.save(str(path))
    _name_items(path / "Manifest.json")
    _order_maps(path / _MODEL)


def _name_items(manifest: Path) -> None:
    """Name the parts of a package by their paths.

    coremltools draws their names; the same program shall give the same bytes.
    """
    contents = json.loads(manifest.read_bytes())
    names = {
        name: str(uuid.uuid5(uuid.NAMESPACE_URL, item["path"]))
        for name, item in contents["itemInfoEntries"].items()
    }
    entries = sorted((names[name], item) for name, item in contents["itemInfoEntries"].items())
    contents["itemInfoEntries"] = dict(entries)
    contents["rootModelIdentifier"] = names[contents["rootModelIdentifier"]]
    manifest.write_text(json.dumps(contents, indent=4) + "\n", encoding="utf-8")


def _order_maps(path: Path) -> None:
    """Write a model's maps, which come in the order of chance, by their keys."""
    model = Model_pb2.Model.FromString(path.read_bytes())
    path.write_bytes(model.SerializeToString(deterministic=True))


def _mil_program(program: Program) -> Any:
    """The program in Core ML's intermediate language."""
    graph = program.graph
    _check_axes(graph)
    image = Builder.placeholder((mil.get_new_symbol(), *graph.input_shape))
    with mil.Function({graph.input: image}, opset_version=_TARGET) as function:
        values = emit(graph, function.inputs[graph.input], _Emitter(program), _RULES, FORMAT)
        function.set_outputs([values[name] for name in graph.outputs])
    result = mil.Program()
    result.add_function("main", function)
    return result


def _check_axes(graph: Graph) -> None:
    for name, shape in graph.shapes.items():
        if 1 + len(shape) > _MAX_AXES:
            raise UnsupportedOperationError(FORMAT, f"a value of shape {shape}", name)


class _Emitter:
    """Hands out tensors and shapes; values are variables of the intermediate language."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def tensor(self, op: Operation, part: str) -> NDArray[np.float32]:
        """A tensor of the program."""
        return self._program.tensors[f"{op.name}.{part}"]

    def shape(self, op: Operation) -> Shape:
        """Shape of an operation's value, without the batch."""
        return self._program.graph.shapes[op.name]

    def input_shape(self, op: Operation) -> Shape:
        """Shape of its first input, without the batch."""
        return self._program.graph.shapes[op.inputs[0]]


def _window(op: ops.Window) -> dict[str, Any]:
    top, left, bottom, right = op.padding
    return {
        "strides": list(op.strides),
        "pad_type": "custom",
        "pad": [top, bottom, left, right],
        "name": op.name,
    }


def _reshaped(x: Any, target: Sequence[int], name: str) -> Any:
    return Builder.reshape(x=x, shape=[-1, *target], name=name)


def _convolution(e: _Emitter, op: ops.Convolution, x: Sequence[Any]) -> Any:
    return Builder.conv(
        x=x[0],
        weight=e.tensor(op, "weight"),
        bias=e.tensor(op, "bias"),
        dilations=list(op.dilations),
        groups=op.groups,
        **_window(op),
    )


def _max_pool(e: _Emitter, op: ops.MaxPool, x: Sequence[Any]) -> Any:
    return Builder.max_pool(x=x[0], kernel_sizes=list(op.kernel), **_window(op))


def _average_pool(e: _Emitter, op: ops.AveragePool, x: Sequence[Any]) -> Any:
    return Builder.avg_pool(
        x=x[0],
        kernel_sizes=list(op.kernel),
        exclude_padding_from_average=not op.count_padding,
        **_window(op),
    )


def _linear(e: _Emitter, op: ops.Linear, x: Sequence[Any]) -> Any:
    """Core ML's operation sees up to three axes: of more, those before the last become one."""
    tensors = {part: e.tensor(op, part) for part in ("weight", "bias")}
    shape = e.input_shape(op)
    if 1 + len(shape) <= _MAX_AXES_OF_LINEAR:
        return Builder.linear(x=x[0], **tensors, name=op.name)
    rows = _reshaped(x[0], shape[-1:], f"{op.name}_rows")
    product = Builder.linear(x=rows, **tensors, name=f"{op.name}_product")
    return _reshaped(product, e.shape(op), op.name)


def _slice(e: _Emitter, op: ops.Slice, x: Sequence[Any]) -> Any:
    axes = range(1 + len(e.shape(op)))
    whole = [axis != op.axis for axis in axes]
    return Builder.slice_by_index(
        x=x[0],
        begin=[op.start if axis == op.axis else 0 for axis in axes],
        end=[op.stop if axis == op.axis else 0 for axis in axes],
        begin_mask=whole,
        end_mask=whole,
        name=op.name,
    )


def _pad(e: _Emitter, op: ops.Pad, x: Sequence[Any]) -> Any:
    top, left, bottom, right = op.padding
    sides = [0, 0, *op.channels, top, bottom, left, right]
    zero = np.float32(0)
    return Builder.pad(x=x[0], pad=sides, mode="constant", constant_val=zero, name=op.name)


def _upsample(e: _Emitter, op: ops.Upsample, x: Sequence[Any]) -> Any:
    down, right = op.scales
    scales = {"scale_factor_height": down, "scale_factor_width": right, "name": op.name}
    if op.mode == "nearest":
        return Builder.upsample_nearest_neighbor(x=x[0], **scales)
    return Builder.upsample_bilinear(x=x[0], align_corners=False, **scales)


def _prelu(e: _Emitter, op: ops.Prelu, x: Sequence[Any]) -> Any:
    """Core ML has slopes by channel for feature maps alone."""
    slope, shape = e.tensor(op, "slope"), e.shape(op)
    if len(shape) == 3:
        return Builder.prelu(x=x[0], alpha=slope, name=op.name)
    columns = _reshaped(x[0], (shape[0], math.prod(shape[1:]), 1), f"{op.name}_columns")
    bent = Builder.prelu(x=columns, alpha=slope, name=f"{op.name}_bent")
    return _reshaped(bent, shape, op.name)


def _leaky_relu(e: _Emitter, op: ops.LeakyRelu, x: Sequence[Any]) -> Any:
    return Builder.leaky_relu(x=x[0], alpha=np.float32(op.slope), name=op.name)


def _hard_sigmoid(x: Any, name: str) -> Any:
    return Builder.sigmoid_hard(x=x, alpha=_SIXTH, beta=np.float32(0.5), name=name)


def _hard_swish(e: _Emitter, op: ops.HardSwish, x: Sequence[Any]) -> Any:
    return Builder.mul(x=x[0], y=_hard_sigmoid(x[0], f"{op.name}_gate"), name=op.name)


def _unary(function: Any) -> Any:
    return lambda e, op, x: function(x=x[0], name=op.name)


def _binary(function: Any) -> Any:
    return lambda e, op, x: function(x=x[0], y=x[1], name=op.name)


_RULES: Rules[_Emitter, Any] = {
    ops.Convolution: _convolution,
    ops.MaxPool: _max_pool,
    ops.AveragePool: _average_pool,
    ops.GlobalAveragePool: lambda e, op, x: Builder.reduce_mean(
        x=x[0], axes=[2, 3], keep_dims=True, name=op.name
    ),
    ops.Linear: _linear,
    ops.Add: _binary(Builder.add),
    ops.Multiply: _binary(Builder.mul),
    ops.Concatenate: lambda e, op, x: Builder.concat(values=list(x), axis=op.axis, name=op.name),
    ops.Slice: _slice,
    ops.Pad: _pad,
    ops.Upsample: _upsample,
    ops.Reshape: lambda e, op, x: _reshaped(x[0], op.target, op.name),
    ops.Transpose: lambda e, op, x: Builder.transpose(x=x[0], perm=list(op.order), name=op.name),
    ops.Relu: _unary(Builder.relu),
    ops.Relu6: _unary(Builder.relu6),
    ops.LeakyRelu: _leaky_relu,
    ops.Prelu: _prelu,
    ops.Sigmoid: _unary(Builder.sigmoid),
    ops.Tanh: _unary(Builder.tanh),
    ops.HardSigmoid: lambda e, op, x: _hard_sigmoid(x[0], op.name),
    ops.HardSwish: _hard_swish,
    ops.Softmax: lambda e, op, x: Builder.softmax(x=x[0], axis=op.axis, name=op.name),
}
