"""Values that nobody can mean end in one of the package's own errors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from graphs import NETWORKS, seeded_program
from PIL import Image

from facemask_zoo import Classifier, Detections, Detector, cli, model_files
from facemask_zoo.cards import CLASSIFICATION, ModelCard, load_card
from facemask_zoo.errors import FaceMaskZooError, InvalidArgumentError, WeightsError
from facemask_zoo.model import Model
from facemask_zoo.video import Clip

DEMO = Path(__file__).parent.parent / "docs" / "pictures" / "demo.jpg"

NO_TEXT = (None, 7, b"zoo-260", [], {}, object(), "a\0b", "")
NO_NUMBER = (math.nan, math.inf, -math.inf, -1, "1", b"1", [], {}, object(), True, 1j)
WRONG = {
    "model": NO_TEXT,
    "framework": NO_TEXT,
    "device": NO_TEXT,
    "precision": NO_TEXT,
    "trust": (None, 1, "no", [], object()),
    "threads": (*NO_NUMBER, 0, 10**9, np.float32(2)),
    "conf": NO_NUMBER,
    "iou": (*NO_NUMBER, None, 1.5),
    "nms": (7, b"aizoo", [], {}, object(), ""),
    "max_pixels": (*NO_NUMBER, None, 0, 1.5),
    "input_size": (*NO_NUMBER, 0, (256,), (256, 256, 3), (256, None), "square", np.zeros(3)),
    "labels": ("abcd", 7, [], [1, 2], object(), {}, b"ab"),
    "preprocessing": (7, "", [], {}, object(), b"0..1", "unknown"),
}
NOT_A_NUMBER_OF = {
    "every": (*NO_NUMBER, 0, 1.5),
    "start": NO_NUMBER,
    "end": (*NO_NUMBER, 0),
    "min_size": NO_NUMBER,
    "min_score": (*NO_NUMBER, 1.5),
}
DETECTOR = [name for name in WRONG if name not in ("labels", "preprocessing")]
CLASSIFIER = [name for name in WRONG if name not in ("conf", "iou", "nms", "input_size")]


def pairs(table, names):
    return [
        pytest.param(name, value, id=f"{name}-{value!r:.20}")
        for name in names
        for value in table[name]
    ]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    program = seeded_program(NETWORKS["squeezing_classifier"], seed=3)
    card = ModelCard("seeded", "", None, task=CLASSIFICATION, labels=("a", "b", "c"))
    path = tmp_path_factory.mktemp("classifier") / "seeded.safetensors"
    model_files.write(Model(card, program.tensors, program.graph), path, "safetensors")
    return path


@pytest.mark.parametrize(("name", "value"), pairs(WRONG, DETECTOR))
def test_a_detector_refuses_what_is_no_such_argument(name, value):
    with pytest.raises(FaceMaskZooError):
        Detector.load(**{"model": "zoo-260", "framework": "onnx", name: value})


@pytest.mark.parametrize(("name", "value"), pairs(WRONG, CLASSIFIER))
def test_a_classifier_refuses_what_is_no_such_argument(name, value, classifier):
    with pytest.raises(FaceMaskZooError):
        Classifier.load(**{"model": classifier, "framework": "onnx", name: value})


def test_a_text_is_not_taken_for_its_letters(classifier):
    with pytest.raises(InvalidArgumentError, match="labels: expected several labels"):
        Classifier.load(classifier, framework="onnx", labels="abc")
    assert Classifier.load(classifier, framework="onnx", labels=list("xyz")).classes == tuple("xyz")
    empty = np.zeros((0, 4)), np.zeros(0), np.zeros(0)
    with pytest.raises(InvalidArgumentError, match="classes: expected several labels"):
        Detections(*empty, "abc", (5, 5))


@pytest.mark.parametrize("field", ["labels", "classes"])
def test_a_text_in_a_card_is_not_taken_for_its_letters(field):
    values = load_card("zoo-260").to_dict()
    (values if field == "labels" else values["network"])[field] = "abc"
    with pytest.raises(WeightsError, match=f"{field}: expected a list"):
        ModelCard.from_dict(values)


@pytest.mark.parametrize("source", [None, 1.5, [], True, b"gate.mp4", object()])
def test_a_stream_is_of_a_path_or_a_camera(source):
    with pytest.raises(FaceMaskZooError):
        list(Detector.load(framework="onnx").stream(source))


@pytest.mark.parametrize(("name", "value"), pairs(NOT_A_NUMBER_OF, ["every", "start", "end"]))
def test_a_clip_is_of_numbers(name, value):
    with pytest.raises(InvalidArgumentError, match=f"{name}: expected"):
        Clip(**{name: value})


@pytest.mark.parametrize(("name", "value"), pairs(NOT_A_NUMBER_OF, ["min_size", "min_score"]))
def test_faces_are_chosen_by_numbers(name, value):
    faces = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0), ("mask",), (5, 5))
    with pytest.raises(InvalidArgumentError, match=f"{name}: expected a number"):
        faces.where(**{name: value})


OPTIONS = {
    "detect": {
        "min-size": ("nan", "inf", "-1"),
        "conf": ("nan", "inf", "-1", "2"),
        "iou": ("nan", "inf", "-1", "2"),
        "margin": ("nan", "inf", "-1"),
        "every": ("0", "-1"),
        "start": ("nan", "inf", "-1"),
        "end": ("nan", "inf", "-1", "0"),
        "threads": ("0", "-1", "100000000"),
        "max-pixels": ("0", "-1"),
    },
    "eval": {
        "limit": ("0", "-1"),
        "threads": ("0", "-1"),
        "iou": ("nan", "inf", "-1"),
        "conf": ("nan", "inf", "-1"),
        "rate": ("nan", "inf", "-1"),
        "resamples": ("-1",),
    },
    "convert": {
        "prune": ("0", "-1"),
        "input-size": ("0", "-1"),
        "max-ap-loss": ("nan", "inf", "-1"),
    },
    "train": {
        "steps": ("0", "-1"),
        "batch-size": ("0", "-1"),
        "learning-rate": ("nan", "inf", "-1", "0"),
        "seed": ("-1",),
        "workers": ("-1",),
        "threads": ("0", "-1", "100000000"),
    },
    "mask": {"workers": ("0", "-1")},
}


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    Image.open(DEMO).save(folder / "one.png")
    (folder / "faces.csv").write_text("class,x,y,w,h,image\nmask,10,10,40,40,one.png\n")
    return folder


def words_of(command, faces, target):
    data = ["--data", faces, "--images", faces]
    return {
        "detect": ["detect", faces / "one.png", "--framework", "onnx", "--csv", target],
        "eval": ["eval", *data, "--framework", "onnx", "--report", target],
        "convert": ["convert", "zoo-260", target],
        "train": ["train", *data, "--output", target],
        "mask": ["mask", faces / "one.png", target],
    }[command]


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [(c, o, v) for c, options in OPTIONS.items() for o, values in options.items() for v in values],
)
def test_a_command_refuses_numbers_that_nobody_can_mean(
    command, option, value, faces, tmp_path, capsys, caplog, need
):
    if command == "train":
        need("pytorch")
    target = tmp_path / "target.onnx"
    words = [*map(str, words_of(command, faces, target)), f"--{option}={value}"]
    assert cli.main(words) in (1, 2)
    out, err = capsys.readouterr()
    assert not out
    assert "expected" in caplog.text + err
    assert option.replace("-", "_") in (caplog.text + err).replace("-", "_")
    assert not target.exists()


IN_THE_WAY = {
    "detect --output": ["detect", DEMO, DEMO, "--framework", "onnx", "--output"],
    "detect --yolo": ["detect", DEMO, "--framework", "onnx", "--yolo"],
    "detect --voc": ["detect", DEMO, "--framework", "onnx", "--voc"],
    "detect --crops": ["detect", DEMO, "--framework", "onnx", "--crops"],
    "mask": ["mask", DEMO],
    "export": ["weights", "export", "--format", "onnx"],
    "train": ["train", "--data", "FACES", "--images", "FACES", "--output"],
    "eval --report": ["eval", "--data", "FACES", "--images", "FACES", "--report"],
    "eval --save": ["eval", "--data", "FACES", "--images", "FACES", "--save-results"],
}


@pytest.mark.parametrize("name", IN_THE_WAY)
@pytest.mark.parametrize("below", [False, True])
def test_a_file_where_a_folder_goes_is_said_before_the_work(
    name, below, faces, tmp_path, capsys, need
):
    if name == "train":
        need("pytorch")
    blocked = tmp_path / "blocked"
    blocked.write_text("theirs")
    words = [str(faces) if word == "FACES" else str(word) for word in IN_THE_WAY[name]]
    assert cli.main([*words, str(blocked / "inner" if below else blocked)]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert f"{blocked} is a file: expected a folder to write to" in err
    assert blocked.read_text() == "theirs"
