"""Keras 3 archives (``.keras``): written by Keras, read without it and without running anything."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.archives import add_member, open_archive, read_member
from facemask_zoo.converters.hdf5 import open_hdf5, read_array
from facemask_zoo.converters.keras_layers import (
    BATCH_NORM,
    BIAS,
    EPSILON,
    KERNEL,
    Array,
    from_layers,
    group_by_layer,
)
from facemask_zoo.converters.limits import MAX_FILE_BYTES, read_bytes
from facemask_zoo.converters.recognition import card_from_tensors
from facemask_zoo.converters.safetensors import CARD_KEY
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Model
from facemask_zoo.quiet import native_stderr_silenced

_METADATA, _CONFIG, _WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
_LAYOUT = "HWIO"
_MAX_TEXT_BYTES = 16 * 1024 * 1024

# Class name in the configuration to the name of its groups in the weights, and its variables.
_VARIABLES = {
    "Conv2D": ("conv2d", (KERNEL, BIAS)),
    "BatchNormalization": ("batch_normalization", BATCH_NORM),
}


def read(path: Path) -> Model:
    """Read the weights; no layer is instantiated, whatever the archive asks for.

    Without an embedded card the network is AIZOO's by shape.

    Raises:
        WeightsError: The archive is damaged, or holds other layers.
    """
    archive = open_archive(read_bytes(path))
    layers = _layers(_json(archive, _CONFIG))
    with open_hdf5(read_member(archive, _WEIGHTS, MAX_FILE_BYTES)) as file:
        arrays = dict(_arrays(layers, file))
    tensors = from_layers(group_by_layer(arrays), _LAYOUT)
    card = _json(archive, _METADATA).get(CARD_KEY)
    if card is not None:
        return Model(ModelCard.from_json(str(card)), tensors)
    return Model(card_from_tensors(tensors, path.stem, _input_size(layers)), tensors)


def write(model: Model, path: Path) -> None:
    """Write a functional model with input ``data`` (N, S, S, 3) and a dictionary of outputs.

    The card lies in the archive's ``metadata.json``, which Keras leaves alone.
    """
    from facemask_zoo.backends.keras import functional_model  # needs Keras, which reading does not

    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "model.keras"
        with native_stderr_silenced():  # saving imports TensorFlow, where there is one
            functional_model(model).save(saved)
        archive = open_archive(saved.read_bytes())
    metadata = _json(archive, _METADATA)
    texts = {
        "keras_version": metadata["keras_version"],
        CARD_KEY: model.card.portable().to_json(),
    }
    with zipfile.ZipFile(path, "w") as target:
        add_member(target, _METADATA, json.dumps(texts).encode())
        for name in (_CONFIG, _WEIGHTS):
            add_member(target, name, archive.read(name))


def _json(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    try:
        values = json.loads(read_member(archive, name, _MAX_TEXT_BYTES))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{name} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{name}: expected an object, but got {type(values).__name__}.")
    return values


def _layers(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers' own configurations, each with its class name."""
    try:
        return [
            {**layer["config"], "class_name": str(layer["class_name"])}
            for layer in config["config"]["layers"]
        ]
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{_CONFIG} describes no functional model: {error!r}") from error


def _arrays(layers: list[dict[str, Any]], file: Any) -> Iterator[tuple[str, Array]]:
    """Variables by layer; Keras numbers the groups of each class in the order of the layers."""
    seen: Counter[str] = Counter()
    for layer in layers:
        if layer["class_name"] not in _VARIABLES:
            continue
        group, parameters = _VARIABLES[layer["class_name"]]
        number = f"_{seen[group]}" if seen[group] else ""
        seen[group] += 1
        for index, parameter in enumerate(parameters):
            if parameter == BIAS and not layer.get("use_bias", True):
                continue
            values = read_array(file, f"layers/{group}{number}/vars/{index}")
            yield f"{layer.get('name')}/{parameter}", values
        if EPSILON in layer:
            yield f"{layer.get('name')}/{EPSILON}", np.float64(layer[EPSILON]).reshape(())


def _input_size(layers: list[dict[str, Any]]) -> int | None:
    for layer in layers:
        shape = layer.get("batch_shape")
        if isinstance(shape, list) and len(shape) == 4 and isinstance(shape[1], int):
            return shape[1]
    return None
