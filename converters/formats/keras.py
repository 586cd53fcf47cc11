"""Keras 3 archives (``.keras``), read and written without Keras and without running anything."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py

from facemask_zoo.converters.archives import add_member, open_archive, read_member
from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.formats.keras_config import (
    LayerNode,
    ModelConfig,
    model_config,
    parse_object,
)
from facemask_zoo.converters.formats.keras_layers import (
    Array,
    Dialect,
    Layer,
    LayerModel,
    layer_model,
)
from facemask_zoo.converters.formats.keras_reading import Meaning, Scope, read_program
from facemask_zoo.converters.hdf5 import Node, read_hdf5
from facemask_zoo.converters.limits import MAX_FILE_BYTES, MAX_TEXT_BYTES, read_bytes
from facemask_zoo.graph.program import Program

FORMAT = "keras"
DIALECT = Dialect(FORMAT, slope="negative_slope", hard=True)

_METADATA, _CONFIG, _WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
# The first version that was seen to load these files.
_KERAS_VERSION = "3.5.0"
_TAKE_LISTS = ("Add", "Concatenate", "Multiply")


def read(path: Path) -> Program:
    """Read the layers; none is instantiated, whatever the archive asks for.

    Raises:
        WeightsError: The archive is damaged, or what it describes does not fit together.
        UnsupportedOperationError: It has layers that graphs do not have.
    """
    archive = open_archive(read_bytes(path))
    config = model_config(_json(archive, _CONFIG))
    file = read_hdf5(read_member(archive, _WEIGHTS, MAX_FILE_BYTES))
    card = _json(archive, _METADATA).get(CARD_KEY)
    text = "" if card is None else str(card)
    return read_program(config, _Variables(config, file), Meaning(FORMAT), text)


def write(program: Program, path: Path) -> None:
    """Write a functional model with feature maps (N, H, W, C); the outputs have their names.

    One output is given by itself, several as a dictionary. The card lies in the archive's
    ``metadata.json``, which Keras leaves alone.

    Raises:
        UnsupportedOperationError: Keras's layers cannot carry an operation.
    """
    # Some of Keras's engines order a dictionary's outputs by name, others as they come.
    model = layer_model(program, DIALECT, sort_outputs=True)
    metadata = {"keras_version": _KERAS_VERSION}
    if program.card:
        metadata[CARD_KEY] = program.card
    with zipfile.ZipFile(path, "w") as archive:
        add_member(archive, _METADATA, json.dumps(metadata).encode())
        add_member(archive, _CONFIG, json.dumps(_config(model)).encode())
        add_member(archive, _WEIGHTS, _weights(model))


def call_arguments(layer: Layer, sources: Sequence[Any]) -> Any:
    """What a layer is called with, given what stands for each of its inputs."""
    return list(sources) if layer.class_name in _TAKE_LISTS else sources[0]


def _config(model: LayerModel) -> dict[str, Any]:
    image = model.image
    first = _object(image, {"batch_shape": [None, *image.shape]}) | {"inbound_nodes": []}
    places = {name: [name, 0, 0] for name in model.outputs}
    functional = {
        "name": "facemask_zoo",
        "trainable": True,
        "layers": [
            first,
            *(_object(layer, layer.config) | _inbound(layer) for layer in model.layers),
        ],
        "input_layers": [image.name, 0, 0],
        "output_layers": places if len(places) > 1 else places[model.outputs[0]],
    }
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": functional,
        "registered_name": "Functional",
    }


def _object(layer: Layer, config: Any) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": layer.class_name,
        "config": {"name": layer.name, "dtype": "float32", **config},
        "registered_name": None,
        "name": layer.name,
    }


def _inbound(layer: Layer) -> dict[str, Any]:
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
    return {"inbound_nodes": [{"args": [call_arguments(layer, sources)], "kwargs": {}}]}


def _weights(model: LayerModel) -> bytes:
    groups = dict(_groups((layer.name, layer.class_name) for layer in model.layers))
    file = io.BytesIO()
    with h5py.File(file, "w") as root:
        root.create_group("vars")  # the model's own, of which there are none; Keras 3.5 looks
        for layer in model.layers:
            if layer.weights:
                variables = root.create_group(f"{groups[layer.name]}/vars")
                variables.attrs["name"] = layer.name
                for index, values in enumerate(layer.weights.values()):
                    variables[str(index)] = values
    return file.getvalue()


def _groups(layers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Layers with the group where Keras keeps what belongs to them.

    Keras numbers the groups of each class in the order of the layers.
    """
    seen: Counter[str] = Counter()
    for name, class_name in layers:
        group = _snake_case(class_name)
        number = f"_{seen[group]}" if seen[group] else ""
        seen[group] += 1
        yield name, f"layers/{group}{number}"


def _snake_case(name: str) -> str:
    """``DepthwiseConv2D`` as ``depthwise_conv2d``, ``PReLU`` as ``p_re_lu``."""
    words = re.sub(r"(?<=.)(?=[A-Z][a-z])", "_", name)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", words).lower()


class _Variables:
    """The variables in an archive's HDF5 file, which names them by numbers."""

    def __init__(self, config: ModelConfig, file: Node) -> None:
        self._file = file
        self._models: dict[Scope, ModelConfig] = {(): config}
        self._known: dict[Scope, dict[str, str]] = {}

    def of(self, scope: Scope, layer: LayerNode, names: Sequence[str]) -> list[Array]:
        """See :class:`facemask_zoo.converters.formats.keras_reading.Variables`."""
        group = self._group(scope, layer.name)
        return [self._file.array(f"{group}/vars/{index}") for index in range(len(names))]

    def _group(self, scope: Scope, name: str) -> str:
        if scope not in self._known:
            layers = self._model(scope).layers.values()
            self._known[scope] = dict(_groups((each.name, each.class_name) for each in layers))
        outer = f"{self._group(scope[:-1], scope[-1])}/" if scope else ""
        return f"{outer}{self._known[scope][name]}"

    def _model(self, scope: Scope) -> ModelConfig:
        if scope not in self._models:
            node = self._model(scope[:-1]).layers[scope[-1]]
            stored = {"class_name": node.class_name, "config": node.config}
            self._models[scope] = model_config(stored)
        return self._models[scope]


def _json(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    return parse_object(read_member(archive, name, MAX_TEXT_BYTES), name)
