"""Parameters as the Keras family names them, ``<layer>/kernel`` and so on.

TensorFlow graphs, TFLite, TF.js and Keras files differ in how they store arrays, not in what they
call them. Batch normalisation, where a file still has it, is folded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import WeightsError
from facemask_zoo.graph.program import Tensors
from facemask_zoo.graph.simplify import fold_batch_norm

Array = NDArray[Any]
Layers = dict[str, dict[str, Array]]

KERNEL, BIAS = "kernel", "bias"
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
EPSILON = "epsilon"
PARAMETERS = (KERNEL, BIAS, *BATCH_NORM, EPSILON)
BATCH_NORM_SUFFIX = "_bn"
"""What AIZOO appends to a convolution's name to name its normalisation."""
KERAS_EPSILON = 1e-3

# Axes of a kernel in the file, in the canonical order (out, in, height, width).
_FROM_FILE = {"OIHW": (0, 1, 2, 3), "HWIO": (3, 2, 0, 1), "OHWI": (0, 3, 1, 2)}


def group_by_layer(arrays: Mapping[str, Array]) -> Layers:
    """Arrays named ``<layer>/<parameter>`` by layer; others are dropped.

    Keras appends ``_1`` to every name when it builds a network a second time, which AIZOO did
    before exporting; an ending that all layers share is therefore not part of their names.
    """
    layers: Layers = {}
    for name, values in arrays.items():
        layer, _, parameter = name.rpartition("/")
        if layer and parameter in PARAMETERS:
            layers.setdefault(layer, {})[parameter] = values
    if all(layer.endswith("_1") for layer in layers):
        return {layer.removesuffix("_1"): values for layer, values in layers.items()}
    return layers


def from_layers(layers: Layers, layout: str) -> Tensors:
    """Canonical tensors, as views of the given arrays where nothing had to be folded.

    Args:
        layers: Parameters by layer; the normalisation of ``<layer>`` is ``<layer>_bn``.
        layout: ``"OIHW"``, ``"HWIO"`` or ``"OHWI"``, the axes of the kernels.

    Raises:
        WeightsError: A kernel is not 4-dimensional, or parameters are missing or do not fit.
    """
    tensors: dict[str, NDArray[np.float32]] = {}
    for name, layer in layers.items():
        if KERNEL not in layer:
            continue
        if layer[KERNEL].ndim != 4:
            raise WeightsError(f"{name}: expected a 4-dimensional kernel.")
        weight = layer[KERNEL].transpose(_FROM_FILE[layout])
        norm = layers.get(name + BATCH_NORM_SUFFIX)
        bias = layer.get(BIAS)
        if norm is not None:
            weight, bias = _fold(name, weight, bias, norm)
        if bias is None:
            raise WeightsError(f"{name}: the file holds no bias.")
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = weight, bias
    return tensors


def _fold(
    name: str, weight: Array, bias: Array | None, norm: Mapping[str, Array]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    missing = [key for key in BATCH_NORM if key not in norm]
    if missing or any(norm[key].shape != weight.shape[:1] for key in BATCH_NORM):
        raise WeightsError(
            f"{name}: expected a batch normalisation of {len(weight)} channels, "
            f"but got {[(key, values.shape) for key, values in norm.items()]}."
        )
    if bias is not None:
        raise WeightsError(f"{name}: a bias before batch normalisation is not supported.")
    parts = {**norm, "mean": norm["moving_mean"], "variance": norm["moving_variance"]}
    epsilon = float(norm.get(EPSILON, np.float64(KERAS_EPSILON)))
    return fold_batch_norm(weight, None, parts, epsilon)
