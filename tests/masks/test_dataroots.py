"""dataroots' placement: the figures of the original, and what its mistake was."""

from __future__ import annotations

import numpy as np
import pytest

from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.masks.dataroots import placement, put_on_like_dataroots

# nose, chin, left, right -> height, halves, turned size, corner
GOLDENS = [
    ((100, 80), (100, 180), (50, 120), (150, 120), 100, (60, 60), (124, 104), (38, 78)),
    ((100, 80), (110, 180), (40, 120), (150, 120), 100, (75, 54), (133, 104), (29, 78)),
    ((210, 150), (190, 300), (130, 210), (300, 205), 151, (85, 115), (206, 157), (111, 147)),
]


def landmarks(nose, chin, left, right):
    points = np.tile(np.array(nose, float), (68, 1))
    points[[28, 8, 2, 14]] = [nose, chin, left, right]
    return points


@pytest.mark.parametrize(
    ("nose", "chin", "left", "right", "height", "halves", "size", "corner"), GOLDENS
)
def test_the_placement_is_that_of_the_original(
    nose, chin, left, right, height, halves, size, corner
):
    found = placement(landmarks(nose, chin, left, right))
    assert (found.height, (found.left, found.right)) == (height, halves)
    assert (found.size, found.corner) == (size, corner)


@pytest.fixture
def template():
    """A drawing with a red left and a green right half."""
    image = np.zeros((40, 60, 4), np.uint8)
    image[:, :30], image[:, 30:] = (255, 0, 0, 255), (0, 255, 0, 255)
    return image


def middle_column(image, row):
    """Where red turns into green, in one row."""
    (columns,) = np.nonzero(image[row, :, 1] > 127)
    return columns[0]


@pytest.mark.parametrize(("compatible", "lean"), [(True, 0), (False, 20)])
def test_only_the_corrected_mask_turns_with_the_head(template, compatible, lean):
    points = landmarks((100, 80), (140, 180), (60, 130), (170, 100))
    canvas = np.zeros((260, 260, 3), np.uint8)
    image = put_on_like_dataroots(canvas, points, template, compatible=compatible)
    shift = middle_column(image, 155) - middle_column(image, 105)
    assert shift == pytest.approx(lean, abs=2)


def test_the_corrected_mask_has_its_seam_on_the_line_from_nose_to_chin(template):
    points = landmarks((100, 80), (140, 180), (60, 130), (170, 100))
    canvas = np.zeros((260, 260, 3), np.uint8)
    image = put_on_like_dataroots(canvas, points, template, compatible=False)
    assert middle_column(image, 130) == pytest.approx(120, abs=2)


def test_what_has_no_extent_is_refused(template):
    canvas = np.zeros((260, 260, 3), np.uint8)
    with pytest.raises(InvalidArgumentError, match="empty"):
        placement(landmarks((100, 80), (100, 180), (100, 120), (150, 120)))
    with pytest.raises(InvalidArgumentError, match="template"):
        put_on_like_dataroots(canvas, landmarks(*GOLDENS[0][:4]), template[..., :3])
