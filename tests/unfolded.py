"""AIZOO's network as its authors trained it, in Keras's layers, and the file that they lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facemask_zoo.converters.formats.keras_h5 import write_layers
from facemask_zoo.converters.formats.keras_layers import LAST, Array, Layer, LayerModel
from facemask_zoo.converters.formats.keras_parameters import (
    BATCH_NORM,
    BATCH_NORM_SUFFIX,
    BIAS,
    KERAS_EPSILON,
    KERNEL,
)
from facemask_zoo.errors import WeightsError
from facemask_zoo.ssd import Convolution, Network, build
from facemask_zoo.ssd.network import INPUT_NAME

Parameters = Mapping[str, Mapping[str, Array]]
Shape = tuple[int, ...]
"""Of a layer, channels last, without the batch."""


def unfolded_model(network: Network, parameters: Parameters) -> LayerModel:
    """A network with batch normalisation between each convolution without bias and its ReLU.

    Args:
        network: The network.
        parameters: By layer, as ``read_layers`` of a published format gives them.

    Raises:
        WeightsError: A layer of the network has no parameters.
    """
    image = Layer(INPUT_NAME, "InputLayer", {}, (), (network.input_size,) * 2 + (3,))
    return LayerModel.of(image, build(network, image, _Unfolded(parameters)))


def write_unfolded(network: Network, parameters: Parameters, path: Path) -> None:
    """Write a network as AIZOO trained it: with batch normalisation as layers of its own.

    This makes again the weights that AIZOO's Keras program loads and that are published no more.
    See :func:`unfolded_model` for arguments and errors.
    """
    write_layers(unfolded_model(network, parameters), path, {})


class _Unfolded:
    """The five operations."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def pool(self, x: Layer, name: str) -> Layer:
        config = {"pool_size": [2, 2], "strides": [2, 2], "padding": "same", "data_format": LAST}
        return Layer(name, "MaxPooling2D", config, (x,), _pooled(x.shape))

    def convolve(self, x: Layer, layer: Convolution) -> Layer:
        if not layer.relu:
            return self._convolution(x, layer, (KERNEL, BIAS))
        y = self._convolution(x, layer, (KERNEL,))
        config = {"axis": 3, "epsilon": KERAS_EPSILON, "momentum": 0.99}
        name = layer.name + BATCH_NORM_SUFFIX
        weights = self._weights(name, BATCH_NORM)
        norm = Layer(name, "BatchNormalization", config, (y,), y.shape, weights)
        name = layer.name + "_activation"
        return Layer(name, "Activation", {"activation": "relu"}, (norm,), y.shape)

    def flatten(self, x: Layer, columns: int, name: str) -> Layer:
        shape = _flattened(x.shape, columns)
        return Layer(name, "Reshape", {"target_shape": [-1, columns]}, (x,), shape)

    def sigmoid(self, x: Layer, name: str) -> Layer:
        return Layer(name, "Activation", {"activation": "sigmoid"}, (x,), x.shape)

    def concatenate(self, parts: Sequence[Layer], name: str) -> Layer:
        shape = _concatenated([part.shape for part in parts])[1:]
        return Layer(name, "Concatenate", {"axis": 1}, tuple(parts), shape)

    def _convolution(self, x: Layer, layer: Convolution, parts: Sequence[str]) -> Layer:
        config: dict[str, Any] = {
            "filters": layer.outputs,
            "kernel_size": [3, 3],
            "strides": [1, 1],
            "padding": "same" if layer.padding else "valid",
            "data_format": LAST,
            "dilation_rate": [1, 1],
            "activation": "linear",
            "use_bias": BIAS in parts,
        }
        shape = _convolved(x.shape, layer)
        weights = self._weights(layer.name, parts)
        return Layer(layer.name, "Conv2D", config, (x,), shape, weights)

    def _weights(self, layer: str, parts: Sequence[str]) -> dict[str, Array]:
        found = self._parameters.get(layer, {})
        if missing := [part for part in parts if part not in found]:
            raise WeightsError(f"The layer {layer!r} has no {', '.join(missing)}.")
        return {part: found[part] for part in parts}


def _pooled(shape: Shape) -> Shape:
    """Of a 2x2 max pool of stride 2 that rounds up."""
    height, width, channels = shape
    return ((height + 1) // 2, (width + 1) // 2, channels)


def _convolved(shape: Shape, layer: Convolution) -> Shape:
    height, width, _ = shape
    shrink = 2 - 2 * layer.padding
    return (height - shrink, width - shrink, layer.outputs)


def _flattened(shape: Shape, columns: int) -> Shape:
    height, width, channels = shape
    return (height * width * channels // columns, columns)


def _concatenated(shapes: Sequence[Shape]) -> Shape:
    return (sum(rows for rows, _ in shapes), shapes[0][1])
