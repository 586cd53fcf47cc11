"""Backends that are shared: by threads, by forked children, and files by processes."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from first_use import answers_of
from places import ROOT
from seeded import NETWORKS, seeded_batch, seeded_model, signature

from facemask_zoo import DeviceError, model_files
from facemask_zoo.backends import FRAMEWORKS, Backend, Options, find_framework
from facemask_zoo.backends.base import Batch, Outputs
from facemask_zoo.backends.threads import MAX_THREADS, ProcessThreads, thread_count
from facemask_zoo.converters.formats import registry

NETWORK = NETWORKS["small"]
THREADS = 8
PROCESSES = 2
INPUTS = 36
FORKS = 10
TOLERANCE = 1e-6
NOT_FORKED = "does not work in one forked"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Loads a seeded model on a framework."""
    folder = tmp_path_factory.mktemp("sharing")

    def load(framework: str, options: Options = Options()) -> Backend:  # noqa: B008
        backend = find_framework(framework).backend()
        row = registry.find_format(backend.formats[0])
        path = folder / f"{framework}{row.suffix}"
        if not path.exists():
            model_files.write(seeded_model(NETWORK, 1), path, row.name)
        return backend(path, signature(NETWORK), options)

    return load


def test_threads_that_share_a_backend_get_the_answers_of_one(framework, start):
    backend = start(framework)
    inputs = [seeded_batch(NETWORK, 1 + index % 3, seed=index) for index in range(INPUTS)]
    alone = [backend.forward(batch) for batch in inputs]
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(backend.forward, inputs * 3))
    for got, want in zip(together, alone * 3, strict=True):
        for name, expected in want.items():
            np.testing.assert_allclose(got[name], expected, rtol=0, atol=TOLERANCE)


class _Overlapping(Backend):
    """Records whether calls of `_run` overlap."""

    formats = ("safetensors",)
    seconds = 1

    @classmethod
    def version(cls) -> str:
        return "1"

    def _load(self, path: Path) -> None:
        self.barrier = threading.Barrier(2)

    def _run(self, batch: Batch) -> Outputs:
        self.barrier.wait(self.seconds)
        return {s.name: np.zeros((1, *s.shape), np.float32) for s in self.signature.outputs}


class _ThreadSafe(_Overlapping):
    thread_safe = True
    seconds = 60


def test_a_backend_is_locked_unless_it_says_that_it_is_thread_safe():
    batches = [seeded_batch(NETWORK, 1)] * 2
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_ThreadSafe(Path(), signature(NETWORK), Options()).forward, batches))
        with pytest.raises(threading.BrokenBarrierError):
            list(pool.map(_Overlapping(Path(), signature(NETWORK), Options()).forward, batches))


def test_inference_does_not_touch_standard_error(framework, start, monkeypatch):
    """It belongs to the whole process, whose other threads may have something to say."""
    backend = start(framework)
    touched = []
    duplicate = os.dup2
    monkeypatch.setattr(os, "dup2", lambda *args: touched.append(args) or duplicate(*args))
    for count in (1, 3, 2):
        backend.forward(seeded_batch(NETWORK, count))
    assert not touched


def test_processes_that_start_at_once_share_an_empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEMASK_ZOO_CACHE", str(tmp_path / "cache"))
    names = [name for name, row in FRAMEWORKS.items() if row.installed]
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager:
        barrier = manager.Barrier(PROCESSES)
        with ProcessPoolExecutor(PROCESSES, mp_context=spawn) as pool:
            tasks = [pool.submit(answers_of, names, barrier) for _ in range(PROCESSES)]
            first, *others = [task.result(timeout=300) for task in tasks]
    assert set(first) == set(names)
    for other in others:
        for name in names:
            for side, expected in zip(other[name], first[name], strict=True):
                np.testing.assert_allclose(side, expected, rtol=0, atol=1e-5, err_msg=name)


_FORK = """
import os, sys, time
import numpy as np
from facemask_zoo import Detector, DeviceError
detector = Detector.load("zoo-260", framework=sys.argv[1], threads=int(sys.argv[2]) or None)
batch = np.ones((1, 3, 260, 260), np.float32)
before = detector.forward(batch)[0]
for _ in range(int(sys.argv[3])):
    detector.forward(batch)
    child = os.fork()
    if not child:
        try:
            after = detector.forward(batch)[0]
            os._exit(0 if np.allclose(before, after, rtol=0, atol=1e-5) else 1)
        except DeviceError as error:
            sys.stdout.write(str(error))
            sys.stdout.flush()
            os._exit(2)
    for _ in range(300):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9)
        os._exit(3)
    if status:
        os._exit(os.waitstatus_to_exitcode(status))
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_answers_or_is_told_why_not(framework):
    """OpenCV's pool of threads made one child in forty hang."""
    fork_safe = find_framework(framework).backend().fork_safe
    command = [sys.executable, "-c", _FORK, framework, "2", str(FORKS if fork_safe else 1)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    if fork_safe:
        assert result.returncode == 0, result.stderr
    else:
        assert (result.returncode, NOT_FORKED in result.stdout) == (2, True), result.stderr


_FORK_DURING_A_CALL = """
import os, threading, time
import numpy as np
from facemask_zoo import Detector
detector = Detector.load("zoo-260", framework="tflite")
batch = np.ones((1, 3, 260, 260), np.float32)
taken, may_end = threading.Event(), threading.Event()
def call():
    with detector.backend._lock:
        taken.set()
        may_end.wait(60)
thread = threading.Thread(target=call)
thread.start()
taken.wait(60)
child = os.fork()
if not child:
    detector.forward(batch)
    os._exit(0)
may_end.set()
for _ in range(600):
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        os._exit(os.waitstatus_to_exitcode(status))
    time.sleep(0.1)
os.kill(child, 9)
os._exit(3)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_during_a_call_does_not_wait_for_ever(need):
    need("tflite")
    command = [sys.executable, "-c", _FORK_DURING_A_CALL]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, MAX_THREADS + 1, 10**6, np.int64(-1)])
def test_wrong_numbers_of_threads(threads):
    with pytest.raises(DeviceError, match="threads: expected"):
        thread_count(threads)


def test_numbers_of_threads_of_any_integer_type(start, need):
    for kind in (int, np.int8, np.uint64):
        assert type(thread_count(kind(2))) is int
    backend = start(need("onnx"), Options(threads=np.int32(2)))
    assert backend.options == dataclasses.replace(Options(), threads=2)


def test_a_number_for_the_whole_process_is_that_of_the_first_who_asks():
    class Holder:
        pass

    applied: list[int] = []
    threads = ProcessThreads("Framework", applied.append)
    first, second, third = Holder(), Holder(), Holder()
    threads.hold(first, 2)
    threads.hold(second, 2)
    threads.hold(third, None)
    with pytest.raises(DeviceError, match=r"asked for 3, but .* uses 2"):
        threads.hold(third, 3)
    assert set(applied) == {2}
    del first, second
    threads.hold(third, 3)
    assert applied[-1] == 3


@pytest.mark.parametrize("name", ["opencv", "pytorch", "mxnet"])
def test_two_backends_that_ask_for_different_threads(name, start, need):
    first = start(need(name), Options(threads=1))
    batch = seeded_batch(NETWORK, 2)
    with pytest.raises(DeviceError, match="for the whole process"):
        start(name, Options(threads=2))
    same, any_number = start(name, Options(threads=1)), start(name)
    wanted, _ = first.forward(batch).values()
    loc, _ = same.forward(batch).values()
    np.testing.assert_allclose(loc, wanted, atol=1e-6)
    del first, same, any_number
    start(name, Options(threads=2)).forward(batch)
