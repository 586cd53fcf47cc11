from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import ssd_reference as reference
from places import ROOT
from seeded import NETWORKS, seeded_batch, seeded_model

from facemask_zoo import WeightsError, model_files
from facemask_zoo.converters.formats import aizoo_pth, tfjs
from facemask_zoo.converters.runners import RUNNERS

FORMAT = "tfjs"
SCRIPT = ROOT / "converters" / "tfjs_predict.cjs"
LOC, SCORES = "loc_branch_concat", "cls_branch_concat"


def change(path: Path, edit) -> None:
    description = json.loads(path.read_text())
    edit(description)
    path.write_text(json.dumps(description))


def test_several_weight_files_are_joined(model, written, assert_same):
    """Converters split weights every four megabytes, in the middle of an array if need be."""
    whole = written.with_suffix(".bin").read_bytes()
    for name, part in (("part1.bin", whole[:1001]), ("part2.bin", whole[1001:])):
        (written.parent / name).write_bytes(part)
    change(written, lambda d: d["weightsManifest"][0].update(paths=["part1.bin", "part2.bin"]))
    assert_same(model_files.read(written), model)


def test_a_model_without_a_card_is_known_by_its_layers(tmp_path):
    model = seeded_model(NETWORKS["full"], seed=42)
    path = tmp_path / "bare.json"
    model_files.write(model, path, "tfjs")
    change(path, lambda description: description.pop("userDefinedMetadata"))
    read = model_files.read(path)
    assert (read.card.name, read.card.network) == ("bare", model.card.network)
    assert read.digest == model.digest


def test_tensorflow_js_runs_and_rewrites_the_model(model, tmp_path, assert_same):
    if RUNNERS["tfjs"].find() is None:
        pytest.skip(RUNNERS["tfjs"].missing)
    model_files.write(model, tmp_path / "model.json", "tfjs")
    batch = seeded_batch(model.card.network, 2)
    images = np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
    images.tofile(tmp_path / "in.bin")
    words = [tmp_path / "model.json", tmp_path, *map(str, images.shape)]
    subprocess.run(["node", SCRIPT, *words], check=True, timeout=120, capture_output=True)
    expected = reference.forward(model.card.network, model.tensors, batch)
    for index, (values, tolerance) in enumerate(zip(expected, (1e-4, 1e-5), strict=True)):
        output = np.fromfile(tmp_path / f"{index}.out", np.float32).reshape(values.shape)
        np.testing.assert_allclose(output, values, rtol=0, atol=tolerance)
    assert_same(model_files.read(tmp_path / "again.json"), model)


@pytest.mark.parametrize("name", ["../modèle.bin", "/etc/hostname", "sub/x.bin", "..", "", 3])
def test_weights_elsewhere_are_refused(name, written):
    change(written, lambda d: d["weightsManifest"][0].update(paths=[name]))
    with pytest.raises(WeightsError):
        model_files.read(written)


def test_a_link_to_weights_elsewhere_is_refused(written, tmp_path):
    moved = tmp_path / "elsewhere"
    written.with_suffix(".bin").rename(moved)
    written.with_suffix(".bin").symlink_to(moved)
    with pytest.raises(WeightsError, match="beside"):
        model_files.read(written)


@pytest.mark.parametrize(
    "change_to",
    [
        {"shape": [1 << 40, 1 << 40, 3, 5]},
        {"shape": [-3, 3, 3, 5]},
        {"shape": "3335"},
        {"shape": [3.0, 3, 3, 5]},
        {"dtype": "uint8"},
        {"quantization": {"scale": 1.0, "min": 0.0, "dtype": "uint8"}},
        {"name": 3},
    ],
)
def test_absurd_weights_are_refused(change_to, written):
    change(written, lambda d: d["weightsManifest"][0]["weights"][0].update(change_to))
    with pytest.raises(WeightsError):
        model_files.read(written)


@pytest.mark.parametrize("key", ["weightsManifest", "modelTopology"])
@pytest.mark.parametrize("value", [None, 3, [], {}, [3], [{}], "x"])
def test_a_malformed_description_is_refused(key, value, written):
    change(written, lambda description: description.update({key: value}))
    with pytest.raises(WeightsError):
        tfjs.read(written)


def test_every_truncation_of_the_weights_is_refused(written):
    weights = written.with_suffix(".bin")
    content = weights.read_bytes()
    for length in [*range(0, len(content), 97), len(content) - 1]:
        weights.write_bytes(content[:length])
        with pytest.raises(WeightsError):
            tfjs.read(written)


def test_bytes_at_the_end_are_refused(written):
    with written.with_suffix(".bin").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(WeightsError, match="follow"):
        tfjs.read(written)


@pytest.mark.shared
def test_aizoos_unfolded_formats_hold_the_same_110_arrays(shared):
    folder = shared / "aizoo"
    ours = tfjs.read_layers(folder / "tfjs" / "model.json")
    assert sum(map(len, ours.values())) == 110
    other = aizoo_pth.read_layers(folder / "face_mask_detection.pth")
    assert other.keys() == ours.keys()
    for name, parameters in ours.items():
        for kind, values in parameters.items():
            np.testing.assert_array_equal(values, other[name][kind])


@pytest.mark.shared
def test_aizoos_model_is_the_folded_pickle(shared):
    published = model_files.read(shared / "aizoo" / "tfjs" / "model.json")
    folded = model_files.read(shared / "aizoo" / "face_mask_detection.pth")
    assert published.card.network == folded.card.network
    for name, values in folded.tensors.items():
        np.testing.assert_allclose(published.tensors[name], values, rtol=0, atol=1e-6)
