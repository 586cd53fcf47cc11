"""Shipped files: made by one command, and all the same network."""

from __future__ import annotations

import dataclasses

import pytest
from seeded import SMALL, seeded_batch, seeded_model

from facemask_zoo import OutputError, UnknownNameError, cards, list_frameworks, model_files, store
from facemask_zoo.backends import Options
from facemask_zoo.converters import shipping
from facemask_zoo.converters.formats import registry
from facemask_zoo.files import sha256_of
from facemask_zoo.graph.signature import Signature

SHIPPED = [name for name in cards.list_models() if cards.load_card(name).files]
# Keras stores the time of writing, OpenVINO names from a counter of its own.
NOT_REPRODUCIBLE = (".keras", ".xml")


def reproducible(files):
    return [file for file in files if not file.name.endswith(NOT_REPRODUCIBLE)]


@pytest.fixture
def folder(tmp_path):
    model = seeded_model(SMALL, 4)
    canonical = tmp_path / "seeded" / "safetensors" / "seeded.safetensors"
    model_files.write(model, canonical, "safetensors")
    (tmp_path / "seeded.json").write_text(model.card.to_json())
    return tmp_path


def test_what_ships_is_canonical_and_onnx(folder):
    card = shipping.build("seeded", folder)
    assert tuple(card.files) == shipping.SHIPPED
    assert cards.ModelCard.from_json((folder / "seeded.json").read_bytes()) == card


def test_every_framework_loads_what_is_exported(folder, tmp_path, need):
    for row in list_frameworks():
        need(row.name)
    model = model_files.read(folder / "seeded" / "safetensors" / "seeded.safetensors")
    target = tmp_path / "exported"
    mains = shipping.export(model, target)
    assert {path.parent.name for path in mains} == set(shipping.native_formats())
    listed = dict(
        reversed(line.split("  ")) for line in (target / shipping.SUMS).read_text().splitlines()
    )
    files = [path for path in target.rglob("*") if path.is_file() and path.name != shipping.SUMS]
    assert listed == {path.relative_to(target).as_posix(): sha256_of(path) for path in files}
    for row in list_frameworks():
        kind = row.backend()
        (path,) = (each for each in mains if each.parent.name == kind.formats[0])
        kind(path, Signature.of(model.graph), Options()).forward(seeded_batch(SMALL, 1))
    with pytest.raises(OutputError):
        shipping.export(model, target)
    shipping.export(model, target, ["onnx"], overwrite=True)


def test_rebuilding_gives_the_same_files(folder):
    first, second = (shipping.build("seeded", folder) for _ in range(2))
    for name, files in first.files.items():
        assert reproducible(files) == reproducible(second.files[name])


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_hold_the_tensors_of_the_card(name):
    card = cards.load_card(name)
    for kind in card.files:
        path = store.Weights(card).native([kind])
        if registry.find_format(kind).reads:
            assert model_files.read(path).digest == card.tensors_sha256, kind


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_rebuilt_bit_for_bit(name, tmp_path):
    card = cards.load_card(name)
    model = dataclasses.replace(store.open_weights(name).model(), card=card)
    for kind, files in card.files.items():
        made = shipping._write(model, kind, tmp_path)
        assert reproducible(made) == reproducible(files)


def test_an_export_that_cannot_be_whole_writes_nothing(tmp_path):
    model, theirs = seeded_model(SMALL, 3), b"theirs"
    for formats in (("safetensors", "onyx"), ("safetensors", "onnx")):
        blocked = tmp_path / "onnx" / f"{model.card.name}.onnx"
        blocked.parent.mkdir(exist_ok=True)
        blocked.write_bytes(theirs)
        with pytest.raises((UnknownNameError, OutputError)):
            shipping.export(model, tmp_path, formats)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [blocked]
        assert blocked.read_bytes() == theirs


def listed(folder):
    lines = (folder / shipping.SUMS).read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def digests(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != shipping.SUMS]
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def test_a_second_export_keeps_the_lines_of_the_first(tmp_path):
    model = seeded_model(SMALL, 3)
    shipping.export(model, tmp_path, ["safetensors"])
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "notes.txt").write_text("theirs")
    shipping.export(model, tmp_path, ["onnx"])
    expected = digests(tmp_path)
    assert expected.pop("onnx/notes.txt")
    assert listed(tmp_path) == expected
    shipping.export(seeded_model(SMALL, 4), tmp_path, ["onnx"], overwrite=True)
    assert listed(tmp_path).items() < digests(tmp_path).items()
    assert len(listed(tmp_path)) == 2


def test_a_list_that_is_none_of_ours_is_not_replaced(tmp_path):
    sums = tmp_path / shipping.SUMS
    sums.write_text("theirs\n")
    with pytest.raises(OutputError):
        shipping.export(seeded_model(SMALL, 3), tmp_path, ["safetensors"])
    assert digests(tmp_path) == {}
    assert sums.read_text() == "theirs\n"


def test_a_companion_in_the_way_leaves_nothing_half_done(tmp_path):
    model = seeded_model(SMALL, 3)
    blocked = tmp_path / "ncnn" / f"{model.card.name}.bin"
    blocked.parent.mkdir()
    blocked.write_bytes(b"theirs")
    with pytest.raises(OutputError, match="exists already"):
        shipping.export(model, tmp_path, ["safetensors", "ncnn"])
    assert list(digests(tmp_path)) == [f"ncnn/{blocked.name}"]
