"""The reference against PyTorch in double precision, operation by operation."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import SINGLE, seeded_batch, seeded_program

from facemask_zoo.graph import operations as ops
from facemask_zoo.graph import reference


def _answer(torch, op, x, tensors):
    f = torch.nn.functional
    if isinstance(op, ops.Window):
        top, left, bottom, right = op.padding
        sides = (left, right, top, bottom)
        if isinstance(op, ops.Convolution):
            weight, bias = tensors["result.weight"], tensors["result.bias"]
            y = f.pad(x, sides)
            return f.conv2d(y, weight, bias, op.strides, 0, op.dilations, op.groups)
        if isinstance(op, ops.MaxPool):
            return f.max_pool2d(f.pad(x, sides, value=-torch.inf), op.kernel, op.strides)
        return f.avg_pool2d(x, op.kernel, op.strides, (top, left), False, op.count_padding)
    other = f.leaky_relu(x, 0.5)
    simple = {
        ops.GlobalAveragePool: lambda: f.adaptive_avg_pool2d(x, 1),
        ops.Linear: lambda: f.linear(x, tensors["result.weight"], tensors["result.bias"]),
        ops.Add: lambda: x + other,
        ops.Multiply: lambda: x * other,
        ops.Concatenate: lambda: torch.cat([x, other], op.axis),
        ops.Slice: lambda: x.narrow(op.axis, op.start, op.stop - op.start),
        ops.Pad: lambda: f.pad(x, (*op.padding[1::2], *op.padding[::2], *op.channels)),
        ops.Upsample: lambda: f.interpolate(
            x,
            scale_factor=op.scales,
            mode=op.mode,
            **({"align_corners": False} if op.mode == "bilinear" else {}),
        ),
        ops.Reshape: lambda: x.reshape(len(x), *op.target),
        ops.Transpose: lambda: x.permute(op.order),
        ops.Relu: lambda: f.relu(x),
        ops.Relu6: lambda: f.relu6(x),
        ops.LeakyRelu: lambda: f.leaky_relu(x, op.slope),
        ops.Prelu: lambda: f.prelu(x, tensors["result.slope"]),
        ops.Sigmoid: lambda: torch.sigmoid(x),
        ops.Tanh: lambda: torch.tanh(x),
        ops.HardSigmoid: lambda: f.hardsigmoid(x),
        ops.HardSwish: lambda: f.hardswish(x),
        ops.Softmax: lambda: f.softmax(x, op.axis),
    }
    return simple[type(op)]()


@pytest.mark.parametrize("name", SINGLE)
def test_the_reference_computes_what_pytorch_does(name, need):
    need("pytorch")
    import torch

    program = seeded_program(SINGLE[name])
    # Both sides of zero and beyond six, where activations bend.
    batch = (seeded_batch(program.graph, 2) * 16 - 8).astype(np.float64)
    (found,) = reference.forward(program, batch).values()
    tensors = {key: torch.from_numpy(v.astype(np.float64)) for key, v in program.tensors.items()}
    operation = program.graph.by_name["result"]
    expected = _answer(torch, operation, torch.from_numpy(batch), tensors).numpy()
    assert found.shape[1:] == program.graph.shapes["result"]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
