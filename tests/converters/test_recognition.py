"""Files that hold tensors and no card are known by the shapes of their tensors."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import safetensors.numpy
from graphs import seeded_program
from seeded import seeded_model

from facemask_zoo import Detector, WeightsError, list_models, model_files
from facemask_zoo.cards import load_card
from facemask_zoo.store import open_weights


@pytest.mark.parametrize("name", list_models())
def test_every_model_of_the_zoo_is_known_without_its_card(name, tmp_path):
    architecture = load_card(name).architecture
    program = seeded_program(architecture.graph, 5)
    path = tmp_path / "bare.safetensors"
    safetensors.numpy.save_file(dict(program.tensors), path)
    found = model_files.read(path)
    # Files of AIZOO's two models differ in nothing but the size of the input, which none tells.
    expected = load_card("aizoo-260").architecture if name == "aizoo-360" else architecture
    assert found.card.architecture == expected
    assert found.digest == program.digest


def test_the_default_model_detects_the_same_without_its_card(demo_picture, tmp_path):
    path = tmp_path / "bare.safetensors"
    safetensors.numpy.save_file(dict(open_weights("zoo-260").model().tensors), path)
    found, expected = (Detector.load(model).detect(demo_picture) for model in (path, "zoo-260"))
    assert found.labels == expected.labels
    np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_other_widths_of_the_zoos_layout_are_refused(tmp_path):
    network = load_card("zoo-260").network
    stages = (dataclasses.replace(network.stages[0], filters=3), *network.stages[1:])
    model = seeded_model(dataclasses.replace(network, stages=stages), 5)
    path = tmp_path / "bare.safetensors"
    safetensors.numpy.save_file(dict(model.tensors), path)
    with pytest.raises(WeightsError):
        model_files.read(path)
