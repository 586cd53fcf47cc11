"""Processes of one machine, and what becomes of a run when they are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT
from process import die

from facemask_zoo import EngineError
from facemask_zoo.batch import local
from facemask_zoo.batch.local import LocalEngine
from facemask_zoo.batch.run import run
from facemask_zoo.batch.staging import staging_folder


@pytest.fixture(scope="module")
def expected(shards, loading, rows, tmp_path_factory):
    """Rows of one run without a disturbance."""
    target = tmp_path_factory.mktemp("once") / "results.parquet"
    run([shards], target, LocalEngine(2), loading=loading)
    return rows(target)


@pytest.fixture(scope="module")
def seconds(shards, loading, tmp_path_factory):
    """How long the command takes."""
    target = tmp_path_factory.mktemp("timed") / "results.parquet"
    began = time.monotonic()
    assert start(shards, target, loading).wait(300) == 0
    return time.monotonic() - began


def words(shards, target, loading):
    command = [sys.executable, "-m", "facemask_zoo", "batch", str(shards), "--out", str(target)]
    options = ["--workers", "2", "--conf", str(loading["conf"])]
    return [*command, "--model", loading["model"], "--framework", "onnx", *options]


def start(*arguments):
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words(*arguments), env=variables, stderr=subprocess.PIPE, text=True)


def children(pid: int) -> list[int]:
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def kill_workers(once):
    """A report that kills the children that work, the first time alone."""

    def report(_):
        if not once:
            once.extend(children(os.getpid()))
            for pid in once:
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    return report


def test_rows_are_those_of_one_process(expected, shards, here, loading, rows, tmp_path):
    run([shards], tmp_path / "results.parquet", here, loading=loading)
    assert rows(tmp_path / "results.parquet") == expected


def test_workers_that_are_killed_are_replaced(expected, shards, loading, rows, tmp_path):
    target, killed = tmp_path / "results.parquet", []
    run([shards], target, LocalEngine(2), loading=loading, report=kill_workers(killed))
    assert killed
    assert rows(target) == expected


def test_workers_that_die_over_and_over_end_the_run(shards, loading, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "_serve", die)
    target = tmp_path / "results.parquet"
    with pytest.raises(EngineError, match=r"died 3 times \(exit code 7\).*shard-000000"):
        run([shards], target, LocalEngine(1), loading=loading)
    assert not target.exists()


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.scale)])
def test_a_run_that_is_killed_at_any_moment_goes_on(
    kills, expected, seconds, shards, loading, rows, tmp_path
):
    seed = time.time_ns()
    chance = random.Random(seed)
    target = tmp_path / "results.parquet"
    for _ in range(kills):
        process = start(shards, target, loading)
        try:
            process.wait(chance.uniform(0.1, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            assert_killed(process)
        else:
            assert process.returncode == 0, process.stderr.read()
        if target.exists():
            assert rows(target) == expected, f"seed {seed}"
            target.unlink()
    process = start(shards, target, loading)
    assert process.wait(120) == 0, process.stderr.read()
    assert rows(target) == expected, f"seed {seed}"
    assert not staging_folder(target).exists()


def assert_killed(process):
    """Its workers end with it."""
    workers = children(process.pid)
    process.kill()
    process.wait(120)
    until = time.monotonic() + 120
    while any(map(is_running, workers)):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_ctrl_c_ends_it_and_keeps_what_is_done(shards, loading, tmp_path, rows, expected):
    target = tmp_path / "results.parquet"
    process = start(shards, target, loading)
    while not list(staging_folder(target).glob("part-*.parquet")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) in (0, 130)
    assert "Traceback" not in process.stderr.read()
    if not target.exists():
        run([shards], target, LocalEngine(1), loading=loading)
    assert rows(target) == expected
