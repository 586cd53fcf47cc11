"""Keras 2's ``.h5`` (or ``.hdf5``) with weights and architecture, and the latter again as JSON.

Both are written without Keras. The file loads as a whole model and as weights, in Keras 2, tf-keras
and Keras 3.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
from h5py import h5f, h5g, h5p

from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.formats.importing import LooseTensors
from facemask_zoo.converters.formats.keras2_config import (
    FACTS,
    SLOPE_OF_HARD_SIGMOID,
    keras2_model,
)
from facemask_zoo.converters.formats.keras_config import (
    LayerNode,
    ModelConfig,
    model_config,
    parse_object,
)
from facemask_zoo.converters.formats.keras_layers import (
    SIXTH,
    Array,
    Dialect,
    LayerModel,
    layer_model,
)
from facemask_zoo.converters.formats.keras_parameters import from_layers, group_by_layer
from facemask_zoo.converters.formats.keras_reading import Meaning, Scope, read_program
from facemask_zoo.converters.hdf5 import Node, read_hdf5
from facemask_zoo.converters.limits import MAX_TEXT_BYTES, read_bytes
from facemask_zoo.errors import WeightsError
from facemask_zoo.graph.program import Program

FORMAT = "keras_h5"
DIALECT = Dialect(FORMAT)

_ARCHITECTURE, _WEIGHTS, _VERSION = "model_config", "model_weights", "keras_version"
_LAYER_NAMES, _WEIGHT_NAMES = "layer_names", "weight_names"
_LAYOUT = "HWIO"


def companions(path: Path) -> list[Path]:
    """The architecture of a file of weights."""
    return [path.with_suffix(".json")]


def read(path: Path) -> Program | LooseTensors:
    """Read the layers as the file describes them, or the JSON file beside it.

    Where neither does, it is read as weights alone, by the names of the layers.

    Raises:
        WeightsError: The file is damaged, or what it describes does not fit together.
        UnsupportedOperationError: It has layers that graphs do not have.
    """
    file = read_hdf5(read_bytes(path))
    variables = NamedVariables(_arrays(file.children.get(_WEIGHTS, file)))
    card = file.text(CARD_KEY) or ""
    architecture = _architecture(file, path.with_suffix(".json"))
    if architecture is None:
        arrays = {"/".join(key): each for key, each in variables.arrays.items() if len(key) == 2}
        return LooseTensors(from_layers(group_by_layer(arrays), _LAYOUT), card)
    config, version = architecture
    slope = SIXTH if version.startswith("3") else SLOPE_OF_HARD_SIGMOID
    return read_program(config, variables, Meaning(FORMAT, slope), card)


def write(program: Program, path: Path) -> None:
    """Write the model, and beside it a JSON file with its architecture.

    Feature maps are (N, H, W, C); the outputs have the graph's names and order.

    Raises:
        UnsupportedOperationError: Keras's layers cannot carry an operation.
    """
    card = {CARD_KEY: program.card} if program.card else {}
    write_layers(layer_model(program, DIALECT), path, card)


def write_layers(model: LayerModel, path: Path, attributes: Mapping[str, str]) -> None:
    """Write layers, and a JSON file with the architecture.

    Args:
        model: The layers.
        path: Where to write.
        attributes: Texts to attach to the file.
    """
    architecture = keras2_model(model)
    with _timeless_file(path) as file:
        texts = {**FACTS, **attributes, _ARCHITECTURE: json.dumps(architecture)}
        for name, text in texts.items():
            file.attrs[name] = text
        _write_weights(_timeless_group(file, _WEIGHTS), model)
    path.with_suffix(".json").write_text(json.dumps({**architecture, **FACTS}))


def _write_weights(group: Any, model: LayerModel) -> None:
    """Keras takes the weights in the order of these two lists of names."""
    weighted = [layer for layer in model.layers if layer.weights]
    group.attrs[_LAYER_NAMES] = [layer.name.encode() for layer in weighted]
    for name, text in FACTS.items():
        group.attrs[name] = text.encode()
    for layer in weighted:
        weights = {f"{layer.name}/{part}:0": values for part, values in layer.weights.items()}
        place = _timeless_group(group, layer.name)
        place.attrs[_WEIGHT_NAMES] = [name.encode() for name in weights]
        _timeless_group(place, layer.name)
        for name, values in weights.items():
            place[name] = values


def _timeless_file(path: Path) -> Any:
    """A file that does not say when it was made, so that the same model is the same bytes."""
    creation, access = h5p.create(h5p.FILE_CREATE), h5p.create(h5p.FILE_ACCESS)
    creation.set_obj_track_times(False)
    # The first layout with room for attributes of any length, which HDF5 1.8 reads too.
    access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_V18)
    return h5py.File(h5f.create(os.fsencode(path), h5f.ACC_TRUNC, creation, access))


def _timeless_group(parent: Any, name: str) -> Any:
    creation = h5p.create(h5p.GROUP_CREATE)
    creation.set_obj_track_times(False)
    for part in name.split("/"):
        if part not in parent:
            h5g.create(parent.id, part.encode(), gcpl=creation)
        parent = parent[part]
    return parent


class NamedVariables:
    """Variables that a file keeps under the names of their layers.

    Args:
        arrays: By layer and name of the variable; before the layer may be the model that it is in.
    """

    def __init__(self, arrays: Mapping[tuple[str, ...], Array]) -> None:
        self.arrays = arrays

    def of(self, scope: Scope, layer: LayerNode, names: Sequence[str]) -> list[Array]:
        """See :class:`facemask_zoo.converters.formats.keras_reading.Variables`."""
        return [self._find(scope[:1], layer.name, name) for name in names]

    def _find(self, scope: Scope, layer: str, name: str) -> Array:
        # Keras 3 calls the depthwise kernel, where it is the only one, a kernel.
        for key in (name, name.removeprefix("depthwise_")):
            for place in ((*scope, layer, key), (layer, key)):
                if place in self.arrays:
                    return self.arrays[place]
        raise WeightsError(f"The file holds no {name} of the layer {layer!r:.100}.")


_NO_WEIGHTS = ("count", "seed_generator_state")
"""Whole numbers that layers keep for themselves: of samples seen, and where randomness stands."""


def _arrays(group: Node) -> dict[tuple[str, ...], Array]:
    """Variables by layer and name, and by the layer of a model within the model."""
    found: dict[tuple[str, ...], Array] = {}
    for layer in group.names(_LAYER_NAMES):
        for name in group.find(layer).names(_WEIGHT_NAMES):
            *path, parameter = name.partition(":")[0].split("/")
            if parameter in _NO_WEIGHTS:
                continue
            values = group.array(f"{layer}/{name}")
            found[layer, parameter] = values
            if path:
                found[layer, path[-1], parameter] = values
    return found


def _architecture(file: Node, companion: Path) -> tuple[ModelConfig, str] | None:
    """The layers as the file or, failing that, its companion describes them; and by which Keras."""
    text = file.text(_ARCHITECTURE)
    if text is not None:
        stored = parse_object(text, f"The {_ARCHITECTURE}")
        return model_config(stored), file.text(_VERSION) or ""
    if companion.is_file():
        stored = parse_object(read_bytes(companion, MAX_TEXT_BYTES), companion.name)
        return model_config(stored), str(stored.get(_VERSION, ""))
    return None
