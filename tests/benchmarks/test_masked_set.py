"""The set of MaskedFace-Net's layout at a small scale: killed midway, resumed, and read back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import needs
import numpy as np
import pytest
from places import PICTURES, ROOT

from facemask_zoo.benchmarks import masked_set
from facemask_zoo.datasets.landmarks import LEFT_EYE, check_points, pose_of
from facemask_zoo.datasets.pictures import list_pictures
from facemask_zoo.datasets.wearing import Wearing
from facemask_zoo.errors import OutputError
from facemask_zoo.masks import PtsLandmarker

for _name in ("cv2", "resvg_py", "defusedxml"):
    needs.module(_name)
psutil = needs.module("psutil")


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(
        f"before\n<!-- {masked_set.SECTION} -->\n<!-- /{masked_set.SECTION} -->\nafter\n"
    )
    return path


def test_sixty_pictures_survive_a_kill_and_have_the_shares(tmp_path, page, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = ["--output", tmp_path / "set", "--count", 60, "--side", 128, "--timed", 4]
    words += ["--portrait", PICTURES / "astronaut.jpg", "--write", page, "--kill-at", 20]
    masked_set.main([str(word) for word in words])
    text = page.read_text()
    assert text.startswith("before\n")
    assert "60 pictures, killed at 2" in text
    for row in ("correct | CMFD/ | 29", "nose-bare | IMFD/ | 25", "chin-bare | IMFD/ | 3"):
        assert row in text
    for stage in ("decode", "render the template", "fit and warp", "encode", "write"):
        assert f"| {stage} |" in text


def test_a_set_that_lacks_a_picture_is_seen(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    masked_set.make_faces(PICTURES / "astronaut.jpg", tmp_path / "faces", 4, 128)
    masked_set.kill_and_resume(tmp_path / "faces", tmp_path / "out", 99, 1)
    assert set(masked_set.check_set(tmp_path / "faces", tmp_path / "out", 4)) <= set(Wearing)
    next((tmp_path / "out").rglob("*.jpg")).unlink()
    with pytest.raises(OutputError, match="read back"):
        masked_set.check_set(tmp_path / "faces", tmp_path / "out", 4)


def test_views_have_their_landmarks(tmp_path):
    masked_set.make_faces(PICTURES / "astronaut.jpg", tmp_path / "faces", 12, 128)
    mirrored = 0
    for path in sorted((tmp_path / "faces").glob("*.jpg")):
        (points,) = PtsLandmarker().find(np.zeros((1, 1, 3), np.uint8), path=path)
        assert check_points(points).min() >= 0
        assert points.max() <= 128
        assert abs(pose_of(points).roll) < 0.6
        assert points[LEFT_EYE].mean(0)[0] < points[42:48].mean(0)[0]
        mirrored += points[0, 0] > points[16, 0]
    assert mirrored == 0


def test_workers_end_when_their_parent_is_killed(tmp_path):
    """Without that, each kill would leave processes that wait for ever."""
    masked_set.make_faces(PICTURES / "astronaut.jpg", tmp_path / "faces", 12, 128)
    words = [sys.executable, "-m", "facemask_zoo", "mask", tmp_path / "faces", tmp_path / "out"]
    words += ["--landmarks", "pts", "--workers", "2"]
    process = subprocess.Popen(
        [*map(str, words)], env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not list_pictures(tmp_path / "out"):
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=120)
    assert not alive
