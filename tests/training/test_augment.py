from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from training.toys import LABELS

from facemask_zoo.datasets import Face, Picture
from facemask_zoo.ssd import preprocess
from facemask_zoo.training.augment import (
    AugmentConfig,
    draw_view,
    move_faces,
    vary_colours,
    whole_view,
)
from facemask_zoo.training.data import Batches, iterate
from facemask_zoo.training.photographs import DataConfig, Photograph, label_faces

CONFIG = AugmentConfig(min_face=2.0)


def label(*boxes: tuple, size: tuple[int, int] = (100, 100)):
    picture = Picture(None, size, tuple(Face(box, "mask") for box in boxes))
    return label_faces(picture, LABELS, DataConfig(""))


def test_the_whole_view_is_what_the_network_sees_in_use(rng):
    image = rng.integers(0, 255, (80, 120, 3)).astype(np.uint8)
    view, faces = whole_view(image, label((30, 20, 60, 40), size=(120, 80)), 64, CONFIG)
    np.testing.assert_array_equal(
        view.transpose(2, 0, 1).astype(np.float32) / np.float32(255), preprocess(image, 64)
    )
    np.testing.assert_allclose(faces.boxes, [[16, 16, 32, 32]])


def test_faces_out_of_view_are_dropped_or_ignored():
    shift = np.array([[1.0, 0, -50], [0, 1, 0]])
    faces = label((60, 10, 80, 30), (45, 10, 65, 30), (35, 10, 55, 30), (10, 10, 30, 30))
    moved = move_faces(faces, shift, (100, 100), CONFIG)
    np.testing.assert_allclose(moved.boxes, [[10, 10, 30, 30], [0, 10, 15, 30], [0, 10, 5, 30]])
    assert moved.ignored.tolist() == [False, False, True]


def test_tiny_faces_are_ignored():
    shrink = np.array([[0.1, 0, 0], [0, 0.1, 0]])
    moved = move_faces(label((10, 10, 25, 25)), shrink, (100, 100), CONFIG)
    assert moved.ignored.tolist() == [True]


@pytest.mark.parametrize("scale", [1, 5])
@pytest.mark.parametrize("seed", range(20))
def test_boxes_stay_on_their_faces(seed, scale):
    """A bright square on black: after any view, the box holds what is bright and nothing else."""
    image = np.zeros((120 * scale, 160 * scale, 3), np.uint8)
    image[40 * scale : 80 * scale, 60 * scale : 100 * scale] = 255
    corners = tuple(scale * place for place in (60, 40, 100, 80))
    config = AugmentConfig(rotation=0.0, face_sizes=(10.0, 30.0))
    random = np.random.default_rng(seed)
    labels = label(corners, size=(160 * scale, 120 * scale))
    view, faces = draw_view(image, labels, (64, 64), config, random)
    for x0, y0, x1, y1 in np.rint(faces.boxes[~faces.ignored]).astype(int):
        inside = view[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1]
        assert inside.mean() > 240
        around = view[max(y0 - 3, 0) : y1 + 3, max(x0 - 3, 0) : x1 + 3]
        assert around.size == inside.size or (around == around[0, 0]).all(-1).any()


def test_a_view_is_not_shifted_against_its_boxes():
    """The centre of mass of a bright square is the centre of its box, to a tenth of a pixel."""
    image = np.zeros((480, 640, 3), np.uint8)
    image[160:320, 240:400] = 255
    labels = label((240, 160, 400, 320), size=(640, 480))
    config = AugmentConfig(rotation=0.0, face_sizes=(10.0, 30.0), min_visible=1.0)
    random = np.random.default_rng(1)
    errors = []
    for _ in range(40):
        view, faces = draw_view(image, labels, (64, 64), config, random)
        for box in faces.boxes[~faces.ignored]:
            around = np.rint(box + np.array([-2, -2, 2, 2])).clip(0, 64)
            left, top, right, bottom = around.astype(int)
            light = view[top:bottom, left:right, 0].astype(np.float64)
            x = light.sum(0) @ (np.arange(left, right) + 0.5) / light.sum()
            y = light.sum(1) @ (np.arange(top, bottom) + 0.5) / light.sum()
            errors.append([x - box[[0, 2]].mean(), y - box[[1, 3]].mean()])
    assert len(errors) > 10
    np.testing.assert_allclose(np.mean(errors, axis=0), 0, atol=0.1)


def test_colours_change_but_not_the_shape(rng):
    image = rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)
    config = AugmentConfig(blur=1, noise=1, jpeg=1)
    changed = vary_colours(image, config, rng)
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert (changed != image).any()


def batches(photographs: list[Photograph], **changes: object) -> Batches:
    return Batches(photographs, 64, 4, AugmentConfig(mosaic=0.5, **changes), seed=3, length=6)


def test_a_batch_is_a_function_of_seed_and_number(photographs):
    first, again = batches(photographs)[2], batches(photographs)[2]
    other = batches(photographs)[3]
    assert (first.pictures == again.pictures).all()
    assert (first.faces.boxes == again.faces.boxes).all()
    assert (first.pictures != other.pictures).any()


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_give_the_same_batches(photographs, workers):
    cv2.resize(np.zeros((500, 500, 3), np.uint8), (900, 900))  # OpenCV has started its threads
    threads = cv2.getNumThreads()
    found = list(iterate(batches(photographs), 2, workers))
    assert cv2.getNumThreads() == threads
    assert len(found) == 4
    assert (found[0].pictures == batches(photographs)[2].pictures).all()


def test_dense_mosaics_show_more_and_smaller_faces(photographs):
    plain = [batches(photographs, dense=0.0)[i].faces for i in range(6)]
    dense = [batches(photographs, dense=1.0)[i].faces for i in range(6)]
    assert sum(len(f.boxes) for f in dense) > 1.5 * sum(len(f.boxes) for f in plain)
    sides = [torch.cat([f.boxes for f in found]) for found in (plain, dense)]
    widths = [(boxes[:, 2] - boxes[:, 0]).median() for boxes in sides]
    assert widths[1] < widths[0]


def test_weights_decide_how_often_a_picture_is_drawn(photographs):
    blank = [Photograph(np.zeros((64, 64, 3), np.uint8), label(), 0.0)]
    drawn = batches([*photographs, *blank])[0]
    assert {int(i) for i in drawn.faces.pictures} == {0, 1, 2, 3}
