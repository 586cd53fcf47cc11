"""Peers: decoding by hand, a network of the same form, and the real ones where they are."""

import dataclasses
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from facemask_zoo.benchmarks import face_peers
from facemask_zoo.benchmarks.face_peers import (
    STRIDES,
    OnnxYuNet,
    OpenCvYuNet,
    Options,
    decode,
    find,
)
from facemask_zoo.datasets import Dataset, Picture, read
from facemask_zoo.errors import DatasetError, InvalidArgumentError, OutputError, WeightsError
from facemask_zoo.evaluation.results_file import read_results
from facemask_zoo.images import load_image


def form(path, seed=0):
    """A network of YuNet's form with random weights: one convolution per output."""
    random = np.random.default_rng(seed)
    nodes, constants, outputs = [], [], []
    shape = numpy_helper.from_array(np.array([0, 0, -1]), "flat")
    for stride in STRIDES:
        for part, channels in (("cls", 1), ("obj", 1), ("bbox", 4)):
            name = f"{part}_{stride}"
            weights = random.normal(0, 1e-4, (channels, 3, stride, stride)).astype(np.float32)
            constants.append(numpy_helper.from_array(weights, f"{name}.weight"))
            last = numpy_helper.from_array(np.array([0, -1, channels]), f"{name}.shape")
            constants.append(last)
            sides = {"kernel_shape": [stride] * 2, "strides": [stride] * 2}
            nodes += [
                helper.make_node("Conv", ["input", f"{name}.weight"], [f"{name}.maps"], **sides),
                helper.make_node(
                    "Transpose", [f"{name}.maps"], [f"{name}.last"], perm=[0, 2, 3, 1]
                ),
                helper.make_node("Reshape", [f"{name}.last", f"{name}.shape"], [f"{name}.rows"]),
                helper.make_node(
                    "Identity" if part == "bbox" else "Sigmoid", [f"{name}.rows"], [name]
                ),
            ]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    graph = helper.make_graph(
        nodes,
        "yunet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "h", "w"])],
        outputs,
        [*constants, shape],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture(name="data")
def _data(tmp_path, rng):
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 255, (50, 70, 3), np.uint8)).save(tmp_path / name)
    content = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(("a.png", "b.png"))],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [10, 10, 20, 20]}],
        "categories": [{"id": 1, "name": "mask"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    return tmp_path / "val.json"


def test_decoding_by_hand():
    # A picture of 64 x 32: 8 x 4 cells of 8, 4 x 2 of 16, 2 x 1 of 32.
    cells = {8: 32, 16: 8, 32: 2}
    outputs = {
        f"{p}_{s}": np.zeros((1, n, 1), np.float32)
        for s, n in cells.items()
        for p in ("cls", "obj")
    }
    outputs |= {f"bbox_{s}": np.zeros((1, n, 4), np.float32) for s, n in cells.items()}
    outputs["cls_16"][0, 6] = 0.64  # row 1, column 2
    outputs["obj_16"][0, 6] = 0.25
    outputs["bbox_16"][0, 6] = [0.5, 0.25, np.log(2), np.log(0.5)]
    boxes, scores = decode(outputs, 64)
    # Centre (2.5 * 16, 1.25 * 16) = (40, 20), size (32, 8).
    assert boxes[32 + 6] == pytest.approx([24, 16, 56, 24])
    assert scores[32 + 6] == pytest.approx(0.4)
    assert np.count_nonzero(scores) == 1
    assert len(boxes) == 42


def test_boxes_are_in_pixels_of_the_original(tmp_path, rng):
    """Twice the picture, pixel for pixel, has boxes of the same place after an enlargement."""
    network = OnnxYuNet(form(tmp_path / "net.onnx"), Options(threads=1))
    small = np.full((64, 96, 3), 90, np.uint8)
    Image.fromarray(small).save(tmp_path / "a.png")
    data = Dataset(tmp_path, (Picture(tmp_path / "a.png", (96, 64)),))
    (enlarged,) = find(network, data, 2.0)
    boxes, scores = network.detect(np.full((128, 192, 3), 90, np.uint8))
    assert len(scores) > 3
    assert enlarged.detections.scores == pytest.approx(scores, abs=1e-6)
    limits = np.array([96, 64, 96, 64])
    assert enlarged.detections.boxes == pytest.approx(np.clip(boxes / 2, 0, limits), abs=1e-4)


def test_sides_are_padded_to_multiples(tmp_path):
    network = OnnxYuNet(form(tmp_path / "net.onnx"), Options(threads=1, iou=1.0, conf=0.0))
    boxes, _ = network.detect(np.zeros((33, 65, 3), np.uint8))
    assert len(boxes) == sum((64 // s) * (96 // s) for s in STRIDES)


def test_the_file_takes_part_in_the_evaluation(tmp_path, data):
    negatives = tmp_path / "none"
    negatives.mkdir()
    Image.new("RGB", (40, 40), (90, 90, 90)).save(negatives / "x.png")
    words = [
        "--network",
        form(tmp_path / "net.onnx"),
        "--data",
        data,
        "--output",
        tmp_path / "o.json",
    ]
    more = ["--negatives", negatives, "--negatives-output", tmp_path / "n.json"]
    assert face_peers.main(list(map(str, [*words, *more]))) == 0
    found = read_results(tmp_path / "o.json", read(data), faces=True)
    assert set(found) == {"0", "1"}
    assert len(found["0"]) > 0
    assert json.loads((tmp_path / "n.json").read_text())[0]["image_id"] == "x.png"
    with pytest.raises(OutputError):
        face_peers.main(list(map(str, words)))


def test_what_is_wrong_is_refused_before_anything_runs(tmp_path, data):
    network = form(tmp_path / "net.onnx")

    def call(*words):
        needed = ("--network", network, "--output", tmp_path / "o.json", "--data", data)
        face_peers.main([str(word) for word in (*needed, *words)])

    with pytest.raises(InvalidArgumentError, match="enlarge"):
        call("--enlarge", "0")
    with pytest.raises(InvalidArgumentError, match="negatives"):
        call("--negatives", tmp_path)
    with pytest.raises(WeightsError, match="cannot be run"):
        call("--network", data)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DatasetError, match="missing picture"):
        call()
    assert not (tmp_path / "o.json").exists()


def test_a_network_of_another_form_is_refused(tmp_path):
    path = form(tmp_path / "net.onnx")
    model = onnx.load(path)
    del model.graph.output[0]
    onnx.save(model, path)
    with pytest.raises(WeightsError, match="cls_8"):
        OnnxYuNet(path, Options())


@pytest.mark.shared
def test_both_engines_find_the_same_faces(shared, portrait):
    network = shared / "peers" / "yunet_2026may.onnx"
    pixels = load_image(portrait)[:480, :480]
    options = dataclasses.replace(Options(), conf=0.5, threads=1)
    boxes, scores = OnnxYuNet(network, options).detect(pixels)
    others, their_scores = OpenCvYuNet(network, options).detect(pixels)
    assert len(scores) == 1
    assert their_scores == pytest.approx(scores, abs=1e-3)
    assert others == pytest.approx(boxes, abs=0.2)
