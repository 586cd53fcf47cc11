"""HDF5 carries every operation that layers have, for both generations of Keras."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import needs
import numpy as np
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program
from seeded import FULL

from facemask_zoo.converters.formats import keras_h5 as format_
from facemask_zoo.converters.formats import onnx
from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph import reference
from facemask_zoo.graph.matching import renamed_like
from facemask_zoo.graph.program import Program

GRAPHS = {**SINGLE, **NETWORKS, "ssd": FULL.graph}
SCRIPT = Path(__file__).with_name("keras_answers.py")


def last(batch: np.ndarray) -> np.ndarray:
    return batch.transpose(0, 2, 3, 1) if batch.ndim == 4 else batch


def batch_for(name: str) -> np.ndarray:
    return seeded_batch(GRAPHS[name], 3) * 4 - 2


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_comes_back(name, tmp_path):
    program = seeded_program(GRAPHS[name])
    format_.write(program, tmp_path / "file.h5")
    read = format_.read(tmp_path / "file.h5")
    assert isinstance(read, Program)
    found = renamed_like(read, program.graph)
    assert found is not None
    assert found.digest == program.digest


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    for name, graph in GRAPHS.items():
        format_.write(seeded_program(graph), folder / f"{name}.h5")
        np.save(folder / f"{name}.npy", last(batch_for(name)))
    return folder


def answers(generation: str, folder: Path) -> None:
    needs.package(generation)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [sys.executable, SCRIPT, generation, folder], check=True, timeout=600, env=environment
    )


@pytest.mark.parametrize("generation", ["keras", "tf_keras"])
def test_both_generations_compute_the_references_numbers(generation, written):
    answers(generation, written)
    for name, graph in GRAPHS.items():
        expected = reference.forward(seeded_program(graph), batch_for(name))
        with np.load(written / f"{name}.npz") as found:
            for index, values in enumerate(expected.values()):
                assert found[f"arr_{index}"].shape == values.shape, name
                tolerance = 1e-4 if name == "ssd" else 2e-5
                np.testing.assert_allclose(
                    found[f"arr_{index}"], values, atol=tolerance, err_msg=name
                )


STRANGER = """
import sys
import numpy as np
import {generation} as keras
keras.utils.set_random_seed(5)
model = keras.applications.MobileNetV2(
    weights=None, input_shape=(96, 96, 3), alpha=0.35, classes=2
)
rng = np.random.default_rng(1)
for layer in model.layers:
    if "BatchNormalization" in type(layer).__name__:
        layer.set_weights([rng.uniform(0.5, 1.5, each.shape) for each in layer.get_weights()])
model.save(sys.argv[1])
images = rng.random((2, 96, 96, 3)).astype(np.float32)
np.savez(sys.argv[2], images=images, answers=model.predict_on_batch(images))
"""


@pytest.mark.parametrize(
    ("generation", "suffix"), [("keras", ".h5"), ("tf_keras", ".h5"), ("keras", ".keras")]
)
def test_a_network_that_keras_itself_made_and_saved(generation, suffix, tmp_path):
    needs.package(generation)
    onnxruntime = needs.module("onnxruntime")
    from facemask_zoo import model_files

    path, data = tmp_path / f"theirs{suffix}", tmp_path / "data.npz"
    program = STRANGER.format(generation=generation)
    subprocess.run([sys.executable, "-c", program, path, data], check=True, timeout=600)
    with np.load(data) as stored:
        images, expected = stored["images"].transpose(0, 3, 1, 2), stored["answers"]
    model = model_files.read(path)
    assert (model.card.task, model.card.architecture) == ("classification", None)
    (found,) = reference.forward(model.program, images).values()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert model.graph.outputs == ("predictions",)
    onnx.write(model.program, tmp_path / "again.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "again.onnx")
    (again,) = session.run(None, {model.graph.input: images})
    np.testing.assert_allclose(again, expected, atol=1e-5)


def test_what_layers_cannot_carry_is_refused_by_name(tmp_path):
    from graphs import MAP, single

    from facemask_zoo.graph import operations as ops

    strided = single(ops.Convolution, MAP, filters=6, groups=6, kernel=(3, 3), strides=(2, 1))
    with pytest.raises(UnsupportedOperationError, match="two strides") as error:
        format_.write(seeded_program(strided), tmp_path / "x.h5")
    assert error.value.format == "keras_h5"
