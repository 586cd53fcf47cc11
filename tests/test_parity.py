"""All frameworks find the same faces in real photographs, and those that AIZOO found."""

from __future__ import annotations

import functools
import itertools

import needs
import numpy as np
import pytest

from facemask_zoo import Detections, Detector, Landmarker
from facemask_zoo.backends import FRAMEWORKS, Options, find_framework
from facemask_zoo.cards import load_card
from facemask_zoo.graph.signature import Signature
from facemask_zoo.images import load_image
from facemask_zoo.ssd import preprocess

pytestmark = pytest.mark.shared

REFERENCE = "onnx"
SCORE_TOLERANCE = 1e-5

# Rows of AIZOO's own programs for its own pictures, as published or measured with its files.
GOLDENS = {
    ("aizoo-260", "demo2.jpg"): [[0, 0.90712631, 222, 49, 327, 198]],
    ("aizoo-360", "demo2.jpg"): [[0, 0.99999642, 212, 47, 333, 204]],
    ("aizoo-260", "web_demo.jpg"): [
        [1, 0.9999, 451, 28, 500, 82],
        [0, 0.9999, 231, 72, 289, 151],
        [1, 0.9860, 79, 84, 131, 154],
    ],
    ("aizoo-360", "web_demo.jpg"): [
        [1, 0.9985, 82, 84, 133, 161],
        [0, 0.9979, 230, 64, 292, 151],
        [1, 0.9789, 449, 26, 503, 88],
    ],
    ("aizoo-260", "face.png"): [[0, 0.9659, 333, 349, 404, 456]],
}
# Outputs of the merged 260 weights in float64: first loc row, last loc row, sums.
SYNTHETIC = {
    "zeros": (
        (0.51689538, 0.32392778, -1.27853737, -0.73365776),
        (-2.87018508, -1.9497053, 1.24973673, -1.28159054),
        (-20017.7945368, 485.3461028),
    ),
    "half": (
        (-0.46532704, 0.31404189, -1.27612515, -0.00876493),
        None,
        (-14367.0836687, 480.75277),
    ),
    "ramp": (
        (-1.05473263, 0.74602807, -0.53616405, 0.53819565),
        None,
        (-11653.1054711, 479.143514),
    ),
}


@functools.cache
def detector(model: str, framework: str) -> Detector:
    return Detector.load(model, framework=framework, nms="aizoo")


def synthetic(name: str) -> np.ndarray:
    shape = (1, 3, 260, 260)
    if name == "ramp":
        return (np.arange(np.prod(shape)) % 251 / 251).reshape(shape).astype(np.float32)
    return np.full(shape, {"zeros": 0.0, "half": 0.5}[name], dtype=np.float32)


@pytest.mark.parametrize(("model", "picture"), GOLDENS, ids="-".join)
def test_golden_detections(framework, model, picture, shared):
    expected = GOLDENS[model, picture]
    rows = detector(model, framework).detect(shared / "aizoo" / picture).to_rows()
    assert [[row[0], *row[2:]] for row in rows] == [[row[0], *row[2:]] for row in expected]
    # Where only four decimals are known, they are what is compared.
    for row, golden in zip(rows, expected, strict=True):
        digits = len(str(golden[1])) - 2
        tolerance = SCORE_TOLERANCE if digits > 4 else 0.5e-4 + SCORE_TOLERANCE
        assert row[1] == pytest.approx(golden[1], abs=tolerance)


@pytest.mark.parametrize(
    ("file", "framework_of_file"),
    [
        ("face_mask_detection.pb", "tensorflow"),
        ("face_mask_detection.tflite", "tflite"),
        ("face_mask_detection.caffemodel", "opencv"),
        ("face_mask_detection.pth", "pytorch"),
    ],
)
def test_published_files_run_through_the_detector(file, framework_of_file, need, shared):
    """On its own framework, from a file written from its checked tensors."""
    loaded = Detector.load(shared / "aizoo" / file, framework=need(framework_of_file), nms="aizoo")
    results = loaded.detect_batch([shared / "aizoo" / "demo2.jpg"] * 3)
    for result in results:
        (row,) = result.to_rows()
        (golden,) = GOLDENS["aizoo-260", "demo2.jpg"]
        assert row == [golden[0], pytest.approx(golden[1], abs=SCORE_TOLERANCE), *golden[2:]]


@pytest.mark.parametrize(
    ("file", "framework_of_file"),
    [
        ("face_mask_detection.pb", "tensorflow"),
        ("face_mask_detection.tflite", "tflite"),
        ("face_mask_detection.caffemodel", "opencv"),
    ],
)
def test_published_files_run_as_they_are(file, framework_of_file, need, shared):
    """The backends load AIZOO's own files, batch normalisation unfolded and names its own."""
    if framework_of_file == "opencv":
        cv2 = needs.module("cv2")
        if not hasattr(cv2.dnn, "readNetFromCaffe"):
            pytest.skip("OpenCV 5 reads no Caffe files")
    backend = find_framework(need(framework_of_file)).backend()
    network = load_card("aizoo-260").network
    batch = np.concatenate([synthetic(name) for name in SYNTHETIC])
    loaded = backend(shared / "aizoo" / file, Signature.of(network.graph), Options())
    loc, scores = loaded.forward(batch).values()
    for row, (first, _, sums) in enumerate(SYNTHETIC.values()):
        np.testing.assert_allclose(loc[row, 0], first, atol=1e-4)
        assert scores[row].sum(dtype=np.float64) == pytest.approx(sums[1], abs=1e-2)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_golden_outputs_of_synthetic_pictures(framework, name):
    first, last, sums = SYNTHETIC[name]
    loc, scores = detector("aizoo-260", framework).forward(synthetic(name))
    np.testing.assert_allclose(loc[0, 0], first, atol=1e-4)
    if last is not None:
        np.testing.assert_allclose(loc[0, -1], last, atol=1e-4)
    # 23,888 values, each within 1e-4 and mostly within 1e-6 of the merged weights' values.
    assert loc.sum(dtype=np.float64) == pytest.approx(sums[0], abs=0.1)
    assert scores.sum(dtype=np.float64) == pytest.approx(sums[1], abs=1e-2)


@pytest.mark.parametrize("pair", list(itertools.combinations(FRAMEWORKS, 2)), ids="-".join)
def test_raw_outputs_of_every_pair_agree_on_photographs(pair, need, shared):
    folder = shared / "data" / "two_stage" / "images"
    paths = [shared / "aizoo" / "demo2.jpg", *sorted(folder.iterdir())[:4]]
    batch = np.stack([preprocess(load_image(path), 260) for path in paths])
    first, second = (raw_outputs(need(framework), batch.tobytes()) for framework in pair)
    np.testing.assert_allclose(first[0], second[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(first[1], second[1], rtol=0, atol=1e-5)


@functools.cache
def raw_outputs(framework: str, pixels: bytes):
    batch = np.frombuffer(pixels, np.float32).reshape(-1, 3, 260, 260)
    return detector("aizoo-260", framework).forward(batch)


@pytest.mark.parametrize("pair", list(itertools.combinations(FRAMEWORKS, 2)), ids="-".join)
def test_landmarks_of_every_pair_agree_on_photographs(pair, need, shared):
    folder = shared / "data" / "two_stage" / "images"
    first, second = (landmarks(need(framework), folder) for framework in pair)
    np.testing.assert_allclose(first[0], second[0], rtol=0, atol=0.1)
    np.testing.assert_allclose(first[1], second[1], rtol=0, atol=0.02)


@functools.cache
def landmarks(framework: str, folder):
    landmarker = Landmarker.load(framework=framework)
    rows = [
        landmarker.detect(path, detector("zoo-260", REFERENCE).detect(path))
        for path in sorted(folder.iterdir())[:4]
    ]
    assert sum(map(len, rows)) >= 4
    return np.concatenate([row.points for row in rows]), np.concatenate([r.poses for r in rows])


@functools.cache
def found(framework: str, folder, step: int) -> list[Detections]:
    pictures = sorted(folder.iterdir())[::step]
    return Detector.load("aizoo-260", framework=framework).detect_batch(pictures)


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.scale), 4])
def test_identical_detections_in_photographs(framework, step, shared):
    folder = shared / "data" / "two_stage" / "images"
    results, references = found(framework, folder, step), found(REFERENCE, folder, step)
    assert len(results) == len(references) > 20
    assert sum(map(len, references)) > 40
    for result, reference in zip(results, references, strict=True):
        assert result.labels == reference.labels, result.source
        np.testing.assert_allclose(result.boxes, reference.boxes, atol=1.0, err_msg=result.source)
        np.testing.assert_allclose(result.scores, reference.scores, atol=SCORE_TOLERANCE)


def test_dust_changes_no_output(shared):
    import ssd_reference as reference

    from facemask_zoo import model_files

    model = model_files.read(shared / "aizoo" / "face_mask_detection.pth")
    clean = model.without_subnormals()
    removed = sum(
        np.count_nonzero(model.tensors[name]) - np.count_nonzero(clean.tensors[name])
        for name in model.tensors
    )
    assert removed > 600_000
    batch = preprocess(load_image(shared / "aizoo" / "demo2.jpg"), 260)[None]
    network = model.card.network
    before = reference.forward(network, model.tensors, batch)
    after = reference.forward(network, clean.tensors, batch)
    np.testing.assert_allclose(after[0], before[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(after[1], before[1], rtol=0, atol=1e-12)


def test_a_wrong_colour_order_is_seen(shared):
    """Blue and red swapped must move the score, or the test pictures prove nothing."""
    image = load_image(shared / "aizoo" / "demo2.jpg")
    swapped = np.ascontiguousarray(image[:, :, ::-1])
    assert detector("aizoo-260", REFERENCE).detect(swapped).scores[0] == pytest.approx(
        0.8651, abs=1e-3
    )


@pytest.mark.parametrize("count", [1, 3, 8])
def test_batches_equal_one_by_one(framework, count, shared):
    paths = sorted((shared / "data" / "two_stage" / "images").iterdir())[:count]
    search = detector("aizoo-260", framework)
    for together, path in zip(search.detect_batch(paths), paths, strict=True):
        alone = search.detect(path)
        np.testing.assert_allclose(together.boxes, alone.boxes, atol=1.0)
        np.testing.assert_allclose(together.scores, alone.scores, atol=SCORE_TOLERANCE)
        assert together.labels == alone.labels
