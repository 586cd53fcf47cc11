"""Silence is the process's: it begins with the first block and ends with the last."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from places import ROOT

from facemask_zoo.quiet import log_silenced, native_stderr_silenced

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")


def _standard_error() -> tuple[int, int]:
    status = os.fstat(2)
    return status.st_dev, status.st_ino


def _log_level() -> int:
    return logging.root.manager.disable


STATES = [(native_stderr_silenced, _standard_error), (log_silenced, _log_level)]
every_silence = pytest.mark.parametrize(
    ("silenced", "state"), STATES, ids=["standard error", "log"]
)


def overlap(silenced: Callable, state: Callable[[], object]) -> list[object]:
    """The state after the second of two blocks has begun, the first has ended, and both have."""
    begun, may_end = threading.Event(), threading.Event()

    def first() -> None:
        with silenced():
            begun.set()
            may_end.wait(30)

    thread = threading.Thread(target=first)
    thread.start()
    begun.wait(30)
    states = []
    with silenced():
        states.append(state())
        may_end.set()
        thread.join()
        states.append(state())
    return [*states, state()]


@every_silence
def test_overlapping_blocks_of_two_threads(silenced, state):
    before = state()
    both, second, none = overlap(silenced, state)
    assert both == second != before
    assert none == before


@every_silence
def test_nested_blocks(silenced, state):
    before = state()
    with silenced():
        with silenced():
            assert state() != before
        assert state() != before
    assert state() == before


@every_silence
def test_an_exception_passes_and_ends_the_silence(silenced, state):
    before = state()
    with pytest.raises(ValueError, match="mine"), silenced():
        raise ValueError("mine")
    assert state() == before


def test_many_threads_leave_everything_as_it_was():
    before = _standard_error(), _log_level(), len(os.listdir("/dev/fd"))

    def work() -> None:
        for _ in range(200):
            with native_stderr_silenced(), log_silenced():
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (_standard_error(), _log_level(), len(os.listdir("/dev/fd"))) == before


def test_a_stricter_log_level_stays():
    logging.disable(logging.ERROR)
    try:
        with log_silenced():
            assert _log_level() == logging.ERROR
        assert _log_level() == logging.ERROR
    finally:
        logging.disable(logging.NOTSET)


def python(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)


def test_a_process_without_standard_error():
    result = python("""
import os
os.close(2)
from facemask_zoo.quiet import native_stderr_silenced
with native_stderr_silenced():
    with native_stderr_silenced():
        pass
try:
    os.fstat(2)
except OSError:
    print("none")
""")
    assert (result.returncode, result.stdout) == (0, "none\n"), result.stderr


@pytest.mark.parametrize("within", [False, True], ids=["another thread", "the thread that forks"])
def test_a_forked_child_is_not_left_silent(within):
    """The other threads are gone in the child; the thread that forked ends its own block."""
    result = python(f"""
import contextlib, os, threading
from facemask_zoo.quiet import native_stderr_silenced
begun, may_end = threading.Event(), threading.Event()
def hold():
    with native_stderr_silenced():
        begun.set()
        may_end.wait(30)
thread = threading.Thread(target=hold)
thread.start()
begun.wait(30)
with native_stderr_silenced() if {within} else contextlib.nullcontext():
    child = os.fork()
    if not child:
        os.write(2, b"first ")
if not child:
    os.write(2, b"second")
    os._exit(0)
os.waitpid(child, 0)
may_end.set()
thread.join()
""")
    assert result.returncode == 0
    assert result.stderr == ("second" if within else "first second")
