"""Classifiers of anybody's making, on every framework, with the answers of the reference."""

from __future__ import annotations

import copy
import io
import json
import pickle

import numpy as np
import pytest
from graphs import NETWORKS, seeded_program
from PIL import Image

from facemask_zoo import (
    Classifier,
    Detector,
    ImageError,
    InvalidArgumentError,
    Landmarker,
    UnknownNameError,
    WeightsError,
    model_files,
)
from facemask_zoo.cards import CLASSIFICATION, ModelCard
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph import reference
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.program import Program
from facemask_zoo.model import Model
from facemask_zoo.tasks.preprocessing import PREPROCESSING

LABELS = ("mask", "no_mask", "incorrect")
PROGRAM = seeded_program(NETWORKS["squeezing_classifier"], seed=3)


def crops(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (20 + 7 * i, 40, 3)).astype(np.uint8) for i in range(count)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    card = ModelCard("seeded", "", None, task=CLASSIFICATION, labels=LABELS)
    path = tmp_path_factory.mktemp("classifier") / "seeded.safetensors"
    model_files.write(Model(card, PROGRAM.tensors, PROGRAM.graph), path, "safetensors")
    return path


def expected(pictures, preprocessing="0..1") -> np.ndarray:
    _, height, width = PROGRAM.graph.input_shape
    batch = np.stack([PREPROCESSING[preprocessing](each, height, width) for each in pictures])
    (outputs,) = reference.forward(PROGRAM, batch).values()
    return outputs


def test_every_framework_gives_the_probabilities_of_the_reference(framework, path):
    pictures = crops(5)
    found = Classifier.load(path, framework=framework).classify(pictures)
    np.testing.assert_allclose(found.probabilities, expected(pictures), atol=1e-4)
    assert found.labels == [LABELS[i] for i in expected(pictures).argmax(axis=1)]
    assert (len(found), found.probabilities.dtype) == (5, np.float32)


def test_labels_and_preprocessing_may_be_given(path):
    classifier = Classifier.load(path, labels=["a", "b", "c"], preprocessing="imagenet")
    (picture,) = crops(1)
    found = classifier.classify(picture)
    np.testing.assert_allclose(found.probabilities, expected([picture], "imagenet"), atol=1e-4)
    assert found.labels[0] in "abc"
    values = json.loads(found.to_json())
    assert values["classes"] == ["a", "b", "c"]
    assert values["crops"][0]["score"] == pytest.approx(float(found.scores[0]))


def ending_in(activation: type[ops.Operation], classes: int, behind: str) -> Program:
    """A classifier whose last operation is not its activation."""
    b = GraphBuilder("image", (3, 8, 8))
    x = b.add(ops.Convolution, "classes", "image", filters=classes, kernel=(3, 3))
    if behind == "flatten":
        x = b.add(ops.GlobalAveragePool, "pooled", x)
    axis = {"axis": 1} if activation is ops.Softmax else {}
    x = b.add(activation, "activation", x, **axis)
    if behind == "average":
        x = b.add(ops.GlobalAveragePool, "pooled", x)
    return seeded_program(b.finish(b.add(ops.Reshape, "y", x, target=(classes,))))


@pytest.mark.parametrize("behind", ["flatten", "average"])
@pytest.mark.parametrize(
    ("activation", "classes"),
    [(ops.Softmax, 3), (ops.Sigmoid, 3), (ops.Sigmoid, 1), (ops.HardSigmoid, 3)],
)
def test_probabilities_are_not_squashed_again(activation, classes, behind, tmp_path):
    program = ending_in(activation, classes, behind)
    bare = ModelCard("bare", "", None, task=CLASSIFICATION, labels=LABELS[: max(classes, 2)])
    path = tmp_path / "bare.safetensors"
    model_files.write(Model(bare, program.tensors, program.graph), path, "safetensors")
    (picture,) = crops(1)
    batch = PREPROCESSING["0..1"](picture, 8, 8)[None]
    (outputs,) = reference.forward(program, batch).values()
    wanted = outputs if classes > 1 else np.concatenate([1 - outputs, outputs], axis=1)
    found = Classifier.load(path, framework="onnx").classify(picture)
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-5)


def test_a_file_without_a_card_has_numbered_classes(path, tmp_path):
    from facemask_zoo.converters.formats import onnx

    onnx.write(PROGRAM, tmp_path / "stranger.onnx")
    classifier = Classifier.load(tmp_path / "stranger.onnx")
    assert classifier.classes == ("class_0", "class_1", "class_2")


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_answers_alike(again, path):
    classifier = Classifier.load(path, labels=["a", "b", "c"], preprocessing="imagenet")
    found = again(classifier).classify(crops(2))
    assert found.classes == ("a", "b", "c")
    expected_rows = classifier.classify(crops(2)).probabilities
    np.testing.assert_allclose(found.probabilities, expected_rows, atol=1e-6)


def test_no_crops_give_no_rows(path):
    assert Classifier.load(path).classify([]).probabilities.shape == (0, 3)


def test_a_bad_crop_costs_only_itself(path):
    classifier = Classifier.load(path)
    pictures = [*crops(2), b"no picture"]
    told: list[object] = []
    assert len(classifier.classify(pictures, on_error=lambda source, _: told.append(source))) == 2
    assert told == [b"no picture"]
    with pytest.raises(ImageError):
        classifier.classify(pictures)


def test_wrong_calls_are_refused(path):
    with pytest.raises(InvalidArgumentError, match="expected 3, one for each class"):
        Classifier.load(path, labels=["mask", "no_mask"])
    with pytest.raises(UnknownNameError):
        Classifier.load(path, preprocessing="none")
    with pytest.raises(WeightsError, match="Not a classifier"):
        Classifier.load("zoo-260")
    with pytest.raises(WeightsError, match="is no detector"):
        Detector.load(path)


@pytest.mark.parametrize("kind", [Detector, Landmarker])
def test_a_network_of_another_kind_is_not_written_to_the_cache(kind, path, tmp_path, monkeypatch):
    monkeypatch.setenv("FACEMASK_ZOO_CACHE", str(tmp_path / "cache"))
    with pytest.raises(WeightsError):
        kind.load(path, framework="onnx")
    assert not (tmp_path / "cache").exists()


def test_a_picture_of_any_kind_is_one_crop(path, tmp_path):
    (picture,) = crops(1)
    file = tmp_path / "crop.png"
    Image.fromarray(picture).save(file)
    data = file.read_bytes()
    classifier = Classifier.load(path)
    with file.open("rb") as opened:
        kinds = [opened, io.BytesIO(data), bytearray(data), memoryview(data), data, file]
        found = [classifier.classify(kind).probabilities for kind in kinds]
    for each in found:
        np.testing.assert_array_equal(each, classifier.classify(picture).probabilities)
