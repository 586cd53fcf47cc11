"""AIZOO's ``.pth``: a whole module in PyTorch's old pickle format, read without executing it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from facemask_zoo.converters.formats.importing import LooseTensors, fold_norms
from facemask_zoo.converters.formats.keras_parameters import (
    BATCH_NORM,
    BATCH_NORM_SUFFIX,
    BIAS,
    KERNEL,
    Layers,
)
from facemask_zoo.converters.limits import read_bytes
from facemask_zoo.converters.signatures import PTH_MAGIC
from facemask_zoo.converters.tensor_pickle import Inert, Storage, TensorView, load_tree
from facemask_zoo.errors import WeightsError
from facemask_zoo.files import sha256_of

_PROTOCOL = 1001
_NORM = ("weight", "bias", "running_mean", "running_var")
_KERAS_NORM = dict(zip(_NORM, BATCH_NORM, strict=True))
_KERAS_CONVOLUTION = {"weight": KERNEL, "bias": BIAS}
_EPSILON = "eps"


def read(path: Path) -> LooseTensors:
    """Read the convolutions and fold their batch normalisation.

    The file does not say its input size; the digest tells the published files apart.

    Raises:
        WeightsError: The file is damaged, or refers to anything but tensors and modules.
    """
    modules = _modules(_load_module(read_bytes(path)))
    tensors = {
        f"{layer}.{part}": np.asarray(view.to_array(), np.float32)
        for layer, parameters in modules.items()
        for part, view in parameters.items()
        if isinstance(view, TensorView) and view.storage.dtype.kind == "f"
    }
    epsilons = {
        layer: parameters[_EPSILON]
        for layer, parameters in modules.items()
        if isinstance(parameters[_EPSILON], float)
    }
    return LooseTensors(fold_norms(tensors, epsilons), sha256=sha256_of(path))


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
    return {**found, _EPSILON: state.get(_EPSILON)}
