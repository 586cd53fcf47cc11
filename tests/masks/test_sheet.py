"""A sheet shows each template in each way, and only inside of its frame."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from places import PICTURES

from facemask_zoo import cli
from facemask_zoo.errors import InvalidArgumentError, UnknownNameError
from facemask_zoo.masks import draw_sheet, list_templates

TEMPLATES = ("surgical-blue", "bandana", "surgical-blue")


def test_rows_are_ways_and_columns_are_templates(head, points):
    sheet = draw_sheet(head, points, templates=TEMPLATES, tile=64)
    height = sheet.shape[0] // 4
    assert sheet.shape == (4 * height, 3 * 64, 3)
    rows = sheet.reshape(4, height, 3, 64, 3).astype(int)
    assert np.array_equal(rows[:, :, 0], rows[:, :, 2])
    assert not np.array_equal(rows[:, :, 0], rows[:, :, 1])
    differences = [np.abs(rows[0, :, 0] - rows[row, :, 0]).mean() for row in (1, 2, 3)]
    assert min(differences) > 1


def test_a_face_at_the_edge_is_framed_inside_the_picture(head, points):
    sheet = draw_sheet(head[:, 70:], points - [70, 0], templates=TEMPLATES[:1], tile=64)
    assert sheet.shape[1] == 64


def test_bad_calls(head, points):
    with pytest.raises(InvalidArgumentError, match="tile"):
        draw_sheet(head, points, tile=4)
    with pytest.raises(UnknownNameError, match="template"):
        draw_sheet(head, points, templates=["gold"])
    with pytest.raises(InvalidArgumentError, match="outside"):
        draw_sheet(head, points + 5000, templates=TEMPLATES)
    with pytest.raises(InvalidArgumentError, match="68"):
        draw_sheet(head, points[:5])


def test_the_command_writes_one_picture_and_replaces_none(tmp_path):
    words = ["mask", str(PICTURES / "astronaut.jpg"), str(tmp_path / "sheet.png"), "--sheet"]
    words += ["--landmarks", "pts", "--template", "cloth-grey", "--template", "kn95-white"]
    assert cli.main(words) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] == 2 * 114
    assert cli.main(words) == 1
    words[2] = str(tmp_path / "sheet.txt")
    assert cli.main(words) == 1


def test_the_picture_of_the_documentation_shows_every_template():
    with Image.open(PICTURES / "masks.jpg") as sheet:
        assert sheet.size[0] == 114 * len(list_templates())
