"""Lower precisions are judged by average precision where there are labelled pictures."""

from __future__ import annotations

import dataclasses
import json

import needs
import numpy as np
import pytest

from facemask_zoo import Detector, InvalidArgumentError, cli
from facemask_zoo.cards import DEFAULT_MODEL
from facemask_zoo.converters.conversion import convert
from facemask_zoo.converters.formats.registry import FORMATS
from facemask_zoo.errors import ConversionError, DatasetError
from facemask_zoo.model import Model


@pytest.fixture(scope="module")
def labelled(demo_picture, tmp_path_factory):
    """The demonstration picture, labelled with what the default model finds in it."""
    needs.module("faster_coco_eval")
    found = Detector.load().detect(demo_picture)
    lines = ["class,x,y,w,h,image"]
    for label, (x1, y1, x2, y2) in zip(found.labels, found.boxes.tolist(), strict=True):
        lines.append(f"{label},{x1},{y1},{x2 - x1},{y2 - y1},{demo_picture.name}")
    assert len(lines) > 2
    path = tmp_path_factory.mktemp("labelled") / "faces.csv"
    path.write_text("\n".join(lines))
    return path


def blinded(model: Model) -> Model:
    """The model with all scores near zero, in the order of the anchors' noise."""
    tensors = dict(model.tensors)
    for name, values in model.tensors.items():
        if name.startswith("cls_") and name.endswith("_conv.weight"):
            tensors[name] = -values
    return dataclasses.replace(model, tensors=tensors)


@pytest.mark.parametrize("name", [row.name for row in FORMATS.values() if "int8" in row.precisions])
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_average_precision_is_measured_before_and_after(
    name, precision, need, labelled, demo_picture, tmp_path
):
    need(name)
    report = convert(
        DEFAULT_MODEL,
        tmp_path / f"model{FORMATS[name].suffix}",
        precision=precision,
        pictures=[demo_picture],
        data=labelled,
        images=demo_picture.parent,
        # One picture for the ranges, two faces to judge by: one false box costs a quarter.
        max_ap_loss=0.3,
    )
    assert [each.framework for each in report.accuracy] == [name]
    (accuracy,) = report.accuracy
    assert accuracy.pictures == 1
    assert accuracy.before == dict.fromkeys(accuracy.before, 1.0)
    assert set(accuracy.before) == {"mask", "no_mask"}
    assert accuracy.acceptable
    assert report.passed
    assert "AP50 on" in report.to_text()


def test_a_loss_over_the_bound_leaves_no_file(
    need, labelled, demo_picture, tmp_path, monkeypatch, capsys
):
    need("onnx")
    module = FORMATS["onnx"].reduced
    write_half = module.write_half
    monkeypatch.setattr(module, "write_half", lambda model, path: write_half(blinded(model), path))
    monkeypatch.setattr("facemask_zoo.converters.proof._read_back", lambda *_: None)
    target, report = tmp_path / "out" / "model.onnx", tmp_path / "report.json"
    words = ["convert", DEFAULT_MODEL, str(target), "--precision", "fp16", "--report", str(report)]
    words += ["--data", str(labelled), "--images", str(demo_picture.parent)]
    assert cli.main(words) == 1
    assert "mean AP50 falls by 1.000 on onnx (at most 0.01)" in capsys.readouterr().err
    assert not target.exists()
    (accuracy,) = json.loads(report.read_text())["accuracy"]
    assert (accuracy["loss"], accuracy["bound"]) == (1.0, 0.01)
    assert set(accuracy["after"].values()) == {0.0}
    assert cli.main([*words, "--max-ap-loss", "1", "--overwrite"]) == 0
    assert target.is_file()


def test_full_precision_is_judged_by_single_outputs_as_well(
    need, labelled, demo_picture, tmp_path, monkeypatch
):
    need("onnx")
    from facemask_zoo.converters import conversion
    from facemask_zoo.converters.formats import onnx

    def write_shifted(model: Model, path) -> None:
        tensors = {name: values + np.float32(1e-4) for name, values in model.tensors.items()}
        onnx.write(dataclasses.replace(model.program, tensors=tensors), path)

    monkeypatch.setattr(conversion, "_writer", lambda *_: write_shifted)
    monkeypatch.setattr("facemask_zoo.converters.proof._read_back", lambda *_: None)
    with pytest.raises(ConversionError, match="outputs differ") as caught:
        convert(DEFAULT_MODEL, tmp_path / "m.onnx", data=labelled, images=demo_picture.parent)
    assert caught.value.report.accurate


@pytest.mark.parametrize("bound", [-0.1, 1.5, float("nan")])
def test_a_bound_that_is_no_share_is_refused(bound, labelled, demo_picture, tmp_path):
    with pytest.raises(InvalidArgumentError, match="max_ap_loss"):
        convert(
            DEFAULT_MODEL,
            tmp_path / "m.onnx",
            data=labelled,
            images=demo_picture.parent,
            max_ap_loss=bound,
        )


def test_pictures_without_faces_are_no_judge(demo_picture, tmp_path):
    data = tmp_path / "faces.csv"
    data.write_text("class,x,y,w,h,image\n")
    with pytest.raises(DatasetError):
        convert(DEFAULT_MODEL, tmp_path / "m.onnx", data=data, images=demo_picture.parent)
    assert not (tmp_path / "m.onnx").exists()
