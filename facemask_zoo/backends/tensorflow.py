"""Frozen graphs (``.pb``) and SavedModel folders through TensorFlow 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from facemask_zoo.backends.base import (
    Backend,
    Batch,
    Outputs,
    channels_last_shape,
    pick_output,
    pick_outputs,
    to_channels_last,
)
from facemask_zoo.converters.formats.tensorflow import end_names, node_name, parse_graph
from facemask_zoo.errors import DeviceError, WeightsError
from facemask_zoo.graph.signature import Signature
from facemask_zoo.quiet import import_tensorflow

tf = import_tensorflow()

_SIGNATURE = "serving_default"
_ONE_OPERATION_AT_A_TIME = 1


class TensorFlowBackend(Backend):
    """Runs a graph as a concrete function.

    TensorFlow has one pool of threads per process, made at its first computation: `threads` can be
    chosen once.
    """

    formats = ("tensorflow", "saved_model")

    channels_last = True
    thread_safe = True

    @classmethod
    def version(cls) -> str:
        return str(tf.__version__)

    @classmethod
    def devices(cls) -> list[str]:
        return ["cpu", *(f"cuda:{i}" for i, _ in enumerate(tf.config.list_physical_devices("GPU")))]

    def _load(self, path: Path) -> None:
        if self.options.threads:
            set_tensorflow_threads(self.options.threads)
        index = self.options.device_index
        self._device = "/CPU:0" if index is None else f"/GPU:{index}"
        load = _load_saved_model if path.is_dir() else _load_frozen
        try:
            with tf.device(self._device):
                self._function = load(path, self.signature)
        except WeightsError:
            raise
        except Exception as error:  # TensorFlow raises many unrelated types on a file it refuses
            raise WeightsError(f"TensorFlow does not accept {path}: {error}") from error

    def _run(self, batch: Batch) -> Outputs:
        with tf.device(self._device):
            try:
                results = self._function(tf.constant(to_channels_last(batch)))
            except tf.errors.InvalidArgumentError as error:
                raise WeightsError(f"The graph does not take this input: {error}") from error
        answers = (result.numpy() for result in results)
        return dict(zip(self.signature.output_names, answers, strict=True))


def set_tensorflow_threads(threads: int) -> None:
    """Fix the size of TensorFlow's pool of threads for the life of the process.

    Raises:
        DeviceError: TensorFlow has computed before, with another number.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(_ONE_OPERATION_AT_A_TIME)
    except RuntimeError as error:
        current = tf.config.threading.get_intra_op_parallelism_threads() or "its own choice"
        raise DeviceError(
            f"TensorFlow's number of threads is fixed at its first use in a process: "
            f"asked for {threads}, but it is {current}."
        ) from error


def _load_frozen(path: Path, signature: Signature) -> Callable[[Any], Any]:
    data = path.read_bytes()
    ends = end_names(parse_graph(data))  # which refuses what could touch files
    definition = tf.compat.v1.GraphDef.FromString(data)
    images = [node.name for node in definition.node if node.op == "Placeholder"]
    if len(images) != 1:
        raise WeightsError(f"{path}: expected one placeholder, but got {images}.")
    outputs = [f"{pick_output(ends, node_name(name))}:0" for name in signature.output_names]

    def run(pictures: Any) -> Any:
        return tf.graph_util.import_graph_def(
            definition, {f"{images[0]}:0": pictures}, return_elements=outputs, name=""
        )

    shape = (None, *channels_last_shape(signature.input.shape))
    compiled = tf.function(run, [tf.TensorSpec(shape, tf.float32)], autograph=False)
    function: Callable[[Any], Any] = compiled.get_concrete_function()
    return function


def _load_saved_model(path: Path, signature: Signature) -> Callable[[Any], Any]:
    loaded = tf.saved_model.load(str(path))
    function = loaded.signatures[_SIGNATURE]
    names = list(pick_outputs(function.structured_outputs, signature).values())
    expected = [None, *channels_last_shape(signature.input.shape)]
    images = function.structured_input_signature[1]
    if [spec.shape.as_list() for spec in images.values()] != [expected]:
        raise WeightsError(f"{path}: expected one input of shape {expected}, but got {images}.")
    (image,) = images

    def run(pictures: Any) -> list[Any]:
        results = function(**{image: pictures})
        return [results[name] for name in names]

    return run
