"""What a Keras configuration says about its layers, read as text: nothing is instantiated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from facemask_zoo.converters.keras_layers import EPSILON, Array
from facemask_zoo.errors import WeightsError

LayerConfig = dict[str, Any]


def parse_object(data: bytes | str, what: str) -> dict[str, Any]:
    """A JSON object.

    Args:
        data: The text.
        what: Its name, for the error.

    Raises:
        WeightsError: It is not JSON, or not an object.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{what} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{what}: expected an object, but got {type(values).__name__}.")
    return values


def layer_configs(model: Any) -> list[LayerConfig]:
    """The layers' own configurations, each with its ``class_name``.

    Args:
        model: What Keras stores of a functional model: ``class_name`` and ``config``.

    Raises:
        WeightsError: It is of another form.
    """
    try:
        return [
            {**layer["config"], "class_name": str(layer["class_name"])}
            for layer in model["config"]["layers"]
        ]
    except (KeyError, TypeError) as error:
        raise WeightsError(f"The config describes no functional model: {error!r}.") from error


def input_size(layers: list[LayerConfig]) -> int | None:
    """Height of the pictures, if the layers say it."""
    for layer in layers:
        shape = layer.get("batch_shape", layer.get("batch_input_shape"))
        if isinstance(shape, list) and len(shape) == 4 and isinstance(shape[1], int):
            return shape[1]
    return None


def epsilons(layers: list[LayerConfig]) -> Iterator[tuple[str, Array]]:
    """What each normalisation adds to the variance, named like its other parameters.

    Raises:
        WeightsError: One is not a number.
    """
    for layer in layers:
        if EPSILON in layer:
            if not isinstance(layer[EPSILON], float):
                raise WeightsError(f"epsilon: expected a number, but got {layer[EPSILON]!r}.")
            yield f"{layer.get('name')}/{EPSILON}", np.float64(layer[EPSILON]).reshape(())
