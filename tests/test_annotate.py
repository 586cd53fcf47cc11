"""Annotated pictures: what is drawn can be told apart, read, and hides no face."""

from __future__ import annotations

import itertools

import needs
import numpy as np
import pytest
from PIL import Image

from facemask_zoo import Detections, UnknownNameError
from facemask_zoo.annotate import _STYLES, COLOURS, LANGUAGES, _draw

CLASSES = ("mask", "no_mask", "incorrect")

# Machado, Oliveira and Fernandes (2009): what people without red, green or blue cones see.
COLOUR_BLIND = {
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    "no colours": [[0.299, 0.587, 0.114]] * 3,
}


def crowd(size: tuple[int, int], count: int, seed: int = 0) -> Detections:
    """Faces of many sizes at random places, some of them over each other."""
    rng = np.random.default_rng(seed)
    height = np.minimum(rng.uniform(0.3, 1.6, count) * min(size) / np.sqrt(count + 3), min(size))
    sides = np.stack([height * 0.8, height], axis=1)
    first = rng.uniform(0, 1, (count, 2)) * (np.array(size) - sides)
    boxes = np.concatenate([first, first + sides], axis=1)
    scores = np.sort(rng.uniform(0.4, 1, count))[::-1]
    return Detections(boxes, scores, rng.integers(0, 3, count), CLASSES, size)


def overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


CROWDS = [
    (size, count) for size in [(200, 200), (448, 311), (4000, 3000)] for count in (1, 10, 100)
]


@pytest.mark.parametrize(("size", "count"), CROWDS)
def test_tags_stay_inside_and_apart(size, count):
    faces = crowd(size, count)
    tags = _draw(Image.new("RGB", size), faces, "en", panel=True).tags
    for left, top, right, bottom in tags:
        assert 0 <= left < right < size[0]
        assert 0 <= top < bottom < size[1]
    assert not any(overlap(a, b) for a, b in itertools.combinations(tags, 2))
    for tag in tags:  # at most its own face, and little of it
        covered = [box for box in faces.boxes.tolist() if overlap(tag, box)]
        assert len(covered) <= 1
        for box in covered:
            area = (box[2] - box[0]) * (box[3] - box[1])
            assert (tag[2] - tag[0]) * (tag[3] - tag[1]) < 0.2 * area
    assert tags or size == (200, 200)


def test_a_face_that_fills_the_picture_has_its_tag_inside():
    result = Detections([[0, 0, 300, 300]], [0.9], [0], CLASSES, (300, 300))
    (tag,) = _draw(Image.new("RGB", (300, 300)), result, "en", panel=True).tags
    assert overlap(tag, (0, 0, 300, 300))


def test_tags_give_way_where_faces_are_small():
    small = Detections([[50, 50, 62, 64]], [0.9], [0], CLASSES, (448, 311))
    assert _draw(Image.new("RGB", (448, 311)), small, "en", panel=False).tags == []
    assert len(_draw(Image.new("RGB", (448, 311)), small, "en", panel=True).tags) == 1


@pytest.mark.parametrize("blindness", COLOUR_BLIND)
def test_labels_are_told_apart_by_colour_whoever_looks(blindness):
    matrix = np.array(COLOUR_BLIND[blindness])
    least = 25 if blindness == "no colours" else 60
    for one, other in itertools.combinations(COLOURS.values(), 2):
        assert np.linalg.norm(matrix @ np.subtract(one, other)) > least


def test_labels_are_told_apart_without_any_colour():
    assert set(_STYLES) == set(CLASSES)
    drawings = []
    for label in range(3):
        result = Detections([[20, 20, 32, 32]], [0.9], [label], CLASSES, (60, 60))
        drawn = result.annotate(np.zeros((60, 60, 3), np.uint8), panel=False)
        drawings.append(drawn.any(axis=2))
    for one, other in itertools.combinations(drawings, 2):
        assert (one != other).sum() >= 8


def test_lines_grow_with_the_picture_and_shrink_with_the_face():
    def ink(size: int, face: int) -> int:
        result = Detections([[40, 40, 40 + face, 40 + face]], [0.9], [0], CLASSES, (size, size))
        drawn = result.annotate(np.zeros((size, size, 3), np.uint8), panel=False)
        return int((drawn[40 + face // 2, :, 2] > 100).sum())

    assert ink(4000, 2000) > ink(400, 200) > 0
    assert ink(4000, 2000) > ink(4000, 20) > 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_differ(language):
    if language == "zh":
        needs.module("manimgx_fonts_cjk")
    image = np.zeros((300, 300, 3), np.uint8)
    result = Detections([[50, 100, 250, 280]], [0.9], [1], CLASSES, (300, 300))
    drawn = result.annotate(image, language=language)
    assert drawn.flags.writeable
    if language != "en":
        assert (drawn != result.annotate(image)).any()
    with pytest.raises(UnknownNameError, match="language"):
        result.annotate(image, language="de")


def test_unknown_labels_are_drawn_too():
    result = Detections([[50, 100, 250, 280]], [0.9], [0], ("face_shield",), (300, 300))
    assert result.annotate(np.zeros((300, 300, 3), np.uint8)).any()
    assert not result[[]].annotate(np.zeros((300, 300, 3), np.uint8)).any()
