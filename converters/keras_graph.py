"""The network as a graph of Keras layers, for every file in which Keras keeps one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from facemask_zoo.converters.keras_layers import BATCH_NORM_SUFFIX, KERAS_EPSILON
from facemask_zoo.converters.shapes import Shape, concatenated, convolved, flattened, pooled
from facemask_zoo.ssd import Convolution, Network, build
from facemask_zoo.ssd.network import INPUT_NAME, LOC_NAME, SCORES_NAME

_LAST = "channels_last"

KERAS2_OUTPUTS = (LOC_NAME, SCORES_NAME)
KERAS2_FACTS = {"keras_version": "2.2.4", "backend": "tensorflow"}
"""What files of Keras 2 say about their origin: the version whose layout they have."""


@dataclasses.dataclass(frozen=True)
class GraphLayer:
    """A layer and its place in the graph.

    Attributes:
        name: Name of the layer and of what it gives.
        class_name: Class in ``keras.layers``.
        config: What every version of Keras calls the layer's arguments, without its name.
        inputs: The layers whose outputs it takes.
        shape: What it gives for one picture, without the batch axis.
    """

    name: str
    class_name: str
    config: Mapping[str, Any]
    inputs: tuple[GraphLayer, ...]
    shape: Shape


def graph_layers(
    network: Network, outputs: Sequence[str], *, unfolded: bool = False
) -> list[GraphLayer]:
    """Every layer but the input, in the order in which Keras itself lists them.

    Keras numbers the weights of a file by this order, so it has to be Keras's own: by the longest
    way to an output, and among equals by a walk back from the outputs.

    Args:
        network: What to describe.
        outputs: Names of the outputs, in the order in which the model returns them.
        unfolded: Whether to describe the network as AIZOO trained it: with batch normalisation
            between a convolution without bias and its ReLU.
    """
    image = input_layer(network)
    builder = _UnfoldedBuilder() if unfolded else _GraphBuilder()
    ends = {layer.name: layer for layer in build(network, image, builder)}
    seen: dict[str, GraphLayer] = {}
    depths: dict[str, int] = {}
    for output in outputs:
        _walk_back(ends[output], seen)
        _measure(ends[output], 0, depths)
    ordered = sorted(seen.values(), key=lambda layer: -depths[layer.name])
    return [layer for layer in ordered if layer.name != image.name]


def keras2_model(network: Network, layers: Sequence[GraphLayer]) -> dict[str, Any]:
    """What Keras 2 stores of a model, ``class_name`` and ``config``; every later Keras reads it.

    Args:
        network: The network.
        layers: From :func:`graph_layers` with ``KERAS2_OUTPUTS``.
    """
    image = input_layer(network)
    config = {
        "batch_input_shape": [None, *image.shape],
        "dtype": "float32",
        "sparse": False,
        "name": image.name,
    }
    first = {
        "name": image.name,
        "class_name": image.class_name,
        "config": config,
        "inbound_nodes": [],
    }
    return {
        "class_name": "Model",
        "config": {
            "name": "facemask_zoo",
            "layers": [first, *map(_keras2_layer, layers)],
            "input_layers": [[image.name, 0, 0]],
            "output_layers": [[name, 0, 0] for name in KERAS2_OUTPUTS],
        },
    }


def _keras2_layer(layer: GraphLayer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "class_name": layer.class_name,
        "config": {"name": layer.name, "trainable": True, **layer.config},
        "inbound_nodes": [[[source.name, 0, 0, {}] for source in layer.inputs]],
    }


def input_layer(network: Network) -> GraphLayer:
    """The picture."""
    size = network.input_size
    return GraphLayer(INPUT_NAME, "InputLayer", {}, (), (size, size, 3))


def _walk_back(layer: GraphLayer, seen: dict[str, GraphLayer]) -> None:
    if layer.name not in seen:
        seen[layer.name] = layer
        for source in layer.inputs:
            _walk_back(source, seen)


def _measure(layer: GraphLayer, depth: int, depths: dict[str, int]) -> None:
    """Note how far `layer` and those before it are from an output, at the most."""
    if depth > depths.get(layer.name, -1):
        depths[layer.name] = depth
        for source in layer.inputs:
            _measure(source, depth + 1, depths)


def _convolution(
    x: GraphLayer, layer: Convolution, activation: str, use_bias: bool = True
) -> GraphLayer:
    config = {
        "filters": layer.outputs,
        "kernel_size": [3, 3],
        "strides": [1, 1],
        "padding": "same" if layer.padding else "valid",
        "data_format": _LAST,
        "dilation_rate": [1, 1],
        "activation": activation,
        "use_bias": use_bias,
    }
    return GraphLayer(layer.name, "Conv2D", config, (x,), convolved((1, *x.shape), layer)[1:])


class _GraphBuilder:
    """The five operations; shapes carry a batch axis of one inside and none outside."""

    def pool(self, x: GraphLayer, name: str) -> GraphLayer:
        config = {"pool_size": [2, 2], "strides": [2, 2], "padding": "same", "data_format": _LAST}
        return GraphLayer(name, "MaxPooling2D", config, (x,), pooled((1, *x.shape))[1:])

    def convolve(self, x: GraphLayer, layer: Convolution) -> GraphLayer:
        return _convolution(x, layer, "relu" if layer.relu else "linear")

    def flatten(self, x: GraphLayer, columns: int, name: str) -> GraphLayer:
        shape = flattened((1, *x.shape), columns)[1:]
        return GraphLayer(name, "Reshape", {"target_shape": [-1, columns]}, (x,), shape)

    def sigmoid(self, x: GraphLayer, name: str) -> GraphLayer:
        return GraphLayer(name, "Activation", {"activation": "sigmoid"}, (x,), x.shape)

    def concatenate(self, parts: Sequence[GraphLayer], name: str) -> GraphLayer:
        if len(parts) == 1:  # Concatenate wants two or more
            config = {"activation": "linear"}
            return GraphLayer(name, "Activation", config, tuple(parts), parts[0].shape)
        shape = concatenated([(1, *part.shape) for part in parts])[1:]
        return GraphLayer(name, "Concatenate", {"axis": 1}, tuple(parts), shape)


class _UnfoldedBuilder(_GraphBuilder):
    """The same with the layers apart that folding puts into one."""

    def convolve(self, x: GraphLayer, layer: Convolution) -> GraphLayer:
        if not layer.relu:
            return super().convolve(x, layer)
        y = _convolution(x, layer, "linear", use_bias=False)
        config = {"axis": 3, "epsilon": KERAS_EPSILON, "momentum": 0.99}
        name = layer.name + BATCH_NORM_SUFFIX
        norm = GraphLayer(name, "BatchNormalization", config, (y,), y.shape)
        name = layer.name + "_activation"
        return GraphLayer(name, "Activation", {"activation": "relu"}, (norm,), y.shape)
