"""docs/data.md names what there is, and its snippet runs."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image
from places import ROOT

from facemask_zoo.datasets import FORMATS, WRITERS, Dataset, Face, Picture, read, write
from facemask_zoo.datasets.origins import ORIGINS

PAGE = (ROOT / "docs" / "data.md").read_text()


def test_every_format_and_set_has_a_row():
    rows = dict(re.findall(r"^\| `([\w-]+)` \|(.*)\|$", PAGE, re.MULTILINE))
    for name in FORMATS:
        assert name in rows
        if name not in ORIGINS:
            assert rows[name].rstrip().endswith("yes") == (name in WRITERS)
    for name, origin in ORIGINS.items():
        assert name in rows
        assert origin.url in PAGE


def test_the_snippet_runs(tmp_path, monkeypatch, capsys):
    pictures = []
    for number in range(10):
        path = tmp_path / "in" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((30, 40, 3), number, np.uint8)).save(path)
        pictures.append(Picture(path, (40, 30), (Face((1, 1, 9, 9), "mask"),)))
    write(Dataset(tmp_path / "in", tuple(pictures)), tmp_path / "out")
    (tmp_path / "out" / "annotations.json").rename(tmp_path / "val.json")
    (tmp_path / "out" / "images").rename(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    found = {}
    exec(code, found)
    assert "10 pictures" in capsys.readouterr().out
    assert found["problems"] == []
    assert len(read("val-yolo")) == 2
