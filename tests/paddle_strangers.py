"""Saves networks of Paddle's own making, with random weights, into the current folder.

A program of its own, to be run with FLAGS_enable_pir_api=0: Paddle 3 saves the form that the zoo
reads only where its newer one is off.
"""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as f
from paddle import nn
from paddle.vision import models


class Various(nn.Layer):
    def __init__(self):
        super().__init__()
        self.slopes, self.inner = nn.PReLU(3), nn.Conv2D(3, 4, 3, padding="same", stride=2)
        self.norm, self.gate = nn.BatchNorm2D(4), nn.Conv2D(4, 4, 1)
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        x = self.norm(self.inner(f.pad(self.slopes(x * 2.0 - 1.0), [1, 0, 2, 0])))
        left, right = paddle.split(f.leaky_relu(x, 0.1), 2, axis=1)
        x = paddle.concat([right, left], axis=1)
        x = paddle.reshape(x, [x.shape[0], 2, 2, x.shape[2], x.shape[3]])
        x = paddle.transpose(x, [0, 2, 1, 3, 4]).flatten(1, 2)
        x = x * f.hardsigmoid(self.gate(paddle.mean(x, axis=[2, 3], keepdim=True)))
        x = f.max_pool2d(f.swish(x), 2, 2, ceil_mode=True)
        x = x + f.interpolate(f.avg_pool2d(x, 2, 2, ceil_mode=True), scale_factor=2)[:, :, :9, :9]
        wide = f.interpolate(x, scale_factor=2, mode="bilinear")
        wide = f.softmax(paddle.transpose(wide, [0, 2, 3, 1]), axis=-1)
        x = paddle.clip(f.adaptive_avg_pool2d(x[:, :, 1:, 1:], [2, 1]), 0, 6)
        return self.last(paddle.flatten(x, 1)), wide


class Poolings(nn.Layer):
    """Padding that differs by side, and numbers of windows that are rounded up."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2D(3, 4, 1)

    def forward(self, x):
        x = self.inner(x)
        return (
            f.avg_pool2d(x, 3, 2, ceil_mode=True, exclusive=False),
            f.avg_pool2d(x, 3, 2, padding=[1, 0, 1, 0], exclusive=False),
            f.avg_pool2d(x, 3, 2, padding=[1, 0, 0, 1], ceil_mode=True),
            f.avg_pool2d(x, 3, 2, padding="SAME", exclusive=False),
            f.max_pool2d(x, 3, 2, padding=[1, 0, 0, 1], ceil_mode=True),
            f.max_pool2d(x, 3, 2, padding="SAME", ceil_mode=True),
        )


NETWORKS = {
    "mobilenet_v2": lambda: models.mobilenet_v2(scale=0.25, num_classes=2),
    "mobilenet_v3_small": lambda: models.mobilenet_v3_small(num_classes=2),
    "various": Various,
    "poolings": Poolings,
}


def save(name):
    network = NETWORKS[name]()
    for layer in network.sublayers():
        if isinstance(layer, nn.BatchNorm2D):
            layer._mean.set_value(paddle.rand(layer._mean.shape) - 0.5)
            layer._variance.set_value(paddle.rand(layer._variance.shape) + 0.5)
    network.eval()
    size = 64 if name.startswith("mobilenet") else 32
    batch = paddle.rand([2, 3, size, size])
    answers = network(batch)
    answers = answers if isinstance(answers, tuple) else (answers,)
    np.savez(f"{name}.npz", batch.numpy(), *[each.numpy() for each in answers])
    spec = [paddle.static.InputSpec([None, 3, size, size], "float32", "x")]
    paddle.jit.save(paddle.jit.to_static(network, input_spec=spec, full_graph=True), name)


if __name__ == "__main__":
    paddle.seed(1)
    for each in NETWORKS:
        save(each)
