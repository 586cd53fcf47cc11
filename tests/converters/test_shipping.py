"""Shipped files: made by one command, and all the same network."""

from __future__ import annotations

import dataclasses

import pytest
from seeded import SMALL, seeded_model

from facemask_zoo import Detector, cards, converters, list_frameworks, store
from facemask_zoo.converters import shipping

SHIPPED = [name for name in cards.list_models() if cards.load_card(name).files]
# Keras stores the time of writing, OpenVINO names from a counter of its own.
NOT_REPRODUCIBLE = (".keras", ".xml")


def reproducible(files):
    return [file for file in files if not file.name.endswith(NOT_REPRODUCIBLE)]


@pytest.fixture
def folder(tmp_path):
    model = seeded_model(SMALL, 4)
    canonical = tmp_path / "seeded" / "safetensors" / "seeded.safetensors"
    converters.write(model, canonical, "safetensors")
    (tmp_path / "seeded.json").write_text(model.card.to_json())
    return tmp_path


def test_every_framework_finds_its_file_without_converting(folder, monkeypatch, need):
    for row in list_frameworks():
        need(row.name)
    card = shipping.build("seeded", folder)
    assert cards.ModelCard.from_json((folder / "seeded.json").read_bytes()) == card
    monkeypatch.setattr(cards, "_cards", lambda: {"seeded": card})
    monkeypatch.setattr(store, "weights_folder", lambda: folder)
    monkeypatch.setattr(store, "_converted", lambda *_: pytest.fail("a shipped file was converted"))
    for row in list_frameworks():
        assert Detector.load("seeded", framework=row.name).framework == row.name


def test_rebuilding_gives_the_same_files(folder):
    first, second = (shipping.build("seeded", folder) for _ in range(2))
    for name, files in first.files.items():
        assert reproducible(files) == reproducible(second.files[name])


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_hold_the_tensors_of_the_card(name):
    card = cards.load_card(name)
    for kind in card.files:
        path = store.Weights(card).native([kind])
        if converters.find_format(kind).reads:
            assert converters.read(path).digest == card.tensors_sha256, kind


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_rebuilt_bit_for_bit(name, tmp_path):
    card = cards.load_card(name)
    model = dataclasses.replace(store.open_weights(name).model(), card=card)
    for kind, files in card.files.items():
        made = shipping._write(model, kind, tmp_path)
        assert reproducible(made) == reproducible(files)
