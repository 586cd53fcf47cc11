"""Landmarks of faces, on every framework, with the answers of the reference."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import safetensors.numpy
from graphs import seeded_program
from landmark_networks import SMALL
from make_goldens import FOLDER, LANDMARKS_GOLDEN, landmark_model
from seeded import seeded_batch

from facemask_zoo import (
    Detections,
    Detector,
    FaceMaskZooError,
    InvalidArgumentError,
    Landmarker,
    WeightsError,
    model_files,
)
from facemask_zoo.cards import DEFAULT_LANDMARKS, LANDMARKS, ModelCard
from facemask_zoo.datasets.landmarks import eye_distance
from facemask_zoo.graph import reference
from facemask_zoo.images import load_image
from facemask_zoo.masks.landmarkers import read_pts
from facemask_zoo.model import Model
from facemask_zoo.store import open_weights
from facemask_zoo.tasks.landmarks import Square
from facemask_zoo.tasks.preprocessing import PREPROCESSING

PROGRAM = seeded_program(SMALL.graph, seed=3)
BOXES = [(10, 12, 60, 70), (40.5, 3, 140, 99), (-20, -5, 9, 40)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    card = ModelCard("seeded", "", SMALL, task=LANDMARKS)
    path = tmp_path_factory.mktemp("landmarker") / "seeded.safetensors"
    model_files.write(Model(card, PROGRAM.tensors), path, "safetensors")
    return path


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (100, 150, 3)).astype(np.uint8)


def expected(image):
    """Points and poses by the float64 reference."""
    squares = [Square.around(np.array(box)) for box in BOXES]
    crops = [square.cut(image, SMALL.input_size) for square in squares]
    prepare = PREPROCESSING["0..1"]
    batch = np.stack([prepare(crop, *crop.shape[:2]) for crop in crops])
    outputs = reference.forward(PROGRAM, batch)
    points = [
        (each + 0.5) * square.side + (square.left, square.top)
        for each, square in zip(outputs["points"], squares, strict=True)
    ]
    return np.array(points), np.degrees(outputs["pose"])


def test_every_framework_gives_the_points_of_the_reference(framework, path, image):
    found = Landmarker.load(path, framework=framework).detect(image, BOXES)
    points, poses = expected(image)
    np.testing.assert_allclose(found.points, points, atol=1e-2)
    np.testing.assert_allclose(found.poses, poses, atol=1e-2)
    assert (len(found), found.points.dtype, found.poses.dtype) == (3, np.float32, np.float32)


def test_every_framework_gives_the_golden_outputs(framework, tmp_path):
    path = tmp_path / "golden.safetensors"
    model_files.write(landmark_model(), path, "safetensors")
    backend = Landmarker.load(path, framework=framework).session.backend
    found = backend.forward(seeded_batch(SMALL, 2))
    with safetensors.safe_open(FOLDER / f"{LANDMARKS_GOLDEN}.safetensors", "np") as file:
        for name in ("points", "pose"):
            np.testing.assert_allclose(found[name], file.get_tensor(name), rtol=0, atol=1e-4)


def test_many_faces_have_the_answers_that_each_has(path, image):
    landmarker = Landmarker.load(path)
    boxes = [(x, y, x + 30, y + 40) for x in range(0, 100, 10) for y in range(0, 50, 10)]
    together = landmarker.detect(image, boxes)
    for index in (0, 31, 32, 49):
        alone = landmarker.detect(image, boxes[index : index + 1])
        np.testing.assert_allclose(together.points[index], alone.points[0], atol=1e-2)


def test_no_boxes_give_no_rows(path, image):
    for boxes in ([], np.empty((0, 4))):
        found = Landmarker.load(path).detect(image, boxes)
        assert found.points.shape == (0, 68, 2)
        assert found.poses.shape == (0, 3)


def test_a_face_of_one_pixel_has_its_points_near_it(path, image):
    found = Landmarker.load(path).detect(image, [(7, 8, 8, 9)])
    assert np.abs(found.points - (7.5, 8.5)).max() < 20


@pytest.mark.parametrize(
    "boxes", [[(0, 0, np.nan, 9)], [(200, 0, 210, 9)], [(9, 9, 9, 9)], [(1, 2, 3)], "box"]
)
def test_bad_boxes_are_refused(path, image, boxes):
    with pytest.raises(InvalidArgumentError, match="boxes"):
        Landmarker.load(path).detect(image, boxes)


def test_results_are_json(path, image):
    found = Landmarker.load(path).detect(image, BOXES)
    (first, *_) = json.loads(found.to_json())["faces"]
    np.testing.assert_allclose(first["landmarks"], found.points[0], rtol=1e-6)
    assert len(first["pose"]) == 3


def test_a_copy_answers_alike(path, image):
    landmarker = Landmarker.load(path)
    again = pickle.loads(pickle.dumps(landmarker)).detect(image, BOXES)
    np.testing.assert_allclose(again.points, landmarker.detect(image, BOXES).points, atol=1e-4)


def test_detections_take_them_along(path, image):
    boxes = np.array(BOXES[:2], np.float32)
    result = Detections(boxes, [0.9, 0.8], [1, 0], ("mask", "no_mask"), (150, 100))
    landmarker = Landmarker.load(path)
    with_points = landmarker.add_to(result, image)
    assert with_points.attributes["landmarks"].shape == (2, 68, 2)
    assert with_points.attributes["pose"].shape == (2, 3)
    only = with_points.where(label="mask")
    np.testing.assert_array_equal(
        only.attributes["landmarks"][0], with_points.attributes["landmarks"][1]
    )
    face = with_points.to_dict()["detections"][0]
    assert len(face["landmarks"]) == 68
    assert (with_points.annotate(image) != result.annotate(image)).any()
    with pytest.raises(InvalidArgumentError, match="image"):
        landmarker.add_to(result)
    with pytest.raises(InvalidArgumentError, match="image"):
        landmarker.add_to(result, image[:50])


def test_other_models_find_no_landmarks(path):
    with pytest.raises(WeightsError, match="no landmarks"):
        Landmarker.load("zoo-260")
    with pytest.raises(WeightsError, match="no detector"):
        Detector.load(path)
    with pytest.raises(FaceMaskZooError):
        Landmarker.load(path, max_pixels=0)


def test_numbers_that_are_not_finite_are_said(tmp_path, image):
    tensors = {name: values.copy() for name, values in PROGRAM.tensors.items()}
    tensors["pose_head.bias"][0] = 3e38
    tensors["pose_head.weight"][:] = 3e38
    file = tmp_path / "broken.safetensors"
    model = Model(ModelCard("broken", "", SMALL, task=LANDMARKS), tensors)
    model_files.write(model, file, "safetensors")
    with pytest.raises(WeightsError, match="finite"):
        Landmarker.load(file, framework="onnx").detect(image, BOXES)


def test_the_default_model_finds_the_points_of_the_portrait(framework, portrait):
    expected = read_pts(portrait.with_suffix(".pts"))
    image = load_image(portrait)
    box = Detector.load("zoo-260").detect(image)
    found = Landmarker.load(framework=framework).detect(image, box)
    apart = np.linalg.norm(found.points[0] - expected, axis=1).mean()
    assert apart / eye_distance(expected) < 0.09
    assert np.abs(found.poses[0]).max() < 25


def test_the_default_model_is_found_without_its_card(tmp_path):
    file = tmp_path / "bare.safetensors"
    safetensors.numpy.save_file(dict(open_weights(DEFAULT_LANDMARKS).model().tensors), file)
    assert Landmarker.load(file).session.card.task == LANDMARKS
