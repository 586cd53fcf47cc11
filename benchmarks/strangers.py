"""Networks that other people's code built, in the files that their own frameworks write.

Weights come from a seed, and are such that activations neither vanish nor grow, so that a layer
that is read wrongly shows. Beside each file lies what its maker answers to a batch.

Usage: python -m facemask_zoo.benchmarks.strangers MAKER FOLDER
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import math
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo import model_files
from facemask_zoo.graph import reference

ANSWERS = "answers.npz"
CLASSES = 2
SIDE = 64
_SEED = 3
_TORCHVISION = ("mobilenet_v3_small", "shufflenet_v2_x0_5")


def write_keras(folder: Path) -> None:
    """MobileNetV2 of ``keras.applications``, in five formats."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    model = keras.applications.MobileNetV2(
        weights=None,
        input_shape=(SIDE, SIDE, 3),
        classes=CLASSES,
        alpha=0.35,
        classifier_activation=None,  # after a softmax, differences hardly show
    )
    for variable, values in _seeded([(each.path, tuple(each.shape)) for each in model.weights]):
        model.weights[variable].assign(values)
    batch = _batch()
    _save_answers(folder, batch, np.asarray(model(batch.transpose(0, 2, 3, 1), training=False)))
    model.save(folder / "MobileNetV2.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras would have its newer format
        model.save(folder / "MobileNetV2.h5")
    model.export(folder / "MobileNetV2", verbose=False)
    lite = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    (folder / "MobileNetV2.tflite").write_bytes(lite)
    function = tf.function(lambda x: model(x, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32))
    frozen = convert_to_constants.convert_variables_to_constants_v2(concrete)
    tf.io.write_graph(frozen.graph, str(folder), "MobileNetV2.pb", as_text=False)


def write_gluon(folder: Path) -> None:
    """``mobilenet0.25`` of Gluon's model zoo, as symbol and parameters."""
    mx = importlib.import_module("facemask_zoo.backends.mxnet").mx  # with its repairs
    block = mx.gluon.model_zoo.vision.mobilenet0_25(classes=CLASSES)
    block.initialize(mx.init.Zero())
    side = 224  # its last pool is 7 x 7, whatever comes
    block(mx.nd.zeros((1, 3, side, side)))
    parameters = list(block.collect_params().items())
    for index, values in _seeded([(name, each.shape) for name, each in parameters]):
        parameters[index][1].set_data(mx.nd.array(values))
    block.hybridize()
    batch = _batch(side)
    _save_answers(folder, batch, block(mx.nd.array(batch)).asnumpy())
    block.export(str(folder / "mobilenet0.25"))
    (folder / "mobilenet0.25-0000.params").rename(folder / "mobilenet0.25.params")


def write_torchvision(folder: Path) -> None:
    """MobileNetV3 and ShuffleNetV2 of ``torchvision.models``, exported to ONNX by PyTorch."""
    import torch

    models = _torchvision().models
    batch = _batch()
    for name in _TORCHVISION:
        model = getattr(models, name)(num_classes=CLASSES).eval()
        state = model.state_dict()
        kinds = [(key, tuple(each.shape)) for key, each in state.items()]
        keys = list(state)
        model.load_state_dict(
            {keys[index]: torch.from_numpy(values) for index, values in _seeded(kinds)},
            strict=False,
        )
        with torch.no_grad():
            answer = model(torch.from_numpy(batch)).numpy()
        place = folder / name
        place.mkdir()
        _save_answers(place, batch, answer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the older exporter needs no further package
            path = str(place / f"{name}.onnx")
            torch.onnx.export(model, (torch.from_numpy(batch[:1]),), path, dynamo=False)


MAKERS: Mapping[str, tuple[Callable[[Path], None], Sequence[str]]] = {
    "keras": (write_keras, ("keras", "tensorflow")),
    "gluon": (write_gluon, ("mxnet",)),
    "torchvision": (write_torchvision, ("torch", "torchvision")),
}
"""What writes the files, and the packages that it takes."""


def write_all(folder: Path) -> list[Path]:
    """Every network's files below a folder, each maker in a process of its own.

    Returns:
        The files that a reader is given. A maker that is not installed has none.
    """
    for name, (_, packages) in MAKERS.items():
        if any(importlib.util.find_spec(package) is None for package in packages):
            continue
        (folder / name).mkdir(parents=True)
        command = [sys.executable, "-m", __name__, name, str(folder / name)]
        variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run(command, check=True, env=variables, stdout=subprocess.DEVNULL)
    return sources(folder)


def sources(folder: Path) -> list[Path]:
    """The files below a folder that :func:`write_all` filled."""
    beside = [path.parent for path in sorted(folder.rglob(ANSWERS))]
    companions = (ANSWERS, "-symbol.json")
    return [
        path
        for place in beside
        for path in sorted(place.iterdir())
        if not path.name.endswith(companions) and not (path / ANSWERS).exists()
    ]


def difference(source: Path) -> float:
    """How far the graph that is read from a file is from its maker's answers.

    Returns:
        The largest difference, as a share of the largest answer.

    Raises:
        FaceMaskZooError: The file is not understood.
    """
    with np.load(source.parent / ANSWERS) as found:
        batch, expected = found["batch"], found["answer"]
    model = model_files.read(source)
    (answer,) = reference.forward(model.program, batch).values()
    return float(np.abs(answer - expected).max() / np.abs(expected).max())


def _seeded(kinds: Sequence[tuple[str, Sequence[int]]]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Values for the tensors of a network: by index; counters of batches stay."""
    rng = np.random.Generator(np.random.PCG64(_SEED))
    for index, (name, shape) in enumerate(kinds):
        if "num_batches" in name:
            continue
        uniform = rng.random(shape) * 2 - 1
        yield index, _scaled(name.replace(".", "/"), uniform).astype(np.float32)


def _scaled(name: str, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    if re.search(r"gamma|var", name):
        return 1 + uniform / 2
    if uniform.ndim < 2:
        # PyTorch calls the factors of a normalisation weights, too.
        return 1 + uniform / 2 if name.endswith("weight") else uniform / 5
    return uniform * math.sqrt(6 / _inputs(name, uniform.shape))


def _inputs(name: str, shape: Sequence[int]) -> int:
    """How many values a weight sums up; Keras has its outputs last."""
    if "kernel" not in name:
        return math.prod(shape[1:])
    return math.prod(shape[:2]) if "depthwise" in name else math.prod(shape[:-1])


def _batch(side: int = SIDE) -> NDArray[np.float32]:
    rng = np.random.Generator(np.random.PCG64(5))
    return rng.random((2, 3, side, side)).astype(np.float32)


def _save_answers(folder: Path, batch: NDArray[np.float32], answer: NDArray[np.float32]) -> None:
    np.savez(folder / ANSWERS, batch=batch, answer=answer)


def _torchvision() -> ModuleType:
    """torchvision, also where it was built for another PyTorch and misses its own operations."""
    import torch

    while True:
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            missing = re.search(r"operator (torchvision::\w+) does not exist", str(error))
            if missing is None:
                raise
            torch.library.define(missing[1], "(Tensor x) -> Tensor")  # its models use none
            for name in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[name]


def main() -> int:
    """Write the networks of one maker."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("maker", choices=list(MAKERS))
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    write, _ = MAKERS[args.maker]
    write(args.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
