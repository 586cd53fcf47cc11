"""Files that give boxes: the same faces as the package finds with the plain network."""

from __future__ import annotations

import needs
import numpy as np
import pytest
from graphs import seeded_batch
from pyramids import SMALL, seeded_pyramid
from seeded import NETWORKS, seeded_model

from facemask_zoo import model_files
from facemask_zoo.converters import tflite_nms
from facemask_zoo.converters.formats.registry import FORMATS
from facemask_zoo.converters.runners import RUNNERS
from facemask_zoo.graph import reference
from facemask_zoo.images import load_image
from facemask_zoo.model import Model
from facemask_zoo.ssd import postprocess, preprocess
from facemask_zoo.ssd.postprocess import IOU

UNIT = (1, 1)


def expected_faces(model: Model, batch):
    answers = reference.forward(model.program, batch)
    pairs = zip(*(answers[name] for name in model.graph.outputs), strict=True)
    card = model.card
    return [postprocess(*pair, card.detector, UNIT, conf=card.conf, iou=IOU) for pair in pairs]


KINDS = [row.name for row in FORMATS.values() if row.gives_boxes]


@pytest.fixture(params=KINDS)
def kind(request):
    if RUNNERS[request.param].find() is None:
        needs.missing(RUNNERS[request.param].missing)
    return request.param


def assert_same_faces(found, expected) -> None:
    assert [len(faces[1]) for faces in found] == [len(faces[1]) for faces in expected]
    for (boxes, scores, class_ids), golden in zip(found, expected, strict=True):
        np.testing.assert_allclose(boxes, golden[0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(scores, golden[1], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(class_ids, golden[2])


DETECTORS = {
    "ssd": seeded_model(NETWORKS["small"], seed=61),
    "pyramid": seeded_pyramid(seed=61),
    "wide_pyramid": seeded_pyramid(SMALL.with_input_size((64, 128)), seed=61),
}


@pytest.fixture(params=DETECTORS)
def model(request):
    return DETECTORS[request.param]


def test_faces_of_a_seeded_network(kind, model, tmp_path):
    """Three classes, and many boxes over the threshold before suppression."""
    path = tmp_path / "model"
    model_files.write(model, path, kind)
    batch = seeded_batch(model.graph, 3)
    expected = expected_faces(model, batch)
    found = RUNNERS[kind].run(path, model, batch)
    most = tflite_nms.MAX_FACES if kind == "tflite_nms" else len(expected[0][1])
    assert len(found) == len(expected) == 3
    for (boxes, scores, _), (golden_boxes, golden_scores, _) in zip(found, expected, strict=True):
        count = min(most, len(golden_scores), 10)
        assert count == 10
        np.testing.assert_allclose(scores[:count], golden_scores[:count], rtol=0, atol=1e-5)
        np.testing.assert_allclose(boxes[:count], golden_boxes[:count], rtol=0, atol=1e-4)


def test_the_weights_can_still_be_read(kind, model, tmp_path):
    model_files.write(model, tmp_path / "model", kind)
    read = model_files.read(tmp_path / "model")
    assert read.card == model.card.portable()
    assert read.digest == model.digest


@pytest.mark.shared
def test_faces_in_photographs(kind, shared, tmp_path):
    model = model_files.read(shared / "aizoo" / "face_mask_detection.pth").without_subnormals()
    model_files.write(model, tmp_path / "model", kind)
    folder = shared / "data" / "two_stage" / "images"
    names = ["demo2.jpg", "web_demo.jpg"]
    paths = [*(shared / "aizoo" / name for name in names), *sorted(folder.iterdir())[:10]]
    batch = np.stack([preprocess(load_image(path), 260) for path in paths])
    expected = expected_faces(model, batch)
    assert sum(len(faces[1]) for faces in expected) > 10
    assert_same_faces(RUNNERS[kind].run(tmp_path / "model", model, batch), expected)
