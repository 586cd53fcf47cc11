"""TensorFlow.js layers models: ``model.json`` and, beside it, one file or more with the weights."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.formats.keras2_config import (
    FACTS,
    SLOPE_OF_HARD_SIGMOID,
    keras2_model,
)
from facemask_zoo.converters.formats.keras_config import model_config, parse_object
from facemask_zoo.converters.formats.keras_h5 import NamedVariables
from facemask_zoo.converters.formats.keras_layers import Array, Dialect, LayerModel, layer_model
from facemask_zoo.converters.formats.keras_parameters import Layers, group_by_layer
from facemask_zoo.converters.formats.keras_reading import Meaning, read_program
from facemask_zoo.converters.limits import MAX_TEXT_BYTES, Budget, read_bytes
from facemask_zoo.errors import WeightsError
from facemask_zoo.graph.program import Program

FORMAT = "tfjs"
DIALECT = Dialect(FORMAT, groups=False, half_pixels=False, any_softmax=False)

_MEANING = Meaning(FORMAT, hard_slope=SLOPE_OF_HARD_SIGMOID, half_pixels=False)
_LAYERS_MODEL = "layers-model"
_GENERATOR = "facemask_zoo"
# Names of tensors begin with a letter or a digit there; in graphs with a letter or an underscore.
_BEFORE_UNDERSCORE = "0"
_FLOAT = "float32"
# TensorFlow.js keeps what it finds here, and writes it again.
_METADATA = "userDefinedMetadata"
_MAX_DIMENSIONS = 4


def companions(path: Path) -> list[Path]:
    """The files of weights that a readable description names."""
    groups = _description(path)["weightsManifest"]
    return [path.parent / name for group in groups for name in group["paths"]]


def read(path: Path) -> Program:
    """Read the layers that ``model.json`` describes, and their weights beside it.

    Raises:
        WeightsError: A file is missing, damaged or quantised, or they do not fit together.
        UnsupportedOperationError: It has layers that graphs do not have.
    """
    description = _description(path)
    config = model_config(_model(description))
    arrays = dict(_arrays(description, path.parent))
    metadata = description.get(_METADATA)
    card = metadata.get(CARD_KEY, "") if isinstance(metadata, dict) else ""
    variables = NamedVariables({_place(name): values for name, values in arrays.items()})
    program = read_program(config, variables, _MEANING, str(card))
    return _graph_names(program) if description.get("generatedBy") == _GENERATOR else program


def read_layers(path: Path) -> Layers:
    """The parameters as they are stored, kernels (height, width, in, out).

    Raises:
        WeightsError: A file is missing, damaged or quantised.
    """
    return group_by_layer(dict(_arrays(_description(path), path.parent)))


def write(program: Program, path: Path) -> None:
    """Write the description and, beside it under the same stem, ``.bin`` with the weights.

    Feature maps are (N, H, W, C); the outputs have the graph's names and order.

    Raises:
        UnsupportedOperationError: TensorFlow.js's layers cannot carry an operation.
    """
    model = _layer_names(layer_model(program, DIALECT))
    arrays = {
        f"{layer.name}/{part}": values
        for layer in model.layers
        for part, values in layer.weights.items()
    }
    shard = path.with_suffix(".bin")
    weights = [
        {"name": name, "shape": list(values.shape), "dtype": _FLOAT}
        for name, values in arrays.items()
    ]
    description: dict[str, Any] = {
        "format": _LAYERS_MODEL,
        "generatedBy": _GENERATOR,
        "convertedBy": None,
        "modelTopology": {**FACTS, "model_config": keras2_model(model)},
        "weightsManifest": [{"paths": [shard.name], "weights": weights}],
    }
    if program.card:
        description[_METADATA] = {CARD_KEY: program.card}
    path.write_text(json.dumps(description))
    shard.write_bytes(b"".join(values.astype("<f4").tobytes() for values in arrays.values()))


def _layer_names(model: LayerModel) -> LayerModel:
    """The same layers with names that TensorFlow.js takes."""

    def legal(name: str) -> str:
        return f"{_BEFORE_UNDERSCORE}{name}" if name.startswith("_") else name

    image = dataclasses.replace(model.image, name=legal(model.image.name))
    made = {model.image: image}
    for layer in model.layers:  # of which each comes behind those that it sees
        inputs = tuple(made[each] for each in layer.inputs)
        made[layer] = dataclasses.replace(layer, name=legal(layer.name), inputs=inputs)
    layers = tuple(made[layer] for layer in model.layers)
    return LayerModel(image, layers, tuple(map(legal, model.outputs)))


def _graph_names(program: Program) -> Program:
    """Undoes :func:`_layer_names`; the reader has put an underscore before the digit."""
    prefix = f"_{_BEFORE_UNDERSCORE}_"
    names = {
        name: f"_{name.removeprefix(prefix)}"
        for name in program.graph.shapes
        if name.startswith(prefix)
    }
    tensors = {}
    for key, values in program.tensors.items():
        name, _, part = key.rpartition(".")
        tensors[f"{names.get(name, name)}.{part}"] = values
    return Program(program.graph.renamed(names), tensors, program.card)


def _description(path: Path) -> dict[str, Any]:
    return parse_object(read_bytes(path, MAX_TEXT_BYTES), path.name)


def _model(description: dict[str, Any]) -> Any:
    topology = description.get("modelTopology")
    # Files that TensorFlow.js saves itself hold the model without Keras's wrapping.
    return topology.get("model_config", topology) if isinstance(topology, dict) else None


def _place(name: str) -> tuple[str, ...]:
    """Layer and variable; the models around them are part of other names, too."""
    return tuple(name.partition(":")[0].split("/")[-2:])


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
