"""The network as a Keras 3 functional model, on TensorFlow, JAX or PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facemask_zoo.backends.base import (
    Backend,
    Batch,
    Outputs,
    channels_last_shape,
    to_channels_last,
)
from facemask_zoo.backends.keras_engines import compiled, devices, import_keras, set_threads
from facemask_zoo.cards import ModelCard
from facemask_zoo.converters import keras as keras_archive
from facemask_zoo.converters import keras_h5
from facemask_zoo.converters.keras_layers import BIAS, KERNEL, to_arrays
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Model
from facemask_zoo.ssd import Convolution, build
from facemask_zoo.ssd.network import INPUT_NAME, LOC_NAME, SCORES_NAME

keras = import_keras()

_LAST = "channels_last"
_LAYOUT = "HWIO"
_HDF5_SUFFIXES = (".h5", ".hdf5")


def functional_model(model: Model) -> Any:
    """A ``keras.Model`` with the weights of `model`.

    Its input is ``data`` (N, S, S, 3), its output a dictionary of ``loc_branch_concat`` (N, A, 4)
    and ``cls_branch_concat`` (N, A, C); its layers have canonical names.
    """
    network = model.card.network
    image = keras.Input((network.input_size,) * 2 + (3,), name=INPUT_NAME, dtype="float32")
    loc, scores = build(network, image, _KerasBuilder())
    # Sorted by name: some engines order a dictionary's outputs so, others as they come.
    result = keras.Model(image, {SCORES_NAME: scores, LOC_NAME: loc}, name="facemask_zoo")
    arrays = to_arrays(model, _LAYOUT)
    for layer in network.convolutions:
        weights = [arrays[f"{layer.name}/{parameter}"] for parameter in (KERNEL, BIAS)]
        result.get_layer(layer.name).set_weights(weights)
    return result


def _model_of(path: Path) -> Any:
    """The network with the weights of an archive, or with those that Keras finds in HDF5."""
    if path.suffix not in _HDF5_SUFFIXES:
        return functional_model(keras_archive.read(path))
    network = keras_h5.read(path).card.network
    shapes = network.tensor_shapes.items()
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes}
    model = functional_model(Model(ModelCard(path.stem, "", network), zeros))
    try:
        model.load_weights(path, by_name=True)
    except Exception as error:  # Keras and h5py raise many unrelated types
        raise WeightsError(f"Keras does not accept {path}: {error}") from error
    return model


class KerasBackend(Backend):
    """Runs the weights of a ``.keras`` archive in a model built from the card.

    Nothing that an archive describes is ever instantiated. The number of threads is that of the
    engine, for the whole process: TensorFlow's or PyTorch's.
    """

    formats = ("keras",)
    own_formats = ("keras_h5",)

    engine = str(keras.backend.backend())
    thread_safe = engine == "tensorflow"

    @classmethod
    def version(cls) -> str:
        return f"{keras.__version__} on {cls.engine}"

    @classmethod
    def devices(cls) -> list[str]:
        return devices(cls.engine)

    def _load(self, path: Path) -> None:
        if self.options.threads:
            set_threads(self.engine, self, self.options.threads)
        index = self.options.device_index
        self._device = "cpu:0" if index is None else f"gpu:{index}"
        with keras.device(self._device):
            self.model = _model_of(path)
            shape = channels_last_shape(self.signature.input.shape)
            self._forward = compiled(self.engine, self.model, shape)

    def _run(self, batch: Batch) -> Outputs:
        with keras.device(self._device):
            return self._forward(to_channels_last(batch))


class _KerasBuilder:
    """The five operations as layers; everything that a user may have configured is spelled out."""

    def pool(self, x: Any, name: str) -> Any:
        return keras.layers.MaxPooling2D(
            2, strides=2, padding="same", data_format=_LAST, dtype="float32", name=name
        )(x)

    def convolve(self, x: Any, layer: Convolution) -> Any:
        return keras.layers.Conv2D(
            layer.outputs,
            3,
            padding="same" if layer.padding else "valid",
            activation="relu" if layer.relu else None,
            data_format=_LAST,
            dtype="float32",
            name=layer.name,
        )(x)

    def flatten(self, x: Any, columns: int, name: str) -> Any:
        return keras.layers.Reshape((-1, columns), dtype="float32", name=name)(x)

    def sigmoid(self, x: Any, name: str) -> Any:
        return keras.layers.Activation("sigmoid", dtype="float32", name=name)(x)

    def concatenate(self, parts: Sequence[Any], name: str) -> Any:
        if len(parts) == 1:
            return keras.layers.Activation("linear", dtype="float32", name=name)(parts[0])
        return keras.layers.Concatenate(axis=1, dtype="float32", name=name)(list(parts))
