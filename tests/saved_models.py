"""Writes SavedModels as TensorFlow users do, and its answers, into the current folder.

A program of its own: TensorFlow is large, and threads of its own would stay.
Usage: python saved_models.py NAME ...
"""

from __future__ import annotations

import sys

import numpy as np
import tensorflow as tf

SIDE = 16


def uniform(seed: int, *shape: int, low: float = -0.5, high: float = 0.5) -> tf.Tensor:
    rng = np.random.Generator(np.random.PCG64(seed))
    return tf.constant(rng.uniform(low, high, shape), tf.float32)


class Functions(tf.Module):
    """Functions that call functions, the same one twice, with variables and several results."""

    def __init__(self) -> None:
        super().__init__()
        self.first = tf.Variable(uniform(1, 3, 3, 3, 8), name="kernel")
        self.second = tf.Variable(uniform(2, 1, 1, 8, 8), name="kernel")
        self.gamma = tf.Variable(uniform(3, 8, low=0.5, high=1.5))
        self.beta = tf.Variable(uniform(4, 8))
        self.mean = tf.Variable(uniform(5, 8), trainable=False)
        self.variance = tf.Variable(uniform(6, 8, low=0.5, high=1.5), trainable=False)
        self.unused = tf.Variable(uniform(7, 4))

    @tf.function
    def normalised(self, x):
        parts = (self.gamma, self.beta, self.mean, self.variance)
        return tf.nn.relu(tf.compat.v1.nn.fused_batch_norm(x, *parts, is_training=False)[0])

    @tf.function
    def block(self, x, kernel):
        return self.normalised(tf.nn.conv2d(x, kernel, 1, "SAME"))

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, "picture")])
    def serve(self, picture):
        x = self.block(picture, self.first)
        left, right = tf.split(self.block(x, self.second), 2, axis=3)
        boxes = tf.reshape(tf.concat([right, left], 3), (-1, SIDE * SIDE * 2, 4))
        return {"boxes": boxes, "scores": tf.nn.sigmoid(tf.reduce_mean(left, [1, 2]))}


def functions():
    module = Functions()
    tf.saved_model.save(module, "functions", signatures=module.serve)
    return module.serve(batch())


def keras2():
    """As ``tf.keras`` saved models for years, to folders."""
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Conv2D(4, 3, strides=2, input_shape=(SIDE, SIDE, 3)),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.Dropout(0.5),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    for number, variable in enumerate(model.weights):
        low = 0.5 if "variance" in variable.name else -0.5
        variable.assign(uniform(number, *variable.shape, low=low, high=1.0))
    model.save("keras2")
    return {"dense": model(batch())}


def batch() -> tf.Tensor:
    return uniform(9, 2, SIDE, SIDE, 3, low=0.0, high=1.0)


NETWORKS = {"functions": functions, "keras2": keras2}


def main() -> int:
    for name in sys.argv[1:]:
        answers = {key: value.numpy() for key, value in NETWORKS[name]().items()}
        np.savez(f"{name}.npz", batch=batch().numpy().transpose(0, 3, 1, 2), **answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
