"""What Keras computes with: choosing it before the import, its devices and its threads."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from facemask_zoo.backends.base import Batch
from facemask_zoo.errors import DeviceError, FrameworkNotInstalledError
from facemask_zoo.quiet import native_stderr_silenced

_VARIABLE = "KERAS_BACKEND"
_ENGINES = ("tensorflow", "jax", "torch")


def import_keras() -> Any:
    """Keras on the engine that the user configured, or else on one that is installed.

    Raises:
        FrameworkNotInstalledError: No engine is installed.
    """
    if "keras" not in sys.modules and _VARIABLE not in os.environ:
        _choose_engine()
    # Keras imports TensorFlow, where there is one, whatever it computes with.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with native_stderr_silenced():
        return importlib.import_module("keras")


def devices(engine: str) -> list[str]:
    """Devices of the zoo's names that Keras can compute on, the CPU first."""
    return ["cpu", *(f"cuda:{index}" for index in range(_gpu_count(engine)))]


def set_threads(engine: str, holder: object, threads: int) -> None:
    """Set the number of CPU threads of the whole process.

    Args:
        engine: What Keras computes with.
        holder: The backend that asks.
        threads: What it asks for.

    Raises:
        DeviceError: The engine cannot do that, or not any more.
    """
    if engine == "tensorflow":
        from facemask_zoo.backends.tensorflow import set_tensorflow_threads

        set_tensorflow_threads(threads)
    elif engine == "torch":
        from facemask_zoo.backends.pytorch import THREADS

        THREADS.hold(holder, threads)
    else:
        raise DeviceError(
            f"Keras on {engine} does not let a program choose its number of threads, but got "
            f"threads={threads}. Set {_VARIABLE} to tensorflow or torch, or leave threads out."
        )


def compiled(
    engine: str, model: Any, shape: tuple[int, ...]
) -> Callable[[Batch], Mapping[str, Batch]]:
    """`model` as a function of a batch (N, *shape), compiled where the engine can."""
    if engine != "tensorflow":
        predict: Callable[[Batch], Mapping[str, Batch]] = model.predict_on_batch
        return predict
    # Keras's own function is traced anew for every batch size, and TensorFlow warns of that.
    tf = importlib.import_module("tensorflow")
    signature = [tf.TensorSpec((None, *shape), tf.float32)]
    function = tf.function(model, signature, autograph=False)
    return lambda batch: {name: y.numpy() for name, y in function(tf.constant(batch)).items()}


def _choose_engine() -> None:
    installed = [name for name in _ENGINES if importlib.util.find_spec(name)]
    if not installed:
        raise FrameworkNotInstalledError(
            f"Keras needs one of {', '.join(_ENGINES)}. Run: pip install 'facemask-zoo[keras]'"
        )
    if _configured_engine() not in installed:
        os.environ[_VARIABLE] = installed[0]


def _configured_engine() -> str:
    """The engine in Keras's own configuration file."""
    folder = os.environ.get("KERAS_HOME")
    path = (Path(folder) if folder else Path.home() / ".keras") / "keras.json"
    try:
        return str(json.loads(path.read_text())["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return _ENGINES[0]


def _gpu_count(engine: str) -> int:
    if engine == "tensorflow":
        return len(importlib.import_module("tensorflow").config.list_physical_devices("GPU"))
    if engine == "torch":
        return int(importlib.import_module("torch").cuda.device_count())
    if engine == "jax":
        try:
            return len(importlib.import_module("jax").devices("gpu"))
        except RuntimeError:  # JAX's way to say that there is none
            return 0
    return 0
