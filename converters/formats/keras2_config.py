"""Models as Keras 2 describes them, in HDF5 and TensorFlow.js; every later Keras reads it, too."""

from __future__ import annotations

from typing import Any

from facemask_zoo.converters.formats.keras_layers import Layer, LayerModel

FACTS = {"keras_version": "2.2.4", "backend": "tensorflow"}
"""What files say about their origin: the version whose layout they have."""

SLOPE_OF_HARD_SIGMOID = 0.2


def keras2_model(model: LayerModel) -> dict[str, Any]:
    """What Keras 2 stores of a model, ``class_name`` and ``config``."""
    image = model.image
    config = {
        "batch_input_shape": [None, *image.shape],
        "dtype": "float32",
        "sparse": False,
        "name": image.name,
    }
    first = {
        "name": image.name,
        "class_name": image.class_name,
        "config": config,
        "inbound_nodes": [],
    }
    return {
        "class_name": "Model",
        "config": {
            "name": "facemask_zoo",
            "layers": [first, *map(_layer, model.layers)],
            "input_layers": [[image.name, 0, 0]],
            "output_layers": [[name, 0, 0] for name in model.outputs],
        },
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "class_name": layer.class_name,
        "config": {"name": layer.name, "trainable": True, **layer.config},
        "inbound_nodes": [[[source.name, 0, 0, {}] for source in layer.inputs]],
    }
