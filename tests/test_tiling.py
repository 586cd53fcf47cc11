"""Windows over large pictures, and one answer from all of them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from PIL import Image

from facemask_zoo import Detections, Detector, InvalidArgumentError
from facemask_zoo.tiling import merge, windows

FACE = 20
CLASSES = ("mask", "no_mask")


def result(size, *boxes, scores=None):
    scores = scores or [0.9] * len(boxes)
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(corners, scores, [0] * len(boxes), CLASSES, size, speed={"inference": 2.0})


@pytest.mark.parametrize("size", [(4000, 3000), (1001, 333), (333, 1001), (257, 256), (10, 900)])
def test_every_face_is_whole_in_a_window_in_which_it_is_not_small(size, rng):
    side = 256
    places = np.array(windows(size, side))
    assert (places[:, :2] >= 0).all()
    assert (places[:, 2:] <= size).all()
    for _ in range(300):
        face = rng.integers(5, max(6, min(size)), endpoint=True)
        left, top = (rng.integers(0, max(1, length - face)) for length in size)
        box = np.array([left, top, left + face, top + face])
        whole = (places[:, :2] <= box[:2]).all(axis=1) & (places[:, 2:] >= box[2:]).all(axis=1)
        widest = (places[whole, 2:] - places[whole, :2]).max(axis=1)
        assert widest.min() <= max(side, 8 * face)


def test_a_small_picture_is_one_window():
    assert windows((200, 100), 256) == [(0, 0, 200, 100)]


def test_a_face_that_a_window_cuts_is_left_to_the_next():
    places = [(0, 0, 100, 100), (75, 0, 175, 100)]
    cut, whole = result((100, 100), (85, 40, 100, 60)), result((100, 100), (10, 40, 30, 60))
    merged = merge([cut, whole], places, (175, 100), 0.4)
    assert merged.boxes.tolist() == [[85, 40, 105, 60]]
    assert merged.image_size == (175, 100)
    assert merged.speed == {"inference": 4.0}


def test_a_face_at_the_edge_of_the_picture_stays():
    merged = merge([result((100, 100), (0, 0, 20, 20))], [(0, 0, 100, 100)], (100, 100), 0.4)
    assert len(merged) == 1


def test_of_a_face_and_a_part_of_it_the_better_stays():
    places = [(0, 0, 100, 100), (0, 0, 100, 100)]
    parts = result((100, 100), (10, 10, 50, 30), (60, 60, 80, 80), scores=[0.6, 0.8])
    face = result((100, 100), (10, 10, 50, 55))
    merged = merge([parts, face], places, (100, 100), 0.4)
    assert merged.boxes.tolist() == [[10, 10, 50, 55], [60, 60, 80, 80]]
    assert merged.scores.tolist() == pytest.approx([0.9, 0.8])


def crowd(portrait, rng, count):
    """12 megapixels with faces of 20 pixels, and where they are."""
    with Image.open(portrait) as image:
        people = image.convert("RGB")
    face = Detector.load("zoo-260").detect(np.asarray(people)).boxes[0]
    scale = FACE / float(max(face[2:] - face[:2]))
    small = np.asarray(people.resize([round(side * scale) for side in people.size]))
    shade = np.linspace(90, 160, 4000, dtype=np.uint8)
    canvas = np.broadcast_to(shade[None, :, None], (3000, 4000, 3)).copy()
    boxes = []
    for cell in rng.permutation(30 * 22)[:count]:
        left, top = (int(cell % 30) * 133, int(cell // 30) * 133)
        left, top = left + int(rng.integers(0, 40)), top + int(rng.integers(0, 40))
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
        boxes.append(face * scale + np.array([left, top, left, top]))
    return canvas, np.array(boxes)


def found(result, boxes):
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (result.boxes[:, None, :2] <= centres) & (result.boxes[:, None, 2:] >= centres)
    return inside.all(axis=2).any(axis=0)


def test_faces_of_20_pixels_in_12_megapixels_are_found(portrait, rng):
    canvas, boxes = crowd(portrait, rng, 200)
    detector = Detector.load("zoo-260", framework="onnx")
    assert found(detector.detect(canvas), boxes).mean() < 0.02
    result = detector.detect(canvas, tiles=320)
    assert found(result, boxes).mean() > 0.9
    assert len(result) < 1.1 * len(boxes)
    assert result.speed.keys() == {"read", "preprocess", "inference", "postprocess"}


def test_a_picture_of_one_window_gives_what_it_gives_without(demo_picture):
    detector = Detector.load("zoo-260", framework="onnx")
    assert detector.detect(demo_picture, tiles=5000) == detector.detect(demo_picture)


def test_a_detector_may_search_all_that_it_is_given_in_windows(weights, demo_picture):
    plain = Detector.load(weights, framework="onnx", conf=0.1)
    detector = Detector.load(weights, framework="onnx", conf=0.1, tiles=97)
    expected = plain.detect(str(demo_picture), tiles=97)
    assert expected != plain.detect(str(demo_picture))
    assert detector.detect(str(demo_picture)) == expected
    assert detector.detect_batch([str(demo_picture)] * 2) == [expected] * 2
    assert list(detector.stream(str(demo_picture))) == [expected]
    assert expected.source == str(demo_picture)
    assert copy.deepcopy(detector).tiles == 97


@pytest.mark.parametrize("tiles", [0, -1, 129, 1.5, True, "auto"])
def test_windows_that_gain_nothing_are_refused(tiles, demo_picture):
    with pytest.raises(InvalidArgumentError, match="at least 130 pixels"):
        Detector.load("zoo-260", framework="onnx").detect(demo_picture, tiles=tiles)
    with pytest.raises(InvalidArgumentError, match="at least 130 pixels"):
        Detector.load("zoo-260", framework="onnx", tiles=tiles)
