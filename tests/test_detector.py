"""The detector as users call it, on weights from a seed written as safetensors."""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from PIL import Image
from seeded import SMALL, seeded_batch, seeded_model

from facemask_zoo import (
    Detector,
    DeviceError,
    FrameworkNotInstalledError,
    ImageError,
    InvalidArgumentError,
    UnknownNameError,
    WeightsError,
    list_frameworks,
    list_models,
    model_files,
)
from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.model import Model


@pytest.fixture(scope="module")
def detector(weights):
    return Detector.load(weights, framework="onnx", conf=0.6)


def test_detects_in_every_kind_of_picture(detector, portrait):
    pixels = np.asarray(Image.open(portrait).convert("RGB"))
    results = [
        detector.detect(source)
        for source in (portrait, str(portrait), portrait.read_bytes(), Image.open(portrait), pixels)
    ]
    assert len(results[0]) > 0
    for result in results:
        np.testing.assert_array_equal(result.boxes, results[0].boxes)
    assert results[0].source == str(portrait)
    assert results[0].image_size == (512, 512)


def test_results_are_sorted_clipped_and_have_area(detector, portrait):
    result = detector.detect(portrait)
    assert (np.diff(result.scores) <= 0).all()
    assert (result.scores > 0.6).all()
    assert (result.boxes >= 0).all()
    assert (result.boxes <= 512).all()
    assert (result.boxes[:, 2:] > result.boxes[:, :2]).all()


def test_a_batch_of_any_length_equals_one_by_one(detector, portrait, demo_picture):
    pictures = [portrait, demo_picture] * 5
    together = detector.detect_batch(iter(pictures))
    assert len(together) == 10
    for result, picture in zip(together, pictures, strict=True):
        alone = detector.detect(picture)
        np.testing.assert_allclose(result.boxes, alone.boxes, atol=0.01)
        assert result.labels == alone.labels
    assert detector.detect_batch([]) == []


def test_every_framework_gives_the_same_detections(framework, weights, detector, demo_picture):
    other = Detector.load(weights, framework=framework, conf=0.6)
    assert other.framework == framework
    result, reference = other.detect(demo_picture), detector.detect(demo_picture)
    assert result.labels == reference.labels
    np.testing.assert_allclose(result.boxes, reference.boxes, atol=0.05)


def test_auto_takes_the_first_that_is_installed(weights):
    first = next(row.name for row in list_frameworks() if row.installed)
    assert Detector.load(weights).framework == first


def test_forward_refuses_what_does_not_fit(detector):
    good = seeded_batch(SMALL, 1)
    assert detector.forward(good)[0].shape == (1, SMALL.anchor_count, 4)
    for batch in (good[0], good.transpose(0, 2, 3, 1), good[:, :, :-1], "batch", None):
        with pytest.raises(InvalidArgumentError, match="expected shape"):
            detector.forward(batch)
    with pytest.raises(InvalidArgumentError, match="float32"):
        detector.forward(good.astype(np.float64))


def test_the_card_says_how_duplicates_are_suppressed(tmp_path):
    model = seeded_model(SMALL, 3)
    blended = Model(dataclasses.replace(model.card, nms="blended"), model.tensors)
    model_files.write(blended, tmp_path / "blended.onnx", "onnx")
    assert Detector.load(tmp_path / "blended.onnx", framework="onnx").nms == "blended"
    detector = Detector.load(tmp_path / "blended.onnx", framework="onnx", nms="standard")
    assert detector.nms == "standard"


@pytest.mark.parametrize("name", ["conf", "iou"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "0.5", True])
def test_thresholds_outside_0_to_1_are_refused(weights, name, value):
    with pytest.raises(InvalidArgumentError, match=f"{name}: expected a number from 0 to 1"):
        Detector.load(weights, framework="onnx", **{name: value})


def test_an_unknown_name_names_the_nearest(weights):
    with pytest.raises(UnknownNameError, match="Did you mean 'pytorch'"):
        Detector.load(weights, framework="pytroch")
    with pytest.raises(UnknownNameError, match="aizoo-260"):
        Detector.load("aizo-260")
    with pytest.raises(UnknownNameError, match="standard"):
        Detector.load(weights, nms="fast")
    assert "aizoo-260" in list_models()


def test_a_framework_that_is_not_installed_says_how_to_install_it(weights, monkeypatch):
    row = dataclasses.replace(FRAMEWORKS["mxnet"], imports="no_such_framework")
    monkeypatch.setitem(FRAMEWORKS, "mxnet", row)
    with pytest.raises(FrameworkNotInstalledError, match=r"pip install 'facemask-zoo\[mxnet\]'"):
        Detector.load(weights, framework="mxnet")


def test_a_wrong_device_is_never_the_cpu(framework, weights):
    with pytest.raises(DeviceError, match="cuda:7"):
        Detector.load(weights, framework=framework, device="cuda:7")


def test_a_bad_picture_is_an_error(detector, tmp_path):
    with pytest.raises(ImageError):
        detector.detect(tmp_path / "missing.jpg")
    with pytest.raises(ImageError):
        detector.detect(np.zeros((0, 0, 3), np.uint8))


def test_max_pixels_can_be_set(weights, portrait):
    small = Detector.load(weights, framework="onnx", max_pixels=1000)
    with pytest.raises(ImageError, match="at most 1000"):
        small.detect(portrait)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_a_damaged_weights_file_is_an_error(weights, tmp_path, damage):
    data = weights.read_bytes()
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(
        {"cut": data[: len(data) // 2], "garbage": b"garbage" * 99, "empty": b""}[damage]
    )
    with pytest.raises(WeightsError):
        Detector.load(path, framework="onnx")


def test_the_largest_pictures_and_the_smallest(detector):
    assert detector.detect(np.zeros((1, 1, 3), np.uint8)).image_size == (1, 1)
    assert detector.detect(np.zeros((3000, 2, 3), np.uint8)).image_size == (2, 3000)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_a_copy_is_loaded_again_with_the_same_settings(duplicate, weights, portrait):
    detector = Detector.load(weights, framework="onnx", conf=0.2, iou=0.3, threads=1, tiles=90)
    changed = dataclasses.replace(detector, conf=0.1)
    for original in (detector, changed):
        twin = duplicate(original)
        assert twin.backend is not original.backend
        assert twin == dataclasses.replace(original, backend=twin.backend)
        assert twin.detect(portrait) == original.detect(portrait)


def test_a_detector_goes_to_a_spawned_process(weights, portrait, tmp_path, monkeypatch):
    monkeypatch.chdir(weights.parent)
    detector = Detector.load(weights.name, framework="onnx")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(detector.detect, str(portrait)).result() == detector.detect(
            str(portrait)
        )


def test_each_stage_is_timed(weights, portrait):
    detector = Detector.load(weights, framework="onnx")
    speed = detector.detect(portrait).speed
    assert list(speed) == ["read", "preprocess", "inference", "postprocess"]
    assert all(milliseconds >= 0 for milliseconds in speed.values())
    assert next(detector.stream(portrait)).speed["inference"] > 0


def test_one_picture_is_no_batch(detector, portrait, demo_picture):
    picture = np.asarray(Image.open(demo_picture))
    with open(portrait, "rb") as file:
        for one in (picture, picture[..., 0], str(portrait), portrait, portrait.read_bytes(), file):
            with pytest.raises(InvalidArgumentError, match="pass it to detect"):
                detector.detect_batch(one, on_error="skip")
    assert detector.detect_batch(picture[None]) == [detector.detect(picture)]
