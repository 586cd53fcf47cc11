"""A program as a `torch.nn.Module`: the same operations, whatever the architecture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as f

from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.operations import Operation
from facemask_zoo.graph.program import Program


class GraphModule(nn.Module):
    """Computes a graph; its `state_dict` has the names of the program's tensors.

    Args:
        program: What to compute. The module has a copy of its tensors.

    Raises:
        UnsupportedOperationError: The program holds what is folded when files are read.
    """

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.graph: Graph = program.graph
        for operation in self.graph.operations:
            if type(operation) not in _RULES:
                raise UnsupportedOperationError("pytorch", operation.kind, operation.name)
            parts = operation.parameters(self.graph.input_shapes(operation))
            if parts:
                holder = nn.Module()
                for part in parts:
                    values = np.array(program.tensors[f"{operation.name}.{part}"])
                    holder.register_parameter(part, nn.Parameter(torch.from_numpy(values)))
                self.add_module(operation.name, holder)

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Run the graph.

        Args:
            batch: (N, ...) samples of the graph's input shape.

        Returns:
            The outputs in the graph's order, (N, ...) each.
        """
        values = {self.graph.input: batch}
        for operation in self.graph.operations:
            inputs = [values[name] for name in operation.inputs]
            own = self._modules.get(operation.name)
            values[operation.name] = compute(operation, inputs, own)
        return tuple(values[name] for name in self.graph.outputs)


def compute(operation: Operation, inputs: Sequence[Tensor], own: Any = None) -> Tensor:
    """The value of one operation.

    Args:
        operation: What to compute.
        inputs: What it sees, in order.
        own: Has its tensors as attributes, if there are any.
    """
    return _RULES[type(operation)](operation, inputs, own)


_Rule = Callable[[Any, Sequence[Tensor], Any], Tensor]


def _sides(padding: ops.Padding) -> tuple[int, int, int, int]:
    top, left, bottom, right = padding
    return (left, right, top, bottom)


def _symmetric(op: ops.Window, x: Tensor, fill: float) -> tuple[Tensor, tuple[int, int]]:
    """The input, padded by hand where the sides differ, and the padding that is left to do."""
    top, left, bottom, right = op.padding
    if (top, left) == (bottom, right):
        return x, (top, left)
    return f.pad(x, _sides(op.padding), value=fill), (0, 0)


def _convolution(op: ops.Convolution, x: Sequence[Tensor], own: Any) -> Tensor:
    image, padding = _symmetric(op, x[0], 0.0)
    strides = op.strides
    if op.kernel == (1, 1) and strides != (1, 1):  # PyTorch 2.13 may crash on channels-last ones
        seen = f.pad(x[0], _sides(op.padding)) if any(op.padding) else x[0]
        image, padding = seen[:, :, :: strides[0], :: strides[1]], (0, 0)
        strides = (1, 1)
    return f.conv2d(image, own.weight, own.bias, strides, padding, op.dilations, op.groups)


def _max_pool(op: ops.MaxPool, x: Sequence[Tensor], own: Any) -> Tensor:
    image, padding = _symmetric(op, x[0], -torch.inf)
    if max(padding) * 2 > min(op.kernel):  # which PyTorch does not pad by itself
        image, padding = f.pad(x[0], _sides(op.padding), value=-torch.inf), (0, 0)
    return f.max_pool2d(image, op.kernel, op.strides, padding)


def _average_pool(op: ops.AveragePool, x: Sequence[Tensor], own: Any) -> Tensor:
    total = f.avg_pool2d(f.pad(x[0], _sides(op.padding)), op.kernel, op.strides)
    if op.count_padding or not any(op.padding):
        return total
    inside = f.pad(torch.ones_like(x[0][:1, :1]), _sides(op.padding))
    return total / f.avg_pool2d(inside, op.kernel, op.strides)


def _pad(op: ops.Pad, x: Sequence[Tensor], own: Any) -> Tensor:
    return f.pad(x[0], (*_sides(op.padding), *op.channels))


def _upsample(op: ops.Upsample, x: Sequence[Tensor], own: Any) -> Tensor:
    scales = [float(scale) for scale in op.scales]
    if op.mode == "nearest":
        return f.interpolate(x[0], scale_factor=scales, mode="nearest")
    return f.interpolate(x[0], scale_factor=scales, mode="bilinear", align_corners=False)


_RULES: dict[type[Operation], _Rule] = {
    ops.Convolution: _convolution,
    ops.MaxPool: _max_pool,
    ops.AveragePool: _average_pool,
    ops.GlobalAveragePool: lambda op, x, own: x[0].mean(dim=(2, 3), keepdim=True),
    ops.Linear: lambda op, x, own: f.linear(x[0], own.weight, own.bias),
    ops.Add: lambda op, x, own: x[0] + x[1],
    ops.Multiply: lambda op, x, own: x[0] * x[1],
    ops.Concatenate: lambda op, x, own: torch.cat(list(x), dim=op.axis),
    ops.Slice: lambda op, x, own: x[0].narrow(op.axis, op.start, op.stop - op.start),
    ops.Pad: _pad,
    ops.Upsample: _upsample,
    ops.Reshape: lambda op, x, own: x[0].reshape(len(x[0]), *op.target),
    ops.Transpose: lambda op, x, own: x[0].permute(op.order),
    ops.Relu: lambda op, x, own: f.relu(x[0]),
    ops.Relu6: lambda op, x, own: f.relu6(x[0]),
    ops.LeakyRelu: lambda op, x, own: f.leaky_relu(x[0], op.slope),
    ops.Prelu: lambda op, x, own: f.prelu(x[0], own.slope),
    ops.Sigmoid: lambda op, x, own: torch.sigmoid(x[0]),
    ops.Tanh: lambda op, x, own: torch.tanh(x[0]),
    ops.HardSigmoid: lambda op, x, own: f.hardsigmoid(x[0]),
    ops.HardSwish: lambda op, x, own: f.hardswish(x[0]),
    ops.Softmax: lambda op, x, own: f.softmax(x[0], dim=op.axis),
}
