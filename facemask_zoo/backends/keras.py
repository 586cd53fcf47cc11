"""The network as a Keras 3 functional model, on TensorFlow, JAX or PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from facemask_zoo.backends.base import (
    Backend,
    Batch,
    Outputs,
    channels_last_shape,
    pick_outputs,
    to_channels_last,
)
from facemask_zoo.backends.keras_engines import compiled, devices, import_keras, set_threads
from facemask_zoo.converters.formats import keras as keras_archive
from facemask_zoo.converters.formats import keras_h5
from facemask_zoo.converters.formats.keras_layers import layer_model
from facemask_zoo.errors import WeightsError
from facemask_zoo.graph.program import Program

keras = import_keras()

_HDF5_SUFFIXES = (".h5", ".hdf5")


def functional_model(program: Program) -> Any:
    """A ``keras.Model`` that computes a program.

    Its input and its layers have the graph's names; feature maps are (N, H, W, C). It gives a
    dictionary of the outputs, in the order of the graph.

    Raises:
        UnsupportedOperationError: Keras's layers cannot carry an operation.
    """
    # Sorted by name: some engines order a dictionary's outputs so, others as they come.
    described = layer_model(program, keras_archive.DIALECT, sort_outputs=True)
    image = keras.Input(described.image.shape, name=described.image.name, dtype="float32")
    values = {described.image: image}
    weighted = []
    for layer in described.layers:
        kind = getattr(keras.layers, layer.class_name)
        made = kind(name=layer.name, dtype="float32", **layer.config)
        sources = [values[source] for source in layer.inputs]
        values[layer] = made(keras_archive.call_arguments(layer, sources))
        if layer.weights:
            weighted.append((made, layer))
    ends = {layer.name: value for layer, value in values.items() if layer.name in described.outputs}
    outputs = {name: ends[name] for name in described.outputs}
    model = keras.Model(image, outputs, name="facemask_zoo")
    for made, layer in weighted:
        made.set_weights(list(layer.weights.values()))
    return model


def _program_of(path: Path) -> Program:
    """What a file says, read by the zoo alone."""
    found = (keras_h5 if path.suffix in _HDF5_SUFFIXES else keras_archive).read(path)
    if not isinstance(found, Program):
        raise WeightsError(f"{path} holds weights without an architecture.")
    return found


class KerasBackend(Backend):
    """Runs the weights of a ``.keras`` archive in a model built from what the zoo reads of it.

    Nothing that an archive describes is ever instantiated. The number of threads is that of the
    engine, for the whole process: TensorFlow's or PyTorch's.
    """

    formats = ("keras",)
    own_formats = ("keras_h5",)

    channels_last = True
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
            program = _program_of(path)
            self._outputs = pick_outputs(program.graph.outputs, self.signature)
            self.model = functional_model(program)
            shape = channels_last_shape(program.graph.input_shape)
            self._forward = compiled(self.engine, self.model, shape)

    def _run(self, batch: Batch) -> Outputs:
        with keras.device(self._device):
            outputs = self._forward(to_channels_last(batch))
        return {name: outputs[given] for name, given in self._outputs.items()}
