"""AIZOO's ``.pth``: a whole module in PyTorch's old pickle format, read without executing it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.cards import load_card
from facemask_zoo.converters.folding import fold_batch_norm
from facemask_zoo.converters.keras_layers import BATCH_NORM, BATCH_NORM_SUFFIX, BIAS, KERNEL, Layers
from facemask_zoo.converters.limits import read_bytes
from facemask_zoo.converters.signatures import PTH_MAGIC
from facemask_zoo.converters.tensor_pickle import Inert, Storage, TensorView, load_tree
from facemask_zoo.errors import WeightsError
from facemask_zoo.files import sha256_of
from facemask_zoo.model import Model
from facemask_zoo.recognition import card_from_tensors

_PROTOCOL = 1001
_NORM = ("weight", "bias", "running_mean", "running_var")
_KERAS_NORM = dict(zip(_NORM, BATCH_NORM, strict=True))
_KERAS_CONVOLUTION = {"weight": KERNEL, "bias": BIAS}
_SOURCES = ("aizoo-260", "aizoo-360")


def read(path: Path) -> Model:
    """Read the convolutions and fold their batch normalisation.

    The file does not say its input size; the published files are known by their digest, any other
    is taken to be made for 260 pixels.

    Raises:
        WeightsError: The file is damaged, or refers to anything but tensors and modules.
    """
    modules = _modules(_load_module(read_bytes(path)))
    tensors: dict[str, NDArray[np.float32]] = {}
    for name, parameters in modules.items():
        if name.endswith(BATCH_NORM_SUFFIX):
            continue
        weight, bias = _convolution(name, parameters, modules.get(name + BATCH_NORM_SUFFIX))
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = weight, bias
    digest = sha256_of(path)
    for card in map(load_card, _SOURCES):
        if card.source and card.source.sha256 == digest:
            return Model(card, tensors)
    return Model(card_from_tensors(tensors, path.stem), tensors)


def read_layers(path: Path) -> Layers:
    """The parameters as they are stored, named as Keras does, kernels (height, width, in, out).

    Raises:
        WeightsError: The file is damaged, or refers to anything but tensors and modules.
    """
    layers: Layers = {}
    for name, parameters in _modules(_load_module(read_bytes(path))).items():
        names = _KERAS_NORM if name.endswith(BATCH_NORM_SUFFIX) else _KERAS_CONVOLUTION
        arrays = {
            keras: parameters[torch].to_array()
            for torch, keras in names.items()
            if isinstance(parameters.get(torch), TensorView)
        }
        layers[name] = {
            key: values.transpose(2, 3, 1, 0) if values.ndim == 4 else values
            for key, values in arrays.items()
        }
    return layers


def _load_module(data: bytes) -> Any:
    """The pickled module, its storages filled."""
    file = io.BytesIO(data)
    magic, protocol = load_tree(file)[0], load_tree(file)[0]
    if magic != PTH_MAGIC or protocol != _PROTOCOL:
        raise WeightsError("The file does not begin as PyTorch's old format does.")
    load_tree(file)  # facts about the machine that wrote the file
    module, storages = load_tree(file)
    keys = load_tree(file)[0]
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise WeightsError("The file does not list its storages.")
    for key in keys:
        _fill(storages.get(key), file)
    return module


def _fill(storage: Storage | None, file: io.BytesIO) -> None:
    head = file.read(8)
    if storage is None or len(head) < 8 or int.from_bytes(head, "little") != storage.count:
        raise WeightsError("A storage in the file is not the one that its tensors refer to.")
    raw = file.read(storage.count * storage.dtype.itemsize)
    if len(raw) != storage.count * storage.dtype.itemsize:
        raise WeightsError("The file ends within a storage.")
    storage.values = np.frombuffer(raw, storage.dtype)


def _modules(root: Any) -> dict[str, dict[str, Any]]:
    """Parameters and buffers of every child module, by name."""
    children = root.state.get("_modules") if isinstance(root, Inert) else None
    if not isinstance(children, dict):
        raise WeightsError("The file holds no module with layers.")
    return {
        name: _parameters(child.state)
        for name, child in children.items()
        if isinstance(name, str) and isinstance(child, Inert)
    }


def _parameters(state: dict[Any, Any]) -> dict[str, Any]:
    groups = [state.get(group) for group in ("_parameters", "_buffers")]
    found = {
        key: value
        for group in groups
        if isinstance(group, dict)
        for key, value in group.items()
        if isinstance(key, str)
    }
    return {**found, "eps": state.get("eps")}


def _convolution(
    name: str, parameters: dict[str, Any], norm: dict[str, Any] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    weight = _array(name, parameters, "weight", 4)
    if norm is None:
        return weight, _array(name, parameters, "bias", 1)
    gamma, beta, mean, variance = [
        _array(f"{name}{BATCH_NORM_SUFFIX}", norm, key, 1) for key in _NORM
    ]
    epsilon = norm["eps"]
    if not isinstance(epsilon, float) or any(
        len(vector) != len(weight) for vector in (gamma, beta, mean, variance)
    ):
        raise WeightsError(f"The batch normalisation of {name} does not fit its convolution.")
    return fold_batch_norm(weight, gamma, beta, mean, variance, epsilon)


def _array(name: str, parameters: dict[str, Any], key: str, ndim: int) -> NDArray[np.float32]:
    view = parameters.get(key)
    if not isinstance(view, TensorView):
        raise WeightsError(f"Layer {name} has no tensor {key!r}.")
    values = view.to_array()
    if values.ndim != ndim:
        raise WeightsError(f"{name}.{key}: expected {ndim} dimensions, but got {values.shape}.")
    return values.astype(np.float32)
