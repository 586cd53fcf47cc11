"""TensorFlow.js layers models: ``model.json`` and, beside it, one file or more with the weights."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.keras_config import (
    LayerConfig,
    epsilons,
    input_size,
    layer_configs,
    parse_object,
)
from facemask_zoo.converters.keras_graph import (
    KERAS2_FACTS,
    KERAS2_OUTPUTS,
    graph_layers,
    keras2_model,
)
from facemask_zoo.converters.keras_layers import (
    Array,
    Layers,
    from_layers,
    group_by_layer,
    to_arrays,
)
from facemask_zoo.converters.limits import MAX_TEXT_BYTES, Budget, read_bytes
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Model
from facemask_zoo.recognition import card_from_tensors

_LAYOUT = "HWIO"
_FORMAT = "layers-model"
_FLOAT = "float32"
# TensorFlow.js keeps what it finds here, and writes it again.
_METADATA = "userDefinedMetadata"
_MAX_DIMENSIONS = 4


def companions(path: Path) -> list[Path]:
    """The files of weights that a readable description names."""
    groups = _description(path)["weightsManifest"]
    return [path.parent / name for group in groups for name in group["paths"]]


def read(path: Path) -> Model:
    """Read the weights beside ``model.json``; batch normalisation is folded.

    Without an embedded card the network is AIZOO's by shape.

    Raises:
        WeightsError: A file is missing, damaged or quantised, or holds other layers.
    """
    description = _description(path)
    layers = _layer_configs(description)
    arrays = {**dict(_arrays(description, path.parent)), **dict(epsilons(layers))}
    tensors = from_layers(group_by_layer(arrays), _LAYOUT)
    metadata = description.get(_METADATA)
    if isinstance(metadata, dict) and CARD_KEY in metadata:
        return Model(ModelCard.from_json(str(metadata[CARD_KEY])), tensors)
    return Model(card_from_tensors(tensors, path.stem, input_size(layers)), tensors)


def read_layers(path: Path) -> Layers:
    """The parameters as they are stored, kernels (height, width, in, out).

    Raises:
        WeightsError: A file is missing, damaged or quantised.
    """
    return group_by_layer(dict(_arrays(_description(path), path.parent)))


def write(model: Model, path: Path) -> None:
    """Write the description and, beside it under the same stem, ``.bin`` with the weights.

    The model takes ``data`` (N, S, S, 3) and returns boxes and scores, in this order.
    """
    network = model.card.network
    arrays = to_arrays(model, _LAYOUT)
    shard = path.with_suffix(".bin")
    weights = [
        {"name": name, "shape": list(values.shape), "dtype": _FLOAT}
        for name, values in arrays.items()
    ]
    layers = graph_layers(network, KERAS2_OUTPUTS)
    description = {
        "format": _FORMAT,
        "generatedBy": "facemask_zoo",
        "convertedBy": None,
        "modelTopology": {**KERAS2_FACTS, "model_config": keras2_model(network, layers)},
        "weightsManifest": [{"paths": [shard.name], "weights": weights}],
        _METADATA: {CARD_KEY: model.card.portable().to_json()},
    }
    path.write_text(json.dumps(description))
    shard.write_bytes(b"".join(values.astype("<f4").tobytes() for values in arrays.values()))


def _description(path: Path) -> dict[str, Any]:
    return parse_object(read_bytes(path, MAX_TEXT_BYTES), path.name)


def _layer_configs(description: dict[str, Any]) -> list[LayerConfig]:
    topology = description.get("modelTopology")
    # Files that TensorFlow.js saves itself hold the model without Keras's wrapping.
    model = topology.get("model_config", topology) if isinstance(topology, dict) else None
    return layer_configs(model)


def _arrays(description: dict[str, Any], folder: Path) -> Iterator[tuple[str, Array]]:
    budget = Budget()
    try:
        for group in description["weightsManifest"]:
            data = b"".join(_shards(group["paths"], folder, budget))
            position = 0
            for weight in group["weights"]:
                values = _array(weight, data, position)
                position += values.nbytes
                yield str(weight["name"]), values
            if position != len(data):
                raise WeightsError(f"{len(data) - position} bytes follow the last weight.")
    except (KeyError, TypeError) as error:
        raise WeightsError(f"The list of weights is malformed: {error!r}.") from error


def _shards(paths: Any, folder: Path, budget: Budget) -> Iterator[bytes]:
    for name in paths:
        if name != PurePosixPath(name).name or (folder / name).is_symlink():
            raise WeightsError(f"Weights lie beside the description, but this names {name!r}.")
        data = read_bytes(folder / name)
        budget.spend(len(data))
        yield data


def _array(weight: dict[str, Any], data: bytes, position: int) -> Array:
    shape = weight["shape"]
    if weight["dtype"] != _FLOAT or "quantization" in weight:
        raise WeightsError(f"{weight['name']}: expected plain float32 values.")
    good = isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape)
    count = math.prod(shape) if good and len(shape) <= _MAX_DIMENSIONS else -1
    if not 0 <= count <= (len(data) - position) // 4:
        raise WeightsError(f"{weight['name']}: the shape {shape} does not fit the file.")
    return np.frombuffer(data, "<f4", count, position).reshape(shape)
