"""Detectors whose weights serve any input size, and their letterbox."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from pyramids import SMALL, seeded_pyramid

from facemask_zoo import Detector, InvalidArgumentError, UnknownNameError, model_files
from facemask_zoo.graph import reference
from facemask_zoo.ssd import postprocess
from facemask_zoo.store import split_size


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("pyramid") / "pyramid.safetensors"
    model_files.write(seeded_pyramid(), path, "safetensors")
    return path


def photograph(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(height)
    small = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return small.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]


@pytest.mark.parametrize("size", [None, 64, 96, (64, 128), (128, 32)])
def test_one_file_runs_at_any_size(size, path):
    detector = Detector.load(path, input_size=size, conf=0.0)
    pyramid = SMALL if size is None else SMALL.with_input_size(size)
    assert detector.input_size == pyramid.input_size
    image = photograph(150, 200)
    batch = np.empty((3, *pyramid.input_shape), np.float32)
    region = detector.card.preprocessing.place(image, batch)
    model = seeded_pyramid(pyramid)
    loc, scores = reference.forward(model.program, batch[None]).values()
    expected = postprocess(loc[0], scores[0], pyramid, (200, 150), conf=0.0, iou=0.4, region=region)
    found = detector.detect(image)
    assert len(found) == len(expected[0]) > 0
    np.testing.assert_allclose(found.scores, expected[1], atol=1e-4)
    np.testing.assert_allclose(np.sort(found.boxes, 0), np.sort(expected[0], 0), atol=0.05)


def test_a_batch_of_different_shapes_gives_the_answers_of_one_by_one(path):
    detector = Detector.load(path, input_size=(64, 96), conf=0.2)
    pictures = [photograph(150, 200), photograph(64, 96), photograph(300, 40)]
    together = detector.detect_batch(pictures)
    for result, picture in zip(together, pictures, strict=True):
        alone = detector.detect(picture)
        np.testing.assert_allclose(result.boxes, alone.boxes, atol=1e-3)
        np.testing.assert_allclose(result.scores, alone.scores, atol=1e-5)


@pytest.mark.parametrize("shape", [(20_000, 1), (1, 20_000), (1, 1)])
def test_the_thinnest_pictures_are_answered(shape, path):
    height, width = shape
    found = Detector.load(path, conf=0.0).detect(np.full((height, width, 3), 90, np.uint8))
    assert found.image_size == (width, height)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= np.array([width, height] * 2)).all()


def test_the_padding_holds_no_faces(path):
    """Boxes lie within the picture, also where most of the input is grey."""
    found = Detector.load(path, input_size=128, conf=0.0).detect(photograph(400, 30))
    assert len(found)
    assert (found.boxes[:, 2] > found.boxes[:, 0]).all()
    assert (found.boxes[:, [0, 2]] >= 0).all()
    assert (found.boxes[:, [0, 2]] <= 30).all()


@pytest.mark.parametrize("size", [0, 65, (64, 65), (64, 64, 64), -32, "64", 64.0, True])
def test_sizes_that_do_not_fit_are_refused(size, path):
    with pytest.raises(InvalidArgumentError, match="input_size"):
        Detector.load(path, input_size=size)


@pytest.mark.parametrize(("text", "size"), [("64", 64), ("64x128", (64, 128)), ("96x96", 96)])
def test_a_size_may_stand_behind_the_name(text, size, path):
    detector = pickle.loads(pickle.dumps(Detector.load(f"{path}@{text}", conf=0.0)))
    assert detector.input_size == size
    image = photograph(150, 200)
    expected = Detector.load(path, input_size=size, conf=0.0).detect(image)
    np.testing.assert_array_equal(detector.detect(image).boxes, expected.boxes)


def test_a_file_may_have_a_name_that_ends_like_a_size(path, tmp_path):
    odd = tmp_path / "mine.safetensors@64"
    odd.write_bytes(path.read_bytes())
    assert split_size(str(odd)) == (str(odd), None)
    with pytest.raises(UnknownNameError):
        Detector.load("nothing@64")
    with pytest.raises(InvalidArgumentError, match="'zoo-260' has one input size alone"):
        Detector.load("zoo-260@320")


def test_models_of_one_size_say_so():
    with pytest.raises(InvalidArgumentError, match="'zoo-260' has one input size alone"):
        Detector.load("zoo-260", input_size=320)


def test_a_file_that_runs_as_it_is_has_one_size(tmp_path):
    path = tmp_path / "file.onnx"
    model_files.write(seeded_pyramid(), path, "onnx")
    with pytest.raises(InvalidArgumentError, match="one input size alone"):
        Detector.load(path, framework="onnx", trust=True, input_size=96)
    assert Detector.load(path, framework="onnx", trust=True, input_size=64).input_size == 64


@pytest.mark.parametrize("framework", ["pytorch", "openvino"])
def test_frameworks_agree_at_another_size(framework, path, need):
    need(framework)
    batch = np.random.default_rng(0).random((2, 3, 64, 96), dtype=np.float32)
    first, second = (
        Detector.load(path, framework=name, input_size=(64, 96)).forward(batch)
        for name in ("onnx", framework)
    )
    for found, expected in zip(second, first, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5)
