from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from facemask_zoo.errors import WeightsError
from facemask_zoo.training import checkpoint
from facemask_zoo.training.checkpoint import load_checkpoint, save_checkpoint

STATE = {"step": 7, "model": {"weight": torch.arange(6.0)}}

# Overwrites one checkpoint again and again until it is killed.
WRITER = """
import sys, torch
from pathlib import Path
from facemask_zoo.training.checkpoint import save_checkpoint
for step in range(10**6):
    save_checkpoint(Path(sys.argv[1]), {"step": step, "model": torch.full((2_000_000,), step)})
"""


def test_round_trip(tmp_path):
    save_checkpoint(tmp_path / "new" / "c.pt", STATE)
    state = load_checkpoint(tmp_path / "new" / "c.pt")
    assert state["step"] == 7
    assert torch.equal(state["model"]["weight"], STATE["model"]["weight"])


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(tmp_path, kept):
    path = tmp_path / "c.pt"
    save_checkpoint(path, STATE)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
    with pytest.raises(WeightsError, match="not a readable checkpoint"):
        load_checkpoint(path)


def test_a_pickle_is_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "executed").touch, ())

    (tmp_path / "c.pt").write_bytes(pickle.dumps({"model": Evil()}))
    with pytest.raises(WeightsError):
        load_checkpoint(tmp_path / "c.pt")
    torch.save({"model": Evil()}, tmp_path / "d.pt")
    with pytest.raises(WeightsError):
        load_checkpoint(tmp_path / "d.pt")
    assert not (tmp_path / "executed").exists()


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "c.pt"
    save_checkpoint(path, STATE)

    def fill_the_disk(state: object, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"step": 8})
    assert load_checkpoint(path)["step"] == 7
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


@pytest.mark.skipif(os.name != "posix", reason="kills with a signal")
def test_a_kill_while_writing_leaves_a_whole_checkpoint(tmp_path):
    path = tmp_path / "c.pt"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    try:
        limit = time.monotonic() + 60
        while not path.exists() and time.monotonic() < limit:
            time.sleep(0.05)
        time.sleep(0.3)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    state = load_checkpoint(path)
    assert (state["model"] == state["step"]).all()
