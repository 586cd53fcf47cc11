"""Every example of docs/results.md runs as it stands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from fractions import Fraction

import needs
import pytest
from places import PICTURES, ROOT

from facemask_zoo import cli
from facemask_zoo.images import load_image
from facemask_zoo.video_writer import VideoWriter

PAGE = (ROOT / "docs" / "results.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the page speaks of."""
    needs.package("av")
    folder = tmp_path_factory.mktemp("page")
    picture = PICTURES / "demo.jpg"
    (folder / "street.jpg").write_bytes(picture.read_bytes())
    (folder / "album").mkdir()
    for name in ("one.jpg", "two.jpg"):
        (folder / "album" / name).write_bytes(picture.read_bytes())
    with VideoWriter(folder / "gate.mp4", Fraction(10)) as writer:
        for _ in range(20):
            writer.write(load_image(picture))
    return folder


@pytest.mark.parametrize("line", COMMANDS)
def test_commands(line, folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = shlex.split(line)
    assert words[0] == "facemask-zoo"
    assert cli.main([*words[1:], "--framework", "onnx"]) == 0
    for option in ("--output", "--csv", "--coco", "--yolo", "--voc", "--crops"):
        if option in words:
            assert (folder / words[words.index(option) + 1]).exists()


@pytest.mark.parametrize("code", SNIPPETS, ids=range(len(SNIPPETS)))
def test_snippets(code, folder):
    for name in ("pandas", "supervision"):
        needs.package(name)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
