"""Files that hold tensors and no card are known by the shapes of their tensors."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import safetensors.numpy
from graphs import seeded_program
from seeded import seeded_model

from facemask_zoo import Detector, WeightsError, list_models, model_files
from facemask_zoo.cards import DETECTION, NO_TASK, ModelCard, load_card
from facemask_zoo.model import Model
from facemask_zoo.store import open_weights

FIRST_OF_ITS_LAYOUT = {"aizoo-360": "aizoo-260", "zoo-416": "zoo-260"}


@pytest.mark.parametrize("name", list_models())
def test_every_model_of_the_zoo_is_known_without_its_card(name, tmp_path):
    architecture = load_card(name).architecture
    program = seeded_program(architecture.graph, 5)
    path = tmp_path / "bare.safetensors"
    safetensors.numpy.save_file(dict(program.tensors), path)
    found = model_files.read(path)
    # Tensors alone do not tell the models of one layout apart, unless they are their very weights.
    expected = load_card(FIRST_OF_ITS_LAYOUT.get(name, name)).architecture
    assert found.card.architecture == expected
    assert found.digest == program.digest


def test_the_default_model_detects_the_same_without_its_card(demo_picture, tmp_path):
    path = tmp_path / "bare.safetensors"
    safetensors.numpy.save_file(dict(open_weights("zoo-260").model().tensors), path)
    found, expected = (Detector.load(model).detect(demo_picture) for model in (path, "zoo-260"))
    assert found.labels == expected.labels
    np.testing.assert_array_equal(found.boxes, expected.boxes)


@pytest.mark.parametrize("name", list_models(DETECTION))
@pytest.mark.parametrize("suffix", ["safetensors", "onnx"])
def test_the_weights_of_a_model_are_known_whatever_layout_they_share(name, suffix, tmp_path):
    weights = open_weights(name)
    if not weights.cached():
        pytest.skip(f"{name} is not at hand")
    model = weights.model()
    path = tmp_path / f"bare.{suffix}"
    if suffix == "safetensors":
        safetensors.numpy.save_file(dict(model.tensors), path)
    else:
        bare = ModelCard("bare", "Without its card.", None, task=NO_TASK)
        model_files.write(Model(bare, model.tensors, model.graph), path, "onnx")
        _forget_the_card(path)
    found = model_files.read(path).card
    assert found.architecture == model.card.architecture
    assert found.preprocessing == model.card.preprocessing
    assert found.nms == model.card.nms


@pytest.mark.parametrize("size", [260, 416])
def test_trained_further_a_graph_is_known_by_its_size(size, tmp_path):
    """Anchors of two models differ that have the same layers; new values say nothing of them."""
    card = load_card(f"zoo-{size}")
    program = seeded_program(card.network.graph, 5)
    bare = ModelCard("bare", "Without its card.", None, task=NO_TASK)
    path = tmp_path / "bare.onnx"
    model_files.write(Model(bare, program.tensors, program.graph), path, "onnx")
    _forget_the_card(path)
    found = model_files.read(path).card
    assert found.architecture == card.architecture
    assert found.preprocessing == card.preprocessing


def _forget_the_card(path) -> None:
    proto = onnx.load(path)
    del proto.metadata_props[:]
    onnx.save(proto, path)


def test_other_widths_of_the_zoos_layout_are_refused(tmp_path):
    network = load_card("zoo-260").network
    stages = (dataclasses.replace(network.stages[0], filters=3), *network.stages[1:])
    model = seeded_model(dataclasses.replace(network, stages=stages), 5)
    path = tmp_path / "bare.safetensors"
    safetensors.numpy.save_file(dict(model.tensors), path)
    with pytest.raises(WeightsError):
        model_files.read(path)
