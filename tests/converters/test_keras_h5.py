from __future__ import annotations

import dataclasses
import json

import h5py
import needs
import numpy as np
import pytest
import ssd_reference as reference
from keras_process import predict
from published import trained
from seeded import NETWORKS, seeded_batch, seeded_model
from unfolded import unfolded_model, write_unfolded

from facemask_zoo import WeightsError, model_files
from facemask_zoo.converters.formats import aizoo_pth
from facemask_zoo.images import load_image
from facemask_zoo.model import Model
from facemask_zoo.ssd import preprocess

FORMAT = "keras_h5"
KERNEL = "model_weights/conv2d_0/conv2d_0/kernel:0"


def assert_outputs(outputs, model: Model, batch) -> None:
    expected = reference.forward(model.card.network, model.tensors, batch)
    np.testing.assert_allclose(outputs[0], expected[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(outputs[1], expected[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("generation", "whole"), [("tf_keras", 0), ("tf_keras", 1), ("keras", 1)])
def test_both_generations_of_keras_load_the_pair(generation, whole, model, written, tmp_path):
    needs.package(generation)
    batch = seeded_batch(model.card.network, 2)
    architecture = None if whole else written.with_suffix(".json")
    assert_outputs(predict(generation, written, architecture, batch, tmp_path), model, batch)


def test_weights_without_an_architecture_are_known_by_their_layers(tmp_path):
    """As ``save_weights`` leaves them: everything at the root, the size in the JSON beside it."""
    model = seeded_model(NETWORKS["full"].with_input_size(360), seed=52)
    model_files.write(model, tmp_path / "whole.h5", "keras_h5")
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "bare.h5", "w") as bare:
        for name in whole["model_weights"]:
            whole.copy(f"model_weights/{name}", bare)
        bare.attrs["layer_names"] = whole["model_weights"].attrs["layer_names"]
    (tmp_path / "whole.json").rename(tmp_path / "bare.json")
    read = model_files.read(tmp_path / "bare.h5")
    assert (read.card.name, read.card.network) == ("bare", model.card.network)
    assert read.digest == model.digest
    (tmp_path / "bare.json").unlink()
    assert model_files.read(tmp_path / "bare.h5").card.network == NETWORKS["full"]


def test_an_architecture_of_any_length_fits(tmp_path, assert_same):
    """Attributes of HDF5's first layout end at 64 kilobytes."""
    model = seeded_model(NETWORKS["full"], 53)
    long = Model(dataclasses.replace(model.card, summary="n" * 100_000), model.tensors)
    model_files.write(long, tmp_path / "long.h5", "keras_h5")
    assert_same(model_files.read(tmp_path / "long.h5"), long)


def damage(path, edit) -> None:
    with h5py.File(path, "r+") as file:
        edit(file)


def replace(link):
    def edit(file):
        del file[KERNEL]
        file[KERNEL] = link

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        replace(h5py.ExternalLink("/etc/hostname", "/")),
        replace(h5py.SoftLink("/model_weights/conv2d_1/conv2d_1/kernel:0")),
        replace(np.zeros((3, 3, 3, 5))),
        replace(np.full((3, 3, 3, 5), np.nan, np.float32)),
        replace(np.zeros((3, 3, 3), np.float32)),
        lambda file: file.__delitem__("model_weights/conv2d_1"),
        lambda file: file["model_weights"].attrs.__delitem__("layer_names"),
        lambda file: file["model_weights"].attrs.create("layer_names", np.zeros(5000, "S1")),
        lambda file: file["model_weights"].attrs.create("layer_names", [b"\xff"]),
        lambda file: file.attrs.create("facemask_zoo.card", "{}"),
        lambda file: file.attrs.create("model_config", "[" * 100_000),
    ],
)
def test_hostile_contents_are_refused(edit, written):
    damage(written, edit)
    with pytest.raises(WeightsError):
        model_files.read(written)


@pytest.mark.shared
def test_the_unfolded_graph_is_aizoos(shared):
    for size, name in ((260, "face_mask_detection.json"), (360, "model360.json")):
        published = json.loads((shared / "aizoo" / name).read_text())["config"]["layers"]
        network = NETWORKS["full"].with_input_size(size)
        layers = unfolded_model(network, trained(size).layers).layers
        assert [layer["name"] for layer in published] == ["data", *(x.name for x in layers)]
        for theirs, ours in zip(published[1:], layers, strict=True):
            assert theirs["class_name"] == ours.class_name
            assert [source[0] for source in theirs["inbound_nodes"][0]] == [
                source.name for source in ours.inputs
            ]
            assert {key: theirs["config"][key] for key in ours.config} == ours.config


@pytest.mark.shared
@pytest.mark.parametrize(
    ("weights", "architecture", "read_layers"),
    [
        pytest.param(
            *("face_mask_detection.pth", "face_mask_detection.json", aizoo_pth.read_layers),
            marks=pytest.mark.scale,
        ),
        ("model360.pth", "model360.json", aizoo_pth.read_layers),
    ],
)
def test_aizoos_architecture_loads_the_weights_made_again(
    weights, architecture, read_layers, shared, tmp_path
):
    """The ``.hdf5`` files that AIZOO's Keras program needs are published no more."""
    needs.package("tf_keras")
    model = model_files.read(shared / "aizoo" / weights)
    path = tmp_path / "again.hdf5"
    write_unfolded(model.card.network, read_layers(shared / "aizoo" / weights), path)
    picture = load_image(shared / "aizoo" / "demo2.jpg")
    batch = preprocess(picture, model.card.network.input_size)[None]
    outputs = predict("tf_keras", path, shared / "aizoo" / architecture, batch, tmp_path)
    assert_outputs(outputs, model, batch)
    golden = 0.90712631 if model.card.network.input_size == 260 else 0.99999642
    assert outputs[1].max() == pytest.approx(golden, abs=1e-5)
    again = model_files.read(path).tensors
    for name, values in model.tensors.items():
        np.testing.assert_allclose(again[name], values, rtol=0, atol=1e-6)
