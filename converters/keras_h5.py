"""Keras 2's ``.h5`` (or ``.hdf5``) with weights and architecture, and the latter again as JSON.

Both are written without Keras. The file loads as a whole model and as weights, in Keras 2, tf-keras
and Keras 3.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.hdf5 import Node, read_hdf5
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
    GraphLayer,
    graph_layers,
    keras2_model,
)
from facemask_zoo.converters.keras_layers import (
    BATCH_NORM,
    BIAS,
    KERNEL,
    Array,
    Layers,
    from_layers,
    group_by_layer,
    to_arrays,
)
from facemask_zoo.converters.limits import MAX_TEXT_BYTES, read_bytes
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Model
from facemask_zoo.recognition import card_from_tensors
from facemask_zoo.ssd import Network

_LAYOUT = "HWIO"
_ARCHITECTURE, _WEIGHTS = "model_config", "model_weights"
_LAYER_NAMES, _WEIGHT_NAMES = "layer_names", "weight_names"
_WEIGHTED = ("Conv2D", "BatchNormalization")


def companions(path: Path) -> list[Path]:
    """The architecture of a file of weights."""
    return [path.with_suffix(".json")]


def read(path: Path) -> Model:
    """Read the weights; batch normalisation is folded.

    Without an embedded card the network is AIZOO's by shape, of the input size that the
    architecture says, in the file or in the JSON file beside it.

    Raises:
        WeightsError: The file is damaged, or holds other layers.
    """
    file = read_hdf5(read_bytes(path))
    arrays = dict(_arrays(file.children.get(_WEIGHTS, file)))
    card_text = file.text(CARD_KEY)
    layers = _architecture(file.text(_ARCHITECTURE), path.with_suffix(".json"))
    tensors = from_layers(group_by_layer({**arrays, **dict(epsilons(layers))}), _LAYOUT)
    if card_text is not None:
        return Model(ModelCard.from_json(card_text), tensors)
    return Model(card_from_tensors(tensors, path.stem, input_size(layers)), tensors)


def write(model: Model, path: Path) -> None:
    """Write the model, and beside it a JSON file with its architecture."""
    network = model.card.network
    layers = graph_layers(network, KERAS2_OUTPUTS)
    grouped = group_by_layer(to_arrays(model, _LAYOUT))
    card = {CARD_KEY: model.card.portable().to_json()}
    _write(path, network, layers, grouped, card)


def write_unfolded(network: Network, parameters: Layers, path: Path) -> None:
    """Write a network as AIZOO trained it: with batch normalisation as layers of its own.

    This makes again the weights that AIZOO's Keras program loads and that are published no more.

    Args:
        network: The network.
        parameters: As ``read_layers`` of a published format gives them.
        path: Where to write.

    Raises:
        WeightsError: A layer of the network has no parameters.
    """
    layers = graph_layers(network, KERAS2_OUTPUTS, unfolded=True)
    weighted = [layer.name for layer in layers if layer.class_name in _WEIGHTED]
    if missing := sorted(set(weighted) - set(parameters)):
        raise WeightsError(f"These layers have no parameters: {missing[:5]}.")
    _write(path, network, layers, parameters, {})


def _write(
    path: Path,
    network: Network,
    layers: Sequence[GraphLayer],
    parameters: Layers,
    attributes: Mapping[str, str],
) -> None:
    architecture = keras2_model(network, layers)
    content = io.BytesIO()
    # The first layout with room for attributes of any length, which HDF5 1.8 reads too.
    with h5py.File(content, "w", libver="v108") as file:
        texts = {**KERAS2_FACTS, **attributes, _ARCHITECTURE: json.dumps(architecture)}
        for name, text in texts.items():
            file.attrs[name] = text
        group = file.create_group(_WEIGHTS)
        _write_weights(group, [x.name for x in layers if x.class_name in _WEIGHTED], parameters)
    path.write_bytes(content.getvalue())
    path.with_suffix(".json").write_text(json.dumps({**architecture, **KERAS2_FACTS}))


def _write_weights(group: Any, names: Sequence[str], parameters: Layers) -> None:
    """Keras takes the weights in the order of these two lists of names."""
    group.attrs[_LAYER_NAMES] = [name.encode() for name in names]
    for name, text in KERAS2_FACTS.items():
        group.attrs[name] = text.encode()
    for layer in names:
        kinds = [kind for kind in (KERNEL, BIAS, *BATCH_NORM) if kind in parameters[layer]]
        weights = {f"{layer}/{kind}:0": parameters[layer][kind] for kind in kinds}
        place = group.create_group(layer)
        place.attrs[_WEIGHT_NAMES] = [name.encode() for name in weights]
        for name, values in weights.items():
            place[name] = np.ascontiguousarray(values, np.float32)


def _arrays(group: Node) -> Iterator[tuple[str, Array]]:
    for layer in group.names(_LAYER_NAMES):
        for name in group.find(layer).names(_WEIGHT_NAMES):
            parameter = name.rpartition("/")[2].partition(":")[0]
            yield f"{layer}/{parameter}", group.array(f"{layer}/{name}")


def _architecture(embedded: str | None, companion: Path) -> list[LayerConfig]:
    """The layers as the file or, failing that, its companion describes them."""
    if embedded is not None:
        return layer_configs(parse_object(embedded, _ARCHITECTURE))
    if companion.is_file():
        text = read_bytes(companion, MAX_TEXT_BYTES)
        return layer_configs(parse_object(text, companion.name))
    return []
