"""Classification: one crop in, one probability for each class out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import WeightsError
from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.signature import are_probabilities


def class_count(graph: Graph) -> int:
    """How many classes a classifier tells apart: two if it gives a single number.

    Raises:
        WeightsError: The graph is no classifier of pictures.
    """
    picture = len(graph.input_shape) == 3 and graph.input_shape[0] == 3
    shapes = list(graph.output_shapes.values())
    if not picture or len(shapes) != 1 or len(shapes[0]) != 1:
        raise WeightsError(
            f"Not a classifier: expected a picture (3, H, W) and one output (classes,), "
            f"but got {graph.input_shape} and {shapes}."
        )
    return max(shapes[0][0], 2)


def probabilities(graph: Graph, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The outputs of a classifier as probabilities.

    Args:
        graph: The classifier; where it ends in a softmax or a sigmoid, whatever reshapes or
            averages that, its outputs are probabilities already.
        outputs: (N, classes), or (N, 1) for the probability of the second of two classes.

    Returns:
        (N, classes), 0..1. They sum to 1, unless several sigmoids are independent of each other.
    """
    done = are_probabilities(graph, graph.outputs[0])
    if outputs.shape[1] == 1:
        second = outputs if done else _sigmoid(outputs)
        return np.concatenate([1 - second, second], axis=1)
    if done:
        return outputs
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.exp(-np.logaddexp(0, -values)), np.float32)
