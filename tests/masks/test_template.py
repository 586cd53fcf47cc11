from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from facemask_zoo.errors import ImageError, InvalidArgumentError, UnknownNameError
from facemask_zoo.masks import list_templates, load_template
from facemask_zoo.masks.template import LANDMARKS, PATTERNS, chart_points


@pytest.mark.parametrize("name", list_templates())
def test_every_template_covers_nose_mouth_and_chin(name):
    image = load_template(name).render(250)
    assert image.shape == (250, 250, 4)
    for x, y in ((500, 470), (500, 790), (320, 600), (680, 600)):
        assert image[y // 4, x // 4, 3] > 240
    assert image[40, 125, 3] == 0


def test_there_are_at_least_thirteen():
    assert len(list_templates()) >= 13


def test_the_chart_has_a_place_for_every_control_point():
    assert set(chart_points()) == set(LANDMARKS)


@pytest.mark.parametrize("name", list_templates())
def test_straps_can_be_left_out_on_one_side(name):
    whole, half = (load_template(name).render(400, hidden=side)[..., 3] for side in ("", "left"))
    assert half[:, :82].sum(dtype=int) < 0.8 * whole[:, :82].sum(dtype=int)
    np.testing.assert_array_equal(whole[:, 200:], half[:, 200:])


def test_cloth_takes_a_colour():
    plain = load_template("cloth-grey").coloured("#2050d0")
    red, _, blue, alpha = plain.render(250)[150, 110].astype(int)
    assert alpha == 255
    assert blue > red + 100
    assert load_template("cloth-grey").render(250)[150, 110, 2] < blue


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_show_both_colours(pattern):
    image = load_template("surgical-white").coloured("#0000ff", "#ff0000", pattern).render(500)
    cloth = image[250:400, 150:350].reshape(-1, 4).astype(int)
    assert (cloth[:, 2] > cloth[:, 0] + 80).mean() > 0.15
    assert (cloth[:, 0] > cloth[:, 2] + 80).mean() > 0.05


@pytest.mark.parametrize("colour", ["red", "#12345", "#1234567", "url(#a)", "#12345g"])
def test_colours_are_checked(colour):
    with pytest.raises(InvalidArgumentError, match="#rrggbb"):
        load_template("cloth-grey").coloured(colour)


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="surgical-blue"):
        load_template("surgical-blu")
    with pytest.raises(UnknownNameError, match="pattern"):
        load_template("cloth-grey").coloured("#ffffff", pattern="tartan")


@pytest.fixture
def drawing(tmp_path):
    """An RGBA picture with four control points beside it."""
    image = np.zeros((100, 200, 4), np.uint8)
    image[20:80, 40:160] = (10, 200, 30, 255)
    path = tmp_path / "own.png"
    Image.fromarray(image).save(path)
    names = ("jaw-2", "jaw-14", "bridge-1", "jaw-8")
    corners = ([40, 30], [160, 30], [100, 20], [100, 80])
    path.with_suffix(".json").write_text(json.dumps(dict(zip(names, corners, strict=True))))
    return path


def test_a_picture_with_alpha_is_a_template(drawing):
    template = load_template(drawing)
    assert template.render(100).shape == (50, 100, 4)
    assert template.render(100)[25, 50].tolist() == [10, 200, 30, 255]


def test_a_picture_without_alpha_is_not(drawing):
    Image.new("RGB", (20, 10)).save(drawing)
    with pytest.raises(ImageError, match="transparency"):
        load_template(drawing)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", InvalidArgumentError),
        ("[]", InvalidArgumentError),
        ('{"jaw-2": 3}', InvalidArgumentError),
        ('{"jaw-2": [1, 2]}', InvalidArgumentError),
        ('{"jaw-99": [1, 2], "a": [1, 2]}', UnknownNameError),
    ],
)
def test_control_points_are_checked(drawing, text, error):
    drawing.with_suffix(".json").write_text(text)
    with pytest.raises(error):
        load_template(drawing)
