"""AIZOO's arithmetic to the pixel, without any of AIZOO's files."""

from __future__ import annotations

import functools

import aizoo
import numpy as np
import pytest
import safetensors
import ssd_reference as reference
from make_goldens import CASES, FOLDER, ROW_STEP, seeded_outputs
from seeded import seeded_batch, seeded_model

from facemask_zoo import Detector, model_files
from facemask_zoo.cards import load_card
from facemask_zoo.images import load_image
from facemask_zoo.ssd import anchors, boxes, postprocess, preprocess

LOC_TOLERANCE = 1e-4
SCORE_TOLERANCE = 1e-5
MODELS = ("aizoo-260", "aizoo-360")
IOU = 0.4


@functools.cache
def stored(name: str) -> dict[str, np.ndarray]:
    with safetensors.safe_open(FOLDER / f"aizoo-{name}.safetensors", "np") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def network_of(name: str):
    return load_card(f"aizoo-{CASES[name].input_size}").network


@pytest.mark.parametrize("name", CASES)
def test_anchors_are_aizoos(name):
    found = anchors(network_of(name))[:: 4 * ROW_STEP]
    np.testing.assert_allclose(found, stored(name)["anchors"], rtol=0, atol=1e-12)


def test_the_first_and_last_anchors_and_their_sum_are_the_published_ones():
    found = aizoo.anchors(260)
    np.testing.assert_allclose(
        found[[0, 2, -1]],
        [
            (-0.00484848, -0.00484848, 0.03515152, 0.03515152),
            (-0.0005965, -0.01024851, 0.03089953, 0.04055154),
            (0.62594963, 0.33956261, 1.04071704, 1.32710405),
        ],
        atol=1e-8,
    )
    assert found.sum() == pytest.approx(11944.0)


@pytest.mark.parametrize("side", [(0.05, 0.925), (0.01, 0.704)])
def test_a_box_overlaps_itself_by_less_than_one(side):
    """The sides are lengthened in the areas alone."""
    length, share = side
    box = np.array([[0.2, 0.3, 0.2 + length, 0.3 + length]])
    assert aizoo.overlaps(box[0], box)[0] == pytest.approx(share, abs=5e-4)
    assert boxes.iou(box, box, aizoo.EPSILON)[0, 0] == pytest.approx(share, abs=5e-4)


@pytest.mark.parametrize("name", CASES)
def test_offsets_become_aizoos_boxes(name):
    network, (loc, _) = network_of(name), seeded_outputs(name)
    found = boxes.decode(loc, anchors(network), network.variances)[:: 4 * ROW_STEP]
    np.testing.assert_allclose(found, stored(name)["decoded"], rtol=0, atol=1e-12)


def find(name: str, kind: str):
    case, (loc, scores) = CASES[name], seeded_outputs(name)
    network = network_of(name)
    return postprocess(
        loc, scores, network, case.image_size, conf=case.conf, iou=case.iou, kind=kind
    )


@pytest.mark.parametrize("name", CASES)
def test_detections_are_aizoos_to_the_pixel(name):
    golden = stored(name)
    answer = aizoo.Answer(golden["rows"], golden["scores"], aizoo.Margins())
    visible = aizoo.with_area(answer)
    found, scores, class_ids = find(name, "aizoo")
    np.testing.assert_array_equal(class_ids, golden["rows"][visible, 0])
    np.testing.assert_array_equal(found, golden["rows"][visible, 1:])
    np.testing.assert_array_equal(scores, golden["scores"][visible])


def test_the_goldens_tell_aizoos_arithmetic_from_the_usual_one():
    """They hold ties of the classes, boxes over the edge, and overlaps that the 1e-3 decides."""
    golden = stored("own-thresholds")
    assert set(golden["rows"][:, 0]) == {0, 1}
    assert (golden["rows"][:, 1:3] == 0).any()
    _, scores = seeded_outputs("own-thresholds")
    tied = (scores[:, 0] == scores[:, 1]) & (scores[:, 0] > CASES["own-thresholds"].conf)
    assert tied.any()
    assert len(find("own-thresholds", "standard")[0]) < len(find("own-thresholds", "aizoo")[0])
    usual = find("own-thresholds", "standard")[0]
    assert (usual != np.trunc(usual)).any()
    assert not len(stored("nothing-found")["rows"])


@functools.cache
def model_of(name: str):
    """Weights from a seed in AIZOO's architecture."""
    return seeded_model(load_card(name).network, SEEDS[name])


SEEDS = {"aizoo-260": 21, "aizoo-360": 22}
CONF = {"aizoo-260": 0.95, "aizoo-360": 0.9}


@functools.cache
def golden_outputs(name: str, picture) -> tuple[np.ndarray, np.ndarray]:
    """Of the float64 reference, for a picture and for noise."""
    network = load_card(name).network
    batch = np.stack([preprocess(load_image(picture), network.input_size), *noise(name)])
    return reference.forward(network, model_of(name).tensors, batch)


def noise(name: str) -> np.ndarray:
    return seeded_batch(load_card(name).network, 1)


@functools.cache
def load(name: str, framework: str, path) -> Detector:
    return Detector.load(path, framework=framework, nms="aizoo", conf=CONF[name], iou=IOU)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeded")

    @functools.cache
    def write(name: str):
        model_files.write(model_of(name), folder / f"{name}.safetensors", "safetensors")
        return folder / f"{name}.safetensors"

    return write


@pytest.mark.parametrize("name", MODELS)
def test_raw_outputs_on_every_framework(name, framework, weights, demo_picture):
    detector = load(name, framework, weights(name))
    picture = preprocess(load_image(demo_picture), detector.input_size)
    loc, scores = detector.forward(np.stack([picture, *noise(name)]))
    golden = golden_outputs(name, demo_picture)
    np.testing.assert_allclose(loc, golden[0], rtol=0, atol=LOC_TOLERANCE)
    np.testing.assert_allclose(scores, golden[1], rtol=0, atol=SCORE_TOLERANCE)


@pytest.mark.parametrize("name", MODELS)
def test_detections_to_the_pixel_on_every_framework(name, framework, weights, demo_picture):
    detector = load(name, framework, weights(name))
    image = load_image(demo_picture)
    loc, scores = (values[0] for values in golden_outputs(name, demo_picture))
    size = (image.shape[1], image.shape[0])
    answer = aizoo.detect(loc, scores, detector.input_size, size, CONF[name], IOU)
    # Nothing hangs on the last digits of single precision.
    assert answer.margins.pixel > 2e-3
    assert min(answer.margins.conf, answer.margins.order) > 2 * SCORE_TOLERANCE
    assert answer.margins.overlap > 1e-4
    expected = answer.rows[aizoo.with_area(answer)]
    assert len(expected) > 5
    found = detector.detect(demo_picture)
    np.testing.assert_array_equal(found.class_ids, expected[:, 0])
    np.testing.assert_array_equal(found.boxes, expected[:, 1:])
