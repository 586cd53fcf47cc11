"""Keras 3 archives (``.keras``), read and written without Keras and without running anything."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py

from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.archives import add_member, open_archive, read_member
from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.hdf5 import Node, read_hdf5
from facemask_zoo.converters.keras_config import (
    LayerConfig,
    epsilons,
    input_size,
    layer_configs,
    parse_object,
)
from facemask_zoo.converters.keras_graph import GraphLayer, graph_layers, input_layer
from facemask_zoo.converters.keras_layers import (
    BATCH_NORM,
    BIAS,
    KERNEL,
    Array,
    from_layers,
    group_by_layer,
    to_arrays,
)
from facemask_zoo.converters.limits import MAX_FILE_BYTES, MAX_TEXT_BYTES, read_bytes
from facemask_zoo.model import Model
from facemask_zoo.recognition import card_from_tensors
from facemask_zoo.ssd import Network
from facemask_zoo.ssd.network import LOC_NAME, SCORES_NAME

_METADATA, _CONFIG, _WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
_LAYOUT = "HWIO"
# The first version that was seen to load these files.
_KERAS_VERSION = "3.5.0"
# Sorted: some of Keras's engines order a dictionary's outputs by name, others as they come.
_OUTPUTS = sorted((LOC_NAME, SCORES_NAME))

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
    layers = layer_configs(_json(archive, _CONFIG))
    file = read_hdf5(read_member(archive, _WEIGHTS, MAX_FILE_BYTES))
    arrays = {**dict(_arrays(layers, file)), **dict(epsilons(layers))}
    tensors = from_layers(group_by_layer(arrays), _LAYOUT)
    card = _json(archive, _METADATA).get(CARD_KEY)
    if card is not None:
        return Model(ModelCard.from_json(str(card)), tensors)
    return Model(card_from_tensors(tensors, path.stem, input_size(layers)), tensors)


def write(model: Model, path: Path) -> None:
    """Write a functional model with input ``data`` (N, S, S, 3) and a dictionary of outputs.

    The card lies in the archive's ``metadata.json``, which Keras leaves alone.
    """
    layers = graph_layers(model.card.network, _OUTPUTS)
    metadata = {"keras_version": _KERAS_VERSION, CARD_KEY: model.card.portable().to_json()}
    with zipfile.ZipFile(path, "w") as archive:
        add_member(archive, _METADATA, json.dumps(metadata).encode())
        add_member(archive, _CONFIG, json.dumps(_config(model.card.network, layers)).encode())
        add_member(archive, _WEIGHTS, _weights(model, layers))


def _config(network: Network, layers: list[GraphLayer]) -> dict[str, Any]:
    image = input_layer(network)
    first = _object(image, {"batch_shape": [None, *image.shape]}) | {"inbound_nodes": []}
    functional = {
        "name": "facemask_zoo",
        "trainable": True,
        "layers": [first, *(_object(layer, layer.config) | _inbound(layer) for layer in layers)],
        "input_layers": [image.name, 0, 0],
        "output_layers": {name: [name, 0, 0] for name in _OUTPUTS},
    }
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": functional,
        "registered_name": "Functional",
    }


def _object(layer: GraphLayer, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": layer.class_name,
        "config": {"name": layer.name, "dtype": "float32", **config},
        "registered_name": None,
        "name": layer.name,
    }


def _inbound(layer: GraphLayer) -> dict[str, Any]:
    sources = [
        {
            "class_name": "__keras_tensor__",
            "config": {
                "shape": [None, *source.shape],
                "dtype": "float32",
                "keras_history": [source.name, 0, 0],
            },
        }
        for source in layer.inputs
    ]
    argument = sources if layer.class_name == "Concatenate" else sources[0]
    return {"inbound_nodes": [{"args": [argument], "kwargs": {}}]}


def _weights(model: Model, layers: list[GraphLayer]) -> bytes:
    arrays = to_arrays(model, _LAYOUT)
    file = io.BytesIO()
    with h5py.File(file, "w") as root:
        root.create_group("vars")  # the model's own, of which there are none; Keras 3.5 looks
        for layer, group in _weight_groups((layer.name, layer.class_name) for layer in layers):
            variables = root.create_group(group)
            variables.attrs["name"] = layer
            for index, parameter in enumerate((KERNEL, BIAS)):
                variables[str(index)] = arrays[f"{layer}/{parameter}"]
    return file.getvalue()


def _weight_groups(layers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Layers that have weights, with the group where Keras keeps them.

    Keras numbers the groups of each class in the order of the layers.
    """
    seen: Counter[str] = Counter()
    for name, class_name in layers:
        if class_name in _VARIABLES:
            group = _VARIABLES[class_name][0]
            number = f"_{seen[group]}" if seen[group] else ""
            seen[group] += 1
            yield name, f"layers/{group}{number}/vars"


def _json(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    return parse_object(read_member(archive, name, MAX_TEXT_BYTES), name)


def _arrays(layers: list[LayerConfig], file: Node) -> Iterator[tuple[str, Array]]:
    """Variables by layer."""
    configs = {str(layer.get("name")): layer for layer in layers}
    names = ((str(layer.get("name")), layer["class_name"]) for layer in layers)
    for name, group in _weight_groups(names):
        layer = configs[name]
        _, parameters = _VARIABLES[layer["class_name"]]
        for index, parameter in enumerate(parameters):
            if parameter != BIAS or layer.get("use_bias", True):
                yield f"{name}/{parameter}", file.array(f"{group}/{index}")
