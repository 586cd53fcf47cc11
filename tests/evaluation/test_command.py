import argparse
import csv
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyramids import seeded_pyramid

from facemask_zoo import model_files
from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.cards import load_card
from facemask_zoo.datasets import check, read
from facemask_zoo.detector import Detector
from facemask_zoo.errors import (
    DatasetError,
    FrameworkNotInstalledError,
    InvalidArgumentError,
    OutputError,
    UnknownNameError,
)
from facemask_zoo.evaluation import command, evaluate, extras, write_report
from facemask_zoo.evaluation.table import render
from facemask_zoo.model import Model

SHARED = Path(__file__).parents[3] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network with random weights that finds a few things in noise, as a file."""
    card = load_card("aizoo-260")
    stages = tuple(dataclasses.replace(stage, filters=8) for stage in card.network.stages)
    levels = tuple(
        dataclasses.replace(level, loc_filters=8, cls_filters=8) for level in card.network.levels
    )
    network = dataclasses.replace(card.network, stages=stages, levels=levels, input_size=132)
    random = np.random.default_rng(0)
    tensors = {
        name: random.normal(0, 0.25, shape).astype(np.float32)
        for name, shape in network.tensor_shapes.items()
    }
    for name in tensors:
        if name.startswith("cls") and name.endswith("_conv.bias"):
            tensors[name] -= 2
    card = dataclasses.replace(card.portable(), name="<b>toy</b>", architecture=network)
    path = tmp_path_factory.mktemp("weights") / "toy.onnx"
    model_files.write(Model(card, tensors), path, "onnx")
    return path


@pytest.fixture
def data(tmp_path):
    """Three pictures of noise, with faces, one to be ignored, and one that is missing."""
    random = np.random.default_rng(0)
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    rows = ["class,x,y,w,h,image"]
    for number in range(3):
        name = f"{number}<i>.png"
        pixels = random.integers(0, 255, (120, 160, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name)
        rows += [f"masked,10,10,30,40,{name}", f"not_masked,60,20,50,60,{name}"]
    (folder / "faces.csv").write_text("\n".join([*rows, "masked,1,1,9,9,gone.png"]))
    return folder


def call(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


def test_json_lines_and_the_files_of_a_report(tmp_path, weights, data, capsys):
    out = tmp_path / "report"
    assert (
        call("--data", data, "--model", weights, "--framework", "onnx", "--json", "--report", out)
        == 0
    )
    (line,) = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert result["pictures"] == 3
    assert result["faces"] == {"mask": 3, "no_mask": 3, "incorrect": 0}
    assert result["framework"] == "onnx"
    assert result["average_precision"]["mask"]["32-96"]["faces"] == 3
    assert sorted(path.name for path in out.iterdir()) == [
        "precision_recall.csv",
        "precision_recall.png",
        "report.html",
        "results.json",
        "thresholds.csv",
    ]
    stored = json.loads((out / "results.json").read_text())
    assert stored["runs"] == [result]
    assert stored["check"]["counts"] == {"missing picture": 1}
    with Image.open(out / "precision_recall.png") as image:
        image.load()
    rows = list(csv.DictReader((out / "thresholds.csv").open()))
    assert len(rows) == 3 * 19
    assert {"label", "threshold", "precision", "recall", "f1"} <= set(rows[0])
    points = list(csv.reader((out / "precision_recall.csv").open()))
    assert points[0] == ["model", "framework", "label", "score", "precision", "recall"]


def test_pictures_are_searched_in_windows(tmp_path, weights, data, capsys):
    words = ["--data", data, "--model", weights, "--framework", "onnx", "--json"]
    assert call(*words) == call(*words, "--tiles", 80, "--report", tmp_path / "out") == 0
    plain, tiled = map(json.loads, capsys.readouterr().out.splitlines())
    assert (plain.pop("tiles"), tiled.pop("tiles")) == (None, 80)
    assert plain != tiled
    assert "windows of 80 pixels" in (tmp_path / "out" / "report.html").read_text()
    boxes = tmp_path / "boxes.json"
    face = {"category_id": 1, "bbox": [10, 10, 30, 40], "score": 0.9}
    boxes.write_text(json.dumps([{"image_id": "images/0<i>.png", **face}]))
    with pytest.raises(InvalidArgumentError, match="--tiles: boxes from a file"):
        call("--data", data, "--model", "--tiles", 80, "--results", f"boxes={boxes}")


def test_the_page_stands_alone_and_escapes_text(tmp_path, weights, data):
    report = check(read(data))
    run = evaluate(Detector.load(weights, framework="onnx"), report.dataset, conf=0.1)
    write_report(tmp_path / "out", [run], report)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "&lt;i&gt;.png" in page
    assert "<i>" not in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert page.count("data:image/jpeg;base64,") >= 3
    assert "Loose boxes" in page


def test_the_table_and_the_protocol_of_dataroots(tmp_path, weights, data, capsys):
    out = tmp_path / "report"
    words = ["--data", data, "--model", weights, "--protocol", "dataroots", "--conf", "0.6"]
    assert call(*words, "--framework", "onnx", "--report", out) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["model", "framework", "conf"]
    assert "0.6" in line
    assert {"roc.csv", "roc.png", "report.html", "results.json"} == {p.name for p in out.iterdir()}
    (result,) = json.loads((out / "results.json").read_text())["runs"]
    assert (
        result["masked"]["correct"] + result["masked"]["wrong"] + result["masked"]["undetected"]
        == 3
    )


def test_two_frameworks_give_the_same_figures(weights, data, capsys):
    names = [name for name in ("onnx", "tflite", "pytorch") if FRAMEWORKS[name].installed][:2]
    if len(names) < 2:
        pytest.skip("needs two frameworks")
    call("--data", data, "--model", weights, "--framework", *names, "--json")
    first, second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [first["framework"], second["framework"]] == names
    assert sum(map(sum, first["confusion"]["counts"])) > 6  # something was found in the noise
    assert first["confusion"] == second["confusion"]
    for label, slices in first["average_precision"].items():
        for size, average in slices.items():
            assert second["average_precision"][label][size] == pytest.approx(average, abs=1e-3)


def test_one_model_is_measured_at_several_sizes(tmp_path, data, capsys):
    path = tmp_path / "any.safetensors"
    model_files.write(seeded_pyramid(), path, "safetensors")
    models = (path, f"{path}@96", f"{path}@64x128")
    assert call("--data", data, "--model", *models, "--resamples", "0", "--json") == 0
    runs = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    name = seeded_pyramid().card.name
    assert [run["model"] for run in runs] == [name, f"{name}@96", f"{name}@64x128"]
    assert len({json.dumps({**run, "model": ""}) for run in runs}) == len(models)


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        (["--sources", "nowhere"], DatasetError, "nowhere"),
        (["--limit", "0"], InvalidArgumentError, "at least 1"),
        (["--label", "chin"], InvalidArgumentError, "NAME=LABEL"),
        (["--label", "masked=bare"], UnknownNameError, "bare"),
        (["--framework", "onyx"], UnknownNameError, "onnx"),
        (["--images", "/nowhere"], DatasetError, "nowhere"),
        (["--iou", "2"], InvalidArgumentError, "iou"),
        (["--conf", "-1"], InvalidArgumentError, "conf"),
        (["--tiles", "65"], InvalidArgumentError, "at least 66 pixels"),
    ],
)
def test_wrong_options_are_explained(weights, data, words, error, text):
    with pytest.raises(error, match=text):
        call("--data", data, "--model", weights, *words)


def test_data_without_usable_faces_is_refused(data, weights):
    (data / "faces.csv").write_text("class,x,y,w,h,image\nhand,1,1,2,2,0<i>.png\n")
    with pytest.raises(DatasetError, match="1 x unknown category"):
        call("--data", data, "--model", weights)


def test_a_missing_package_is_named():
    with pytest.raises(FrameworkNotInstalledError, match=r"facemask-zoo\[evaluation\]"):
        extras.require("a_package_that_is_not_there.part")


def test_table():
    text = render([{"a": 0.12345, "b": None}, {"a": "x", "c": 3}])
    assert text.splitlines() == ["a      b  c", "0.123  -  -", "x      -  3"]


@needs_shared
@pytest.mark.shared
def test_photographs(monkeypatch, capsys):
    monkeypatch.setenv("FACEMASK_ZOO_MIRROR", str(SHARED / "aizoo"))
    two_stage = SHARED / "data" / "two_stage"
    words = ["--model", "aizoo-260", "--framework", "onnx", "--threads", 1, "--limit", 20]
    call("--data", two_stage, "--protocol", "dataroots", "--json", *words)
    result = json.loads(capsys.readouterr().out)
    assert result["masked"] == {"correct": 13, "wrong": 1, "undetected": 8}


@pytest.fixture
def negatives(tmp_path):
    """Three pictures of noise that are said to show no face."""
    random = np.random.default_rng(1)
    folder = tmp_path / "negatives"
    folder.mkdir()
    for number in range(3):
        pixels = random.integers(0, 255, (90, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_boxes_from_a_file_give_the_figures_of_the_model(
    tmp_path, weights, data, negatives, capsys
):
    boxes = tmp_path / "boxes"
    common = ["--data", data, "--negatives", negatives, "--negatives-last", 2, "--resamples", 20]
    common += ["--conf", 0.3, "--false-at", 0.2, 0.9, "--rate", 0.5, 1, "--json"]
    call(*common, "--model", weights, "--framework", "onnx", "--save-results", boxes)
    model = json.loads(capsys.readouterr().out)
    found, on_negatives = sorted(boxes.glob("*.json"))[::-1]
    if on_negatives.name.count(".") == 1:
        found, on_negatives = on_negatives, found
    files = ["--results", f"toy={found}", "--negative-results", f"toy={on_negatives}"]
    call(*common, "--model", *files)
    again = json.loads(capsys.readouterr().out)
    assert model["negatives"]["pictures"] == 2
    assert model["negatives"]["at"][0]["threshold"] == 0.3
    assert model["negatives"]["at"][1]["boxes"] > 0
    # At 0.2 more is reported than what average precision needs (.01); nothing may get lost.
    assert again["negatives"] == model["negatives"]
    assert again["figures"]["recall at 1"]["low"] is not None
    for name, figure in model["figures"].items():
        assert again["figures"][name] == pytest.approx(figure, abs=1e-6)
    assert (again["framework"], again["nms"]) == ("", None)


def test_faces_of_no_class_stand_in_the_same_table(tmp_path, weights, data, capsys):
    entry = {
        "image_id": "images/0<i>.png",
        "category_id": 9,
        "bbox": [10, 10, 30, 40],
        "score": 0.9,
    }
    (tmp_path / "faces.json").write_text(json.dumps([entry]))
    file = f"YuNet@0.6={tmp_path / 'faces.json'}"
    words = ["--data", data, "--model", weights, "--framework", "onnx", "--resamples", 0]
    call(*words, "--face-results", file, "--second-opinion", file, "--report", tmp_path / "out")
    head, _, line = capsys.readouterr().out.splitlines()
    row = dict(zip(re.split(r"\s{2,}", head), re.split(r"\s{2,}", line), strict=False))
    assert (row["model"], row["conf"]) == ("YuNet", "0.6")
    assert (row["AP50 mask"], row["AP50 no_mask"]) == ("-", "-")
    assert row["AP50 any"] == f"{17 / 101:.3f}"  # one of six faces: levels 0 to .16
    assert row["recall at 0.1"] == f"{1 / 6:.3f}"


def test_an_annotation_file_without_its_pictures(data, weights):
    for picture in (data / "images").iterdir():
        picture.unlink()
    with pytest.raises(DatasetError, match="4 x missing picture"):
        call("--data", data, "--model", weights)


def test_an_earlier_report_is_found_before_anything_runs(tmp_path, weights, data):
    (tmp_path / "results.json").write_text("mine")
    with pytest.raises(OutputError):
        call("--data", data, "--model", weights, "--report", tmp_path)
    assert (tmp_path / "results.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        (["--group", "clean"], InvalidArgumentError, "NAME=A,B"),
        (["--group", "clean=nowhere"], DatasetError, "nowhere"),
        (["--rate", "0"], InvalidArgumentError, "rate"),
        (["--resamples", "-1"], InvalidArgumentError, "resamples"),
        (["--negatives-last", "3"], InvalidArgumentError, "needs --negatives"),
        (["--false-at", ".5"], InvalidArgumentError, "needs --negatives"),
        (["--negatives", "/nowhere"], DatasetError, "nowhere"),
        (["--results", "boxes.json"], InvalidArgumentError, "NAME"),
        (["--results", "x@2=boxes.json"], InvalidArgumentError, "threshold"),
        (["--results", "x@y=boxes.json"], InvalidArgumentError, "threshold"),
        (["--results", "x=/nowhere.json"], DatasetError, "nowhere"),
        (["--second-opinion", "x=/nowhere.json"], DatasetError, "nowhere"),
        (["--model"], InvalidArgumentError, "--model"),
        (["--model", "zoo-26"], UnknownNameError, "zoo-260"),
    ],
)
def test_more_wrong_options_are_explained(weights, data, words, error, text):
    with pytest.raises(error, match=text):
        call("--data", data, "--model", weights, *words)


def test_the_protocol_of_dataroots_needs_classes(tmp_path, data):
    entry = {
        "image_id": "images/0<i>.png",
        "category_id": 9,
        "bbox": [10, 10, 30, 40],
        "score": 0.9,
    }
    (tmp_path / "faces.json").write_text(json.dumps([entry]))
    with pytest.raises(InvalidArgumentError, match="needs classes"):
        call(
            "--data",
            data,
            "--model",
            "--protocol",
            "dataroots",
            "--face-results",
            f"x={tmp_path / 'faces.json'}",
        )
