from __future__ import annotations

import contextlib

import needs
import numpy as np
import pytest
import ssd_reference as reference
from seeded import NETWORKS, seeded_batch, seeded_model, signature

from facemask_zoo import WeightsError, model_files
from facemask_zoo.backends import Options
from facemask_zoo.converters.formats import tflite as converter
from facemask_zoo.graph.program import Program
from facemask_zoo.ssd import Level, Network, Stage

FORMAT = "tflite"
LOC, SCORES = "loc_branch_concat", "cls_branch_concat"


def test_constants_are_aligned_for_vector_instructions(model, written):
    content = written.read_bytes()
    for name, values in model.tensors.items():
        if name.endswith(".weight"):
            stored = np.ascontiguousarray(values.transpose(0, 2, 3, 1)).tobytes()
            assert content.index(stored) % 16 == 0


def test_the_named_signature_takes_any_batch(model, written):
    interpreter = needs.module("ai_edge_litert.interpreter").Interpreter(str(written))
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["data"], "outputs": [SCORES, LOC]}
    }
    run = interpreter.get_signature_runner()
    for count in (1, 3, 2):
        batch = seeded_batch(model.card.network, count)
        outputs = run(data=batch.transpose(0, 2, 3, 1))
        loc, scores = reference.forward(model.card.network, model.tensors, batch)
        np.testing.assert_allclose(outputs[LOC], loc, rtol=0, atol=1e-4)
        np.testing.assert_allclose(outputs[SCORES], scores, rtol=0, atol=1e-5)


def test_a_single_level_is_enough(tmp_path, assert_same):
    backend = needs.framework("tflite").TFLiteBackend
    network = Network(16, ("mask",), (Stage(3, pool=False),), (Level(0, (0.1, 0.2), (1.0,), 2, 2),))
    model = seeded_model(network, seed=12)
    path = tmp_path / "one.tflite"
    model_files.write(model, path, "tflite")
    assert_same(model_files.read(path), model)
    batch = seeded_batch(network, 2)
    loc, _ = backend(path, signature(network), Options()).forward(batch).values()
    expected, _ = reference.forward(network, model.tensors, batch)
    np.testing.assert_allclose(loc, expected, rtol=0, atol=1e-4)


def test_a_file_without_a_card_is_known_by_its_layers(tmp_path):
    model = seeded_model(NETWORKS["full"], seed=13)
    path = tmp_path / "bare.tflite"
    model_files.write(model, path, "tflite")
    # Same length, another key: the metadata is there, but not ours.
    path.write_bytes(path.read_bytes().replace(b"facemask_zoo.card", b"somebody_else.key"))
    read = model_files.read(path)
    assert read.card.name == "bare"
    assert read.card.network == model.card.network
    assert read.digest == model.digest


def test_flipped_bytes_beside_the_weights_end_in_a_program_or_a_clear_error(
    model, written, tmp_path, rng
):
    content = written.read_bytes()
    target = tmp_path / "flipped.tflite"
    # Everything but plain weights: tables, offsets, names, the card.
    plain = np.zeros(len(content), bool)
    for values in model.tensors.values():
        order = (0, 2, 3, 1) if values.ndim == 4 else (0,)
        stored = np.ascontiguousarray(values.transpose(order)).tobytes()
        start = content.index(stored)
        plain[start : start + len(stored)] = True
    for position in rng.choice(np.flatnonzero(~plain), size=500):
        damaged = bytearray(content)
        damaged[position] ^= int(rng.integers(1, 256))
        target.write_bytes(damaged)
        with contextlib.suppress(WeightsError):
            assert isinstance(converter.read(target), Program)


@pytest.mark.shared
def test_aizoos_file_is_the_folded_pickle(shared):
    published = model_files.read(shared / "aizoo" / "face_mask_detection.tflite")
    folded = model_files.read(shared / "aizoo" / "face_mask_detection.pth")
    assert published.card.network == folded.card.network
    for name, values in folded.tensors.items():
        np.testing.assert_allclose(published.tensors[name], values, rtol=0, atol=1e-6)


@pytest.mark.shared
def test_the_backend_feeds_aizoos_file_one_by_one(shared):
    backend = needs.framework("tflite").TFLiteBackend
    path = shared / "aizoo" / "face_mask_detection.tflite"
    model = model_files.read(path)
    batch = seeded_batch(model.card.network, 3)
    loaded = backend(path, signature(model.card.network), Options(threads=2))
    outputs = list(loaded.forward(batch).values())
    expected = reference.forward(model.card.network, model.tensors, batch)
    np.testing.assert_allclose(outputs[0], expected[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(outputs[1], expected[1], rtol=0, atol=1e-5)
