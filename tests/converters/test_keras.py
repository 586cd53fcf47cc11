from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile

import h5py
import needs
import numpy as np
import pytest
import ssd_reference as reference
from seeded import NETWORKS, seeded_batch, seeded_model

from facemask_zoo import WeightsError, model_files
from facemask_zoo.converters import limits
from facemask_zoo.converters.formats import keras as converter
from facemask_zoo.converters.formats.keras_layers import layer_model
from facemask_zoo.ssd import Level, Network, Stage, build

FORMAT = "keras"
LOC, SCORES = "loc_branch_concat", "cls_branch_concat"
ONE_LEVEL = Network(16, ("mask",), (Stage(3, pool=False),), (Level(0, (0.1, 0.2), (1.0,), 2, 2),))
TWO_ON_ONE_STAGE = Network(
    32,
    ("mask", "no_mask"),
    (Stage(3, pool=False), Stage(4), Stage(5)),
    (
        Level(2, (0.1, 0.2), (1.0,), 2, 2),
        Level(1, (0.1, 0.2), (1.0,), 2, 2),
        Level(2, (0.4,), (1.0, 2.0), 2, 2),
    ),
)


@pytest.fixture(scope="session")
def keras():
    return needs.framework("keras").keras


def rewrite(source, target, **changes: bytes | None) -> None:
    """Copy an archive with some of its members changed or, if None, left out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = changes.get(name.replace(".", "_"), old.read(name))
            if data is not None:
                new.writestr(name, data)


def test_keras_loads_the_archive_by_itself(model, written, keras):
    loaded = keras.models.load_model(written)
    batch = seeded_batch(model.card.network, 2)
    outputs = loaded.predict_on_batch(batch.transpose(0, 2, 3, 1))
    loc, scores = reference.forward(model.card.network, model.tensors, batch)
    np.testing.assert_allclose(outputs[LOC], loc, rtol=0, atol=1e-4)
    np.testing.assert_allclose(outputs[SCORES], scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("network", [*NETWORKS.values(), ONE_LEVEL, TWO_ON_ONE_STAGE])
def test_layers_are_listed_as_keras_lists_them(network, keras, tmp_path):
    """Keras finds the weights of an archive by counting layers."""
    from facemask_zoo.backends.keras import functional_model

    model = seeded_model(network, seed=33)
    built = functional_model(model.program)
    layers = layer_model(model.program, converter.DIALECT, sort_outputs=True).layers
    assert [each.name for each in built.layers] == ["data", *(layer.name for layer in layers)]
    model_files.write(model, tmp_path / "ours.keras", "keras")
    built.save(tmp_path / "theirs.keras")
    members = []
    for path in (tmp_path / "ours.keras", tmp_path / "theirs.keras"):
        loaded = keras.models.load_model(path)
        members.append({value.path: np.array(value) for value in loaded.weights})
    assert members[0].keys() == members[1].keys()
    for name, values in members[0].items():
        np.testing.assert_array_equal(values, members[1][name])


def test_an_archive_that_keras_saved_is_read(keras, tmp_path):
    """Its metadata then holds no card, and its classes are numbered by Keras."""
    from facemask_zoo.backends.keras import functional_model

    model = seeded_model(NETWORKS["full"], seed=32)
    functional_model(model.program).save(tmp_path / "saved.keras")
    read = model_files.read(tmp_path / "saved.keras")
    assert (read.card.name, read.card.network) == ("saved", model.card.network)
    assert read.digest == model.digest


def unfolded(keras, network):
    """A network as AIZOO trained it: normalisation between each convolution and its ReLU."""

    class Unfolded:
        def pool(self, x, name):
            return keras.layers.MaxPooling2D(2, padding="same", name=name)(x)

        def convolve(self, x, layer):
            padding = "same" if layer.padding else "valid"
            plain = keras.layers.Conv2D(
                layer.outputs, 3, padding=padding, use_bias=not layer.relu, name=layer.name
            )
            if not layer.relu:
                return plain(x)
            norm = keras.layers.BatchNormalization(
                epsilon=2e-3,
                gamma_initializer="random_normal",
                beta_initializer="random_normal",
                moving_mean_initializer="random_normal",
                moving_variance_initializer=keras.initializers.RandomUniform(0.5, 2.0),
                name=f"{layer.name}_bn",
            )
            return keras.layers.ReLU()(norm(plain(x)))

        def flatten(self, x, columns, name):
            return keras.layers.Reshape((-1, columns), name=name)(x)

        def sigmoid(self, x, name):
            return keras.layers.Activation("sigmoid", name=name)(x)

        def concatenate(self, parts, name):
            return keras.layers.Concatenate(axis=1, name=name)(parts)

    image = keras.Input((network.input_size, network.input_size, 3))
    return keras.Model(image, build(network, image, Unfolded()))


def test_batch_normalisation_is_folded(keras, tmp_path):
    network = NETWORKS["full"]
    built = unfolded(keras, network)
    built.save(tmp_path / "unfolded.keras")
    model = model_files.read(tmp_path / "unfolded.keras")
    assert model.card.network == network
    batch = seeded_batch(network, 1)
    outputs = built.predict_on_batch(batch.transpose(0, 2, 3, 1))
    expected = reference.forward(network, model.tensors, batch)
    np.testing.assert_allclose(outputs[0], expected[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(outputs[1], expected[1], rtol=0, atol=1e-5)


def test_reading_needs_no_keras(written):
    program = f"""
import sys
for name in ("keras", "tensorflow", "torch", "jax"):
    sys.modules[name] = None
from facemask_zoo import model_files
print(model_files.read({str(written)!r}).digest)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == model_files.read(written).digest


def test_what_an_archive_describes_is_never_run(model, written, tmp_path, assert_same):
    """A Lambda layer with a payload, as an attacker would hide it, is only ever text."""
    with zipfile.ZipFile(written) as archive:
        config = json.loads(archive.read("config.json"))
    canary = tmp_path / "canary"
    payload = {
        "class_name": "Lambda",
        "module": "keras.layers",
        "config": {"name": "x", "function": f"__import__('pathlib').Path({str(canary)!r}).touch()"},
    }
    config["config"]["layers"].insert(0, payload)
    rewrite(written, tmp_path / "hostile.keras", config_json=json.dumps(config).encode())
    assert_same(model_files.read(tmp_path / "hostile.keras"), model)
    assert not canary.exists()


def hdf5(**links) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as root:
        group = root.create_group("layers/conv2d/vars")
        for name, link in links.items():
            group[name.strip("_")] = link
    return file.getvalue()


@pytest.mark.parametrize(
    "link",
    [h5py.ExternalLink("/etc/hostname", "/"), h5py.SoftLink("/layers"), np.zeros(3), np.int32(1)],
    ids=["external", "soft", "doubles", "integer"],
)
def test_weights_are_plain_and_inside_the_file(link, written, tmp_path):
    rewrite(written, tmp_path / "hostile.keras", model_weights_h5=hdf5(_0=link))
    with pytest.raises(WeightsError, match="dataset"):
        model_files.read(tmp_path / "hostile.keras")


def test_a_dataset_stored_in_another_file_is_refused(written, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(540))
    file = io.BytesIO()
    with h5py.File(file, "w") as root:
        outside = [(str(tmp_path / "secret"), 0, 540)]
        root.create_dataset("layers/conv2d/vars/0", (3, 3, 3, 5), "<f4", external=outside)
    rewrite(written, tmp_path / "hostile.keras", model_weights_h5=file.getvalue())
    with pytest.raises(WeightsError, match="outside"):
        model_files.read(tmp_path / "hostile.keras")


def test_a_dataset_that_claims_terabytes_is_refused(written, tmp_path):
    file = io.BytesIO()
    with h5py.File(file, "w") as root:
        root.create_dataset("layers/conv2d/vars/0", (1 << 20, 1 << 20), "<f4")
    rewrite(written, tmp_path / "hostile.keras", model_weights_h5=file.getvalue())
    with pytest.raises(WeightsError, match="take over"):
        model_files.read(tmp_path / "hostile.keras")


def test_a_zip_bomb_is_stopped(written, tmp_path, monkeypatch):
    monkeypatch.setattr(converter, "MAX_FILE_BYTES", 1 << 20)
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(written) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in ("metadata.json", "config.json"):
            new.writestr(name, old.read(name))
        new.writestr("model.weights.h5", bytes(1 << 24))
    assert path.stat().st_size < 1 << 17 < limits.MAX_FILE_BYTES
    with pytest.raises(WeightsError, match="unpacks to more"):
        model_files.read(path)


@pytest.mark.parametrize(
    "config", [b"", b"[]", b"{}", b'{"config": {"layers": [3]}}', b"[" * 100_000, b"\xff"]
)
def test_a_damaged_configuration_is_refused(config, written, tmp_path):
    rewrite(written, tmp_path / "damaged.keras", config_json=config)
    with pytest.raises(WeightsError, match="config"):
        model_files.read(tmp_path / "damaged.keras")


@pytest.mark.parametrize("name", ["config_json", "model_weights_h5"])
def test_a_missing_member_is_named(name, written, tmp_path):
    rewrite(written, tmp_path / "incomplete.keras", **{name: None})
    with pytest.raises(WeightsError, match=name.split("_")[0]):
        model_files.read(tmp_path / "incomplete.keras")
