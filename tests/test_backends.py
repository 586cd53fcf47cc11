"""One battery that every framework passes."""

from __future__ import annotations

import functools
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from make_goldens import FOLDER, ROW_STEP, SEED
from places import ROOT
from seeded import NETWORKS, seeded_batch, seeded_model, signature

from facemask_zoo import DeviceError, WeightsError, model_files
from facemask_zoo.backends import FRAMEWORKS, Backend, Options, find_framework
from facemask_zoo.backends.base import pick_output, to_channels_last
from facemask_zoo.converters.formats import registry
from facemask_zoo.model import Model

LOC_TOLERANCE = 1e-4
SCORE_TOLERANCE = 1e-5


@functools.cache
def model_of(name: str) -> Model:
    return seeded_model(NETWORKS[name], SEED)


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory):
    """Writes a seeded model as a framework's own file, once per session."""
    folder = tmp_path_factory.mktemp("native")

    @functools.cache
    def write(framework: str, name: str) -> tuple[type[Backend], Path]:
        backend = find_framework(framework).backend()
        row = registry.find_format(backend.formats[0])
        path = folder / f"{name}-{framework}{row.suffix}"
        model_files.write(model_of(name), path, row.name)
        return backend, path

    return write


@pytest.fixture(scope="session")
def load(native):
    """Loads a seeded model on a framework, once per session."""

    @functools.cache
    def start(framework: str, name: str) -> Backend:
        backend, path = native(framework, name)
        return backend(path, signature(NETWORKS[name]), Options())

    return start


@pytest.fixture(scope="session")
def outputs(load):
    """Outputs of a framework for three seeded pictures."""

    @functools.cache
    def run(framework: str, name: str):
        return tuple(load(framework, name).forward(seeded_batch(NETWORKS[name], 3)).values())

    return run


@pytest.mark.parametrize("name", NETWORKS)
def test_golden_outputs(framework, name, load):
    path = FOLDER / f"{name}.safetensors"
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata()["digest"] == model_of(name).digest
    golden = safetensors.numpy.load_file(path)
    loc, scores = load(framework, name).forward(seeded_batch(NETWORKS[name], 2)).values()
    assert loc.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(loc[:, ::ROW_STEP], golden["loc"], rtol=0, atol=LOC_TOLERANCE)
    np.testing.assert_allclose(
        scores[:, ::ROW_STEP], golden["scores"], rtol=0, atol=SCORE_TOLERANCE
    )


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("pair", list(itertools.combinations(FRAMEWORKS, 2)), ids="-".join)
def test_every_pair_agrees(pair, name, outputs, need):
    (loc_1, scores_1), (loc_2, scores_2) = (outputs(need(framework), name) for framework in pair)
    np.testing.assert_allclose(loc_1, loc_2, rtol=0, atol=LOC_TOLERANCE)
    np.testing.assert_allclose(scores_1, scores_2, rtol=0, atol=SCORE_TOLERANCE)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_batches_equal_one_by_one(framework, count, load):
    backend = load(framework, "small")
    batch = seeded_batch(NETWORKS["small"], count, seed=count)
    together = list(backend.forward(batch).values())
    for index in range(count):
        alone = list(backend.forward(batch[index : index + 1]).values())
        np.testing.assert_allclose(together[0][index], alone[0][0], rtol=0, atol=LOC_TOLERANCE)
        np.testing.assert_allclose(together[1][index], alone[1][0], rtol=0, atol=SCORE_TOLERANCE)


def test_what_lies_in_a_backends_own_buffer_is_not_copied(framework, load, monkeypatch):
    backend = load(framework, "small")
    batch = seeded_batch(NETWORKS["small"], 2)
    expected = backend.forward(batch)
    buffer = backend.buffer(3)
    buffer[:2] = batch
    seen = []
    run = type(backend)._run
    monkeypatch.setattr(
        type(backend), "_run", lambda self, given: seen.append(given) or run(self, given)
    )
    for name, values in backend.forward(buffer[:2]).items():
        np.testing.assert_array_equal(values, expected[name])
    assert seen[0].ctypes.data == buffer.ctypes.data
    if backend.channels_last:
        assert np.shares_memory(to_channels_last(seen[0]), buffer)
    else:
        assert seen[0].flags.c_contiguous


def test_an_empty_batch_gives_empty_outputs(framework, load):
    network = NETWORKS["small"]
    loc, scores = load(framework, "small").forward(seeded_batch(network, 0)).values()
    assert loc.shape == (0, network.anchor_count, 4)
    assert scores.shape == (0, network.anchor_count, 3)


def test_outputs_are_not_overwritten_by_the_next_call(framework, load):
    backend = load(framework, "small")
    loc, scores = backend.forward(seeded_batch(NETWORKS["small"], 1, seed=1)).values()
    before = loc.copy(), scores.copy()
    backend.forward(seeded_batch(NETWORKS["small"], 1, seed=2))
    np.testing.assert_array_equal(loc, before[0])
    np.testing.assert_array_equal(scores, before[1])


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "cuda:-1", "cuda:x", ""])
def test_a_wrong_device_is_an_error(framework, device, native):
    backend, path = native(framework, "small")
    with pytest.raises(DeviceError, match="device"):
        backend(path, signature(NETWORKS["small"]), Options(device=device))


def test_an_absent_gpu_is_an_error_not_the_cpu(framework, native):
    backend, path = native(framework, "small")
    if "cuda:0" in backend.devices():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError, match="cuda"):
        backend(path, signature(NETWORKS["small"]), Options(device="cuda"))


@pytest.mark.parametrize("threads", [0, -1, 1.5])
def test_wrong_threads_are_an_error(framework, threads, native):
    backend, path = native(framework, "small")
    with pytest.raises(DeviceError, match="threads"):
        backend(path, signature(NETWORKS["small"]), Options(threads=threads))


def test_an_unknown_precision_is_an_error(framework, native):
    backend, path = native(framework, "small")
    with pytest.raises(DeviceError, match="precision"):
        backend(path, signature(NETWORKS["small"]), Options(precision="fp8"))


def test_one_thread_gives_the_same_answer(framework, native, outputs, tmp_path):
    """In a process of its own: some frameworks fix their threads when they start."""
    _, path = native(framework, "small")
    target = tmp_path / "loc.npy"
    program = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import numpy as np
from facemask_zoo.backends import Options, find_framework
from seeded import NETWORKS, seeded_batch, signature
network = NETWORKS["small"]
kind = find_framework({framework!r}).backend()
backend = kind(Path({str(path)!r}), signature(network), Options(threads=1))
loc, scores = backend.forward(seeded_batch(network, 3)).values()
np.save({str(target)!r}, loc)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
    loc = outputs(framework, "small")[0]
    np.testing.assert_allclose(np.load(target), loc, rtol=0, atol=LOC_TOLERANCE)


def test_a_damaged_file_is_refused(framework, native, tmp_path):
    backend, path = native(framework, "small")
    for companion in path.parent.glob(f"{path.stem}*"):
        content = companion.read_bytes()
        (tmp_path / companion.name).write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError):
        backend(tmp_path / path.name, signature(NETWORKS["small"]), Options())


def test_outputs_are_found_by_name():
    assert pick_output(["b", "loc_1/concat:0"], "loc") == "loc_1/concat:0"
    assert pick_output(["loc", "loc_2"], "loc") == "loc"
    with pytest.raises(WeightsError, match="Expected one output"):
        pick_output(["a", "b"], "loc")


def test_the_table_knows_what_each_backend_loads(framework):
    """Which formats concern a framework is asked before it is imported."""
    row = find_framework(framework)
    backend = row.backend()
    assert {*backend.formats, *backend.own_formats} <= set(row.formats)
    assert set(row.formats) <= set(registry.FORMATS)


def test_pytorch_loads_our_state_dict(need, tmp_path):
    backend = find_framework(need("pytorch")).backend()
    model_files.write(model_of("small"), tmp_path / "model.pt", "pytorch")
    loaded = backend(tmp_path / "model.pt", signature(NETWORKS["small"]), Options())
    for name, values in loaded.module.state_dict().items():
        np.testing.assert_array_equal(values.numpy(), model_of("small").tensors[name])
    (tmp_path / "model.pt").write_bytes((tmp_path / "model.pt").read_bytes()[:-1000])
    with pytest.raises(WeightsError):
        backend(tmp_path / "model.pt", signature(NETWORKS["small"]), Options())


def test_signals_are_handled_after_openvino_is_gone(need):
    """Its plug-in sets a stack for signals, and used to free it while it was still set."""
    need("openvino")
    program = """
import gc, os, signal
import numpy as np
from facemask_zoo import Detector
for _ in range(2):
    detector = Detector.load("zoo-260", framework="openvino")
    detector.forward(np.zeros((1, 3, 260, 260), np.float32))
del detector
gc.collect()
blocks = [bytearray(100_000) for _ in range(50)]
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert (result.returncode, result.stdout) == (0, "handled\n"), result.stderr
