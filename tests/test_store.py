from __future__ import annotations

import dataclasses
import http.server
import logging
import tempfile
import threading
from functools import partial

import numpy as np
import pytest
from seeded import SMALL, seeded_model

from facemask_zoo import DownloadError, UnknownNameError, WeightsError, cards, converters, store
from facemask_zoo.cards import File, ModelCard
from facemask_zoo.files import sha256_of


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A model of the zoo whose weights are published in a folder, and an empty cache."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    model = seeded_model(SMALL, 5)
    path = mirror / "seeded.safetensors"
    converters.write(model, path, "safetensors")
    source = File(path.name, sha256_of(path), path.stat().st_size, "https://example.invalid/x")
    card = dataclasses.replace(
        model.card, name="published", tensors_sha256=model.digest, source=source
    )
    monkeypatch.setattr(cards, "_cards", lambda: {"published": card})
    monkeypatch.setenv("FACEMASK_ZOO_MIRROR", str(mirror))
    monkeypatch.setenv("FACEMASK_ZOO_CACHE", str(tmp_path / "cache"))
    store._canonical_of.cache_clear()
    yield path
    store._canonical_of.cache_clear()


def test_a_mirror_folder_stands_in_for_the_address(published):
    weights = store.open_weights("published")
    assert weights.cached() is None
    path = weights.fetch()
    assert path.read_bytes() == published.read_bytes()
    assert weights.cached() == path
    assert weights.model().digest == weights.card.tensors_sha256


def test_a_mirror_address_is_used(published, monkeypatch):
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(published.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        monkeypatch.setenv("FACEMASK_ZOO_MIRROR", address)
        assert store.open_weights("published").fetch().read_bytes() == published.read_bytes()
        server.shutdown()


@pytest.mark.parametrize("damage", ["flip", "cut", "grow"])
def test_an_altered_file_is_refused_and_not_kept(published, damage):
    data = bytearray(published.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    data = {"flip": data, "cut": data[:-1], "grow": data + b"x"}[damage]
    published.write_bytes(bytes(data))
    weights = store.open_weights("published")
    with pytest.raises(WeightsError):
        weights.fetch()
    assert weights.cached() is None
    assert list((store.cache_folder() / "downloads").iterdir()) == []


def test_an_altered_file_in_the_cache_is_fetched_again(published):
    path = store.open_weights("published").fetch()
    path.write_bytes(b"altered" + path.read_bytes()[7:])
    assert store.open_weights("published").fetch().read_bytes() == published.read_bytes()


def test_offline_names_what_is_missing(published, monkeypatch):
    monkeypatch.delenv("FACEMASK_ZOO_MIRROR")
    monkeypatch.setenv("FACEMASK_ZOO_OFFLINE", "1")
    with pytest.raises(DownloadError, match=r"seeded\.safetensors.*FACEMASK_ZOO_OFFLINE"):
        store.open_weights("published").fetch()


def test_an_unreachable_address_is_a_clear_error(published, monkeypatch):
    monkeypatch.setenv("FACEMASK_ZOO_MIRROR", "http://127.0.0.1:9/")
    with pytest.raises(DownloadError, match="FACEMASK_ZOO_MIRROR"):
        store.open_weights("published").fetch()


def test_an_empty_mirror_is_a_clear_error(published):
    published.unlink()
    with pytest.raises(DownloadError, match=r"seeded\.safetensors"):
        store.open_weights("published").fetch()


def test_a_wrong_digest_in_the_card_is_refused(published, monkeypatch):
    card = dataclasses.replace(cards.load_card("published"), tensors_sha256="0" * 64)
    monkeypatch.setattr(cards, "_cards", lambda: {"published": card})
    with pytest.raises(WeightsError, match="differ from its card"):
        store.open_weights("published").model()


def test_a_conversion_is_written_once_and_checked(published, caplog):
    caplog.set_level(logging.INFO)
    weights = store.open_weights("published")
    path = weights.native(["onnx"])
    assert "Writing" in caplog.text
    caplog.clear()
    assert weights.native(["onnx"]) == path
    assert "Writing" not in caplog.text
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    assert weights.native(["onnx"]).read_bytes() == content
    assert "Converting again" in caplog.text


def test_neither_a_cache_nor_a_temporary_folder_is_a_clear_error(published, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FACEMASK_ZOO_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    store._temporary_cache.cache_clear()
    with pytest.raises(WeightsError, match="FACEMASK_ZOO_CACHE"):
        store.open_weights(published).native(["onnx"])


def test_a_users_file_is_written_anew_for_the_framework(published):
    """No framework parses it, so that nothing but its tensors counts."""
    path = store.open_weights(published).native(["safetensors"])
    assert path != published
    assert converters.read(path).digest == converters.read(published).digest


def test_an_unknown_model_names_the_known_ones(published):
    with pytest.raises(UnknownNameError, match=r"'published'.*no file"):
        store.open_weights("publishd")


@pytest.mark.shared
def test_the_published_files_give_the_tensors_of_the_cards():
    for name in ("aizoo-260", "aizoo-360"):
        model = store.open_weights(name).model()
        assert model.digest == model.card.tensors_sha256
        assert all(
            not np.any((np.abs(values) < 1e-20) & (values != 0))
            for values in model.tensors.values()
        )


def test_every_card_reads_back_and_describes_its_files():
    for name in cards.list_models():
        card = cards.load_card(name)
        assert ModelCard.from_json(card.to_json()) == card
        assert card.source or card.files
        for files in card.files.values():
            for file in files:
                assert sha256_of(cards.weights_folder() / file.name) == file.sha256


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": 1}', "[" * 100_000])
def test_a_damaged_card_is_refused(text):
    with pytest.raises(WeightsError):
        ModelCard.from_json(text)


def test_a_card_with_an_unknown_suppression_is_refused():
    card = dataclasses.replace(cards.load_card("aizoo-260"), nms="fast")
    with pytest.raises(WeightsError, match="nms"):
        ModelCard.from_json(card.to_json())
