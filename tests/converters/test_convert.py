"""Conversions are proven by running the result, and leave nothing behind when the proof fails."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys

import needs
import numpy as np
import pytest
from graphs import seeded_program
from places import ROOT
from seeded import FULL, SMALL, seeded_model

from facemask_zoo import InvalidArgumentError, WeightsError, cli, model_files
from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.cards import NO_TASK, ModelCard
from facemask_zoo.converters import proof
from facemask_zoo.converters.conversion import convert
from facemask_zoo.converters.formats.registry import FORMATS
from facemask_zoo.converters.proof import FACTORS
from facemask_zoo.converters.runners import RUNNERS
from facemask_zoo.errors import (
    ConversionError,
    FrameworkNotInstalledError,
    ImageError,
    OutputError,
    UnknownNameError,
)
from facemask_zoo.files import sha256_of
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.signature import DEFAULT_TOLERANCE, PROBABILITY_TOLERANCE
from facemask_zoo.model import Model
from facemask_zoo.ssd.network import LOC_NAME, SCORES_NAME

MODEL = seeded_model(SMALL, 21)
LOC_TOLERANCE, SCORE_TOLERANCE = DEFAULT_TOLERANCE, PROBABILITY_TOLERANCE
REDUCED = [
    (row.name, precision)
    for row in FORMATS.values()
    for precision in row.precisions
    if precision != "fp32"
]


def scaled(model: Model, factor: float) -> Model:
    """The model with box offsets that single precision cannot hold to within the tolerance."""
    tensors = {
        name: values * np.float32(factor if name.startswith("loc_") else 1)
        for name, values in model.tensors.items()
    }
    return dataclasses.replace(model, tensors=tensors)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source" / "modèle.safetensors"
    model_files.write(MODEL, path, "safetensors")
    return path


@pytest.fixture
def drifting(tmp_path):
    path = tmp_path / "source" / "drifting.safetensors"
    model_files.write(scaled(MODEL, 60), path, "safetensors")
    return path


def names_in(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_large_network_is_proven_sample_by_sample(source, tmp_path, monkeypatch):
    whole = convert(source, tmp_path / "a.onnx")
    monkeypatch.setattr(proof, "_MAX_NUMBERS", 0)
    parts = convert(source, tmp_path / "b.onnx")
    assert parts.passed
    assert [run.framework for run in parts.proof.runs] == [r.framework for r in whole.proof.runs]
    for each, other in zip(whole.proof.runs, parts.proof.runs, strict=True):
        assert len(each.differences) == len(other.differences)


@pytest.mark.parametrize("name", [row.name for row in FORMATS.values() if row.writes])
def test_every_format_is_proven(name, source, tmp_path, request):
    row = FORMATS[name]
    target = tmp_path / "out" / f"modèle{row.suffix}"
    report = convert(source, target, name)
    assert report.passed
    assert report.proof.tensors_equal is (True if row.reads else None)
    runners = {framework.name for framework in FRAMEWORKS.values() if name in framework.formats}
    if name in RUNNERS:
        runners.add(RUNNERS[name].name)
    assert {run.framework for run in report.proof.runs} <= runners
    for run in report.proof.runs:
        apart = name in RUNNERS  # whose packages may be missing: the tests of the format say so
        if not run.installed and (apart or not request.config.getoption("--require-frameworks")):
            continue
        plain = [] if row.gives_boxes else ["zeros", "half"]
        assert [entry.sample for entry in run.differences] == [*plain, "noise", "drawing"]
        for entry in run.differences:
            assert entry.outputs[LOC_NAME] <= LOC_TOLERANCE
            assert entry.outputs[SCORES_NAME] <= SCORE_TOLERANCE
            # A picture without detail excites neighbours alike: which is kept is a matter of luck.
            assert entry.same_faces or entry.sample in ("zeros", "half")
    assert report.tensors_sha256 == MODEL.digest
    for file in report.proof.files:
        path = (target if target.is_dir() else target.parent) / file.name.removeprefix(
            f"{target.name}/"
        )
        assert (path.stat().st_size, sha256_of(path)) == (file.size, file.sha256)
    if row.reads:
        assert model_files.read(target).digest == MODEL.digest


@pytest.mark.parametrize(("name", "precision"), REDUCED)
def test_lower_precisions_are_smaller_and_near(name, precision, source, need, portrait, tmp_path):
    need(name)
    target = tmp_path / f"model{FORMATS[name].suffix}"
    report = convert(source, target, precision=precision, pictures=[portrait])
    assert report.passed
    assert report.proof.has_run
    assert LOC_TOLERANCE < report.proof.worst[LOC_NAME] <= LOC_TOLERANCE * FACTORS[precision]
    readable = precision == "fp16" and FORMATS[name].reads
    assert report.proof.tensors_equal is (True if readable else None)


def test_integers_without_pictures_are_refused(source, need, tmp_path):
    need("onnx")
    with pytest.raises(InvalidArgumentError, match="pictures"):
        convert(source, tmp_path / "model.onnx", precision="int8")
    assert names_in(tmp_path) == ["source"]


def test_a_difference_over_the_tolerance_leaves_no_file(drifting, need, tmp_path):
    need("onnx")
    folder = tmp_path / "out"
    with pytest.raises(ConversionError, match="outputs differ by") as caught:
        convert(drifting, folder / "model.onnx")
    report = caught.value.report
    assert report.proof.whole
    assert not report.passed
    assert report.proof.worst[LOC_NAME] > LOC_TOLERANCE
    assert report.proof.worst[SCORES_NAME] <= SCORE_TOLERANCE
    assert names_in(folder) == []


def test_a_failed_conversion_leaves_what_was_there(drifting, need, tmp_path):
    need("opencv")
    folder = tmp_path / "out"
    model_files.write(MODEL, folder / "model.caffemodel", "caffe")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ConversionError):
        convert(drifting, folder / "model.caffemodel", overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_drift_may_be_allowed(drifting, need, tmp_path):
    need("onnx")
    report = convert(drifting, tmp_path / "model.onnx", allow_drift=True)
    assert not report.passed
    assert "Out of tolerance" in report.to_text()
    assert model_files.read(tmp_path / "model.onnx").digest == model_files.read(drifting).digest


def test_outputs_that_are_not_numbers_are_no_proof(need, tmp_path):
    """Weights that are finite, and sums that are not, in single precision."""
    need("onnx")
    huge = dataclasses.replace(
        MODEL, tensors={name: values * np.float32(1e30) for name, values in MODEL.tensors.items()}
    )
    model_files.write(huge, tmp_path / "huge.safetensors", "safetensors")
    with pytest.raises(ConversionError) as caught:
        convert(tmp_path / "huge.safetensors", tmp_path / "huge.onnx")
    report = caught.value.report
    assert not math.isfinite(report.proof.worst[LOC_NAME])
    assert json.loads(report.to_json())["largest_difference"][LOC_NAME] is None
    assert not (tmp_path / "huge.onnx").exists()


def test_a_folder_is_replaced_by_a_folder(source, need, tmp_path):
    need("tensorflow")
    for _ in range(2):
        report = convert(source, tmp_path / "saved", "saved_model", overwrite=True)
        assert report.passed
    assert (tmp_path / "saved" / "saved_model.pb").is_file()


def with_dead_filters() -> Model:
    """The model, with two of the eight filters of its second layer dead."""
    tensors = {name: values.copy() for name, values in MODEL.tensors.items()}
    tensors["conv2d_1.weight"][[1, 4]], tensors["conv2d_1.bias"][[1, 4]] = 0, -1
    return dataclasses.replace(MODEL, tensors=tensors)


def test_dead_filters_go_and_the_outputs_are_those_of_the_whole_model(source, need, tmp_path):
    need("onnx")
    model_files.write(with_dead_filters(), source, "safetensors", overwrite=True)
    report = convert(source, tmp_path / "pruned.onnx", prune=1)
    read = model_files.read(tmp_path / "pruned.onnx")
    assert [stage.filters for stage in read.card.network.stages] == [5, 6, 7, 9, 6]
    assert report.parameters == read.card.network.parameter_count < report.source_parameters
    convert(source, tmp_path / "wide.onnx", prune=8)
    read = model_files.read(tmp_path / "wide.onnx")
    assert [stage.filters for stage in read.card.network.stages] == [5, 8, 7, 9, 6]


def test_the_input_size_may_be_changed(source, need, tmp_path):
    need("onnx")
    report = convert(source, tmp_path / "large.onnx", input_size=131)
    read = model_files.read(tmp_path / "large.onnx")
    assert read.card.network == SMALL.with_input_size(131)
    assert read.card.network.anchor_count != SMALL.anchor_count
    assert report.proof.has_run


def test_pictures_are_compared(source, need, demo_picture, portrait, tmp_path):
    need("onnx")
    report = convert(source, tmp_path / "m.onnx", pictures=[demo_picture, portrait.read_bytes()])
    (run,) = [run for run in report.proof.runs if run.framework == "onnx"]
    assert [entry.sample for entry in run.differences][3:] == ["demo.jpg", "picture 2"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"to": "onxx"}, UnknownNameError, "Did you mean 'onnx'"),
        ({"to": "aizoo_pth"}, WeightsError, "can be read, but not written"),
        ({"precision": "fp8"}, UnknownNameError, "precision"),
        ({"to": "caffe", "precision": "int8"}, WeightsError, "is written in fp32, but got .*int8"),
        ({"prune": 0}, InvalidArgumentError, "multiple"),
        ({"input_size": 3}, InvalidArgumentError, "input_size"),
        ({"input_size": 1 << 20}, InvalidArgumentError, "input_size"),
        ({"pictures": ["missing.jpg"]}, ImageError, "no picture"),
    ],
)
def test_wrong_calls_write_nothing(options, error, message, source, tmp_path):
    with pytest.raises(error, match=message):
        convert(source, tmp_path / "out" / "model.onnx", **options)
    assert names_in(tmp_path / "out") == []


def test_sources_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(WeightsError, match="like no format"):
        convert(tmp_path / "text.onnx", tmp_path / "model.pt")
    with pytest.raises(UnknownNameError, match="no file of that name"):
        convert(tmp_path / "missing", tmp_path / "model.pt")
    assert names_in(tmp_path) == ["text.onnx"]


def test_a_target_that_cannot_be_written_is_refused(source):
    with pytest.raises(OutputError, match="expected a folder"):
        convert(source, source / "below" / "a" / "file.pt")


def test_without_its_framework_a_file_is_written_and_called_unproven(source, tmp_path, monkeypatch):
    for row in FRAMEWORKS.values():
        if "tflite" in row.formats:
            missing = dataclasses.replace(row, imports="absent_framework")
            monkeypatch.setitem(FRAMEWORKS, row.name, missing)
    report = convert(source, tmp_path / "model.tflite")
    assert report.proof.tensors_equal
    assert not report.proof.has_run
    (run,) = report.proof.runs
    assert not run.installed
    assert "pip install 'facemask-zoo[tflite]'" in report.to_text()
    assert "unproven" in report.to_text()


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML runs here")
def test_where_core_ml_does_not_run_the_verdict_says_so(source, tmp_path):
    needs.module("coremltools")
    report = convert(source, tmp_path / "model.mlpackage")
    assert report.passed
    assert not report.proof.has_run
    verdict = report.to_text().splitlines()[-1]
    assert verdict == "The outputs are unproven: Core ML runs on Apple's systems alone."


def test_average_precision_is_not_asked_of_what_nothing_here_runs(source, tmp_path, monkeypatch):
    """A format that no framework has, and one whose framework is not installed."""
    for name in ("tfjs", "coreml", "onnx_nms"):
        assert not any(name in row.formats for row in FRAMEWORKS.values())
        with pytest.raises(InvalidArgumentError, match="data: no framework runs"):
            convert(source, tmp_path / "model", name, data=tmp_path / "labels.json")
    absent = dataclasses.replace(FRAMEWORKS["openvino"], imports="absent_framework")
    monkeypatch.setitem(FRAMEWORKS, "openvino", absent)
    with pytest.raises(FrameworkNotInstalledError, match=r"pip install 'facemask-zoo\[openvino\]'"):
        convert(source, tmp_path / "model.xml", data=tmp_path / "labels.json")
    assert names_in(tmp_path) == ["source"]


def test_a_writer_without_its_package_names_the_line(source, tmp_path, monkeypatch):
    row = dataclasses.replace(FORMATS["onnx"], name="absent", extra="onnx")
    monkeypatch.setitem(FORMATS, "onnx", row)
    with pytest.raises(FrameworkNotInstalledError, match=r"pip install 'facemask-zoo\[onnx\]'"):
        convert(source, tmp_path / "model.onnx")
    assert names_in(tmp_path) == ["source"]


def test_the_command_reports(source, need, demo_picture, tmp_path, capsys):
    need("onnx")
    target, report = tmp_path / "model.onnx", tmp_path / "report.json"
    words = [source, target, "--report", report, "--picture", demo_picture]
    assert cli.main(["convert", *map(str, words)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "read back: equal bit for bit" in captured.err
    assert "Proven" in captured.err
    values = json.loads(report.read_text())
    assert values["passed"] is True
    assert values["format"] == "onnx"
    assert tuple(values["input_shape"]) == SMALL.graph.input_shape
    (file,) = values["proof"]["files"]
    assert (file["name"], file["sha256"]) == ("model.onnx", sha256_of(target))
    assert values["versions"]["onnx"]
    assert 0 < values["largest_difference"][LOC_NAME] <= LOC_TOLERANCE


def test_the_command_fails_over_the_tolerance(drifting, need, tmp_path, capsys):
    need("onnx")
    target, report = tmp_path / "model.onnx", tmp_path / "report.json"
    words = ["convert", str(drifting), str(target), "--report", str(report)]
    assert cli.main(words) == 1
    captured = capsys.readouterr()
    assert "was not written" in captured.err
    assert "Traceback" not in captured.err
    assert not target.exists()
    assert json.loads(report.read_text())["passed"] is False
    assert cli.main([*words, "--allow-drift", "--overwrite"]) == 0
    assert target.is_file()


@pytest.mark.parametrize(
    ("name", "to", "report"),
    [
        ("model.onnx", "onnx", "model.onnx"),
        ("model.xml", "openvino", "model.bin"),
        ("model.param", "ncnn", "model.bin"),
        ("saved", "saved_model", "saved/report.json"),
    ],
)
def test_a_report_takes_no_place_of_what_is_written(
    name, to, report, source, need, tmp_path, capsys
):
    need("tensorflow" if to == "saved_model" else to)
    words = ["convert", str(source), str(tmp_path / name), "--to", to]
    words += ["--report", str(tmp_path / report), "--overwrite"]
    assert cli.main(words) == 1
    assert "is part of" in capsys.readouterr().err
    assert names_in(tmp_path) == ["source"]


@pytest.mark.parametrize("report", ["m.param", "m.bin"])
def test_a_report_takes_no_place_of_the_source(report, need, tmp_path, capsys):
    need("onnx")
    model_files.write(MODEL, tmp_path / "m.param", "ncnn")
    before = {path: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    words = ["convert", str(tmp_path / "m.param"), str(tmp_path / "o.onnx"), "--overwrite"]
    assert cli.main([*words, "--report", str(tmp_path / report)]) == 1
    assert "source" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in sorted(tmp_path.iterdir())} == before


@pytest.mark.parametrize("pictures", [5, "demo.jpg", b"bytes"])
def test_pictures_are_several(pictures, source, tmp_path):
    with pytest.raises(InvalidArgumentError, match="pictures: expected several"):
        convert(source, tmp_path / "m.onnx", pictures=pictures)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_pictures_are_refused_for_networks_that_see_none(precision, portrait, tmp_path):
    b = GraphBuilder("x", (4,))
    program = seeded_program(b.finish(b.add(ops.Linear, "y", "x", features=2)))
    bare = ModelCard("bare", "", None, task=NO_TASK)
    model_files.write(Model(bare, program.tensors, program.graph), tmp_path / "v.onnx", "onnx")
    with pytest.raises(InvalidArgumentError, match="no picture of three channels"):
        convert(tmp_path / "v.onnx", tmp_path / "m.onnx", precision=precision, pictures=[portrait])


def test_a_target_that_is_no_text_is_refused(source, tmp_path):
    with pytest.raises(InvalidArgumentError, match="target"):
        convert(source, f"{tmp_path}/z\udcff.onnx")


def two_heads() -> Graph:
    b = GraphBuilder("x", (3, 8, 8))
    z = b.add(ops.Convolution, "z", "x", filters=4, kernel=(3, 3))
    return b.finish(b.add(ops.Convolution, "y", "x", filters=2, kernel=(3, 3)), z)


def uneven_and_dilated() -> Graph:
    b = GraphBuilder("x", (3, 8, 8))
    more = {"kernel": (3, 3), "padding": (0, 1, 2, 3), "dilations": (2, 1)}
    return b.finish(b.add(ops.Convolution, "y", "x", filters=4, **more))


def softmax_over_rows() -> Graph:
    b = GraphBuilder("x", (3, 8, 8))
    x = b.add(ops.Convolution, "c", "x", filters=4, kernel=(3, 3))
    return b.finish(b.add(ops.Softmax, "y", x, axis=2))


@pytest.mark.parametrize(
    ("graph", "name"),
    [
        (two_heads(), "caffe"),
        (two_heads(), "ncnn"),
        (uneven_and_dilated(), "caffe"),
        (softmax_over_rows(), "tflite"),
    ],
    ids=["two heads, caffe", "two heads, ncnn", "uneven", "softmax"],
)
def test_what_a_format_has_in_another_form_is_proven_by_its_outputs(graph, name, need, tmp_path):
    need({"caffe": "opencv"}.get(name, name))
    program = seeded_program(graph)
    bare = ModelCard("bare", "", None, task=NO_TASK)
    model_files.write(Model(bare, program.tensors, graph), tmp_path / "m.onnx", "onnx")
    report = convert(tmp_path / "m.onnx", tmp_path / f"m{FORMATS[name].suffix}", name)
    assert report.passed
    assert report.proof.comes_back


def test_another_network_of_other_outputs_is_not_alike():
    """Of the same ends, so that numbers alone tell."""
    tensors = {name: values.copy() for name, values in MODEL.tensors.items()}
    tensors["cls_0_conv.bias"] += np.float32(1e-3)
    changed = dataclasses.replace(MODEL, tensors=tensors)
    back = proof._Back(MODEL, changed)
    batch = np.zeros((1, *MODEL.graph.input_shape), np.float32)
    assert not back.is_equal
    assert not back.is_alike(batch)
    assert proof._Back(MODEL, MODEL).is_alike(batch)


def test_a_source_that_is_trusted_is_run_itself(need, tmp_path, capsys):
    need("onnx")
    model_files.write(MODEL, tmp_path / "m.onnx", "onnx")
    words = ["convert", str(tmp_path / "m.onnx"), str(tmp_path / "o.safetensors"), "--trust"]
    assert cli.main(words) == 0
    assert "the source itself on onnx" in capsys.readouterr().err


def test_a_source_that_was_misread_is_refused(need, tmp_path, monkeypatch):
    """Whatever a reader takes for something else, the source's own framework knows better."""
    need("onnx")
    program = seeded_program(two_heads())
    bare = ModelCard("bare", "", None, task=NO_TASK)
    model_files.write(Model(bare, program.tensors, program.graph), tmp_path / "m.onnx", "onnx")
    wrong = {name: values * np.float32(1.1) for name, values in program.tensors.items()}
    misread = Model(bare, wrong, program.graph)
    monkeypatch.setattr("facemask_zoo.store.Weights.model", lambda self: misread)
    target = tmp_path / "o.safetensors"
    with pytest.raises(ConversionError, match="the source itself answers otherwise"):
        convert(tmp_path / "m.onnx", target, trust=True, allow_drift=True)
    assert not target.exists()
    assert convert(tmp_path / "m.onnx", target).reading is None


def test_the_command_prunes(source, need, tmp_path):
    need("onnx")
    model_files.write(with_dead_filters(), source, "safetensors", overwrite=True)
    for words, widths in (
        (["--prune"], [5, 6, 7, 9, 6]),
        (["--prune", "8"], [5, 8, 7, 9, 6]),
    ):
        target = tmp_path / "model.onnx"
        assert cli.main(["convert", str(source), str(target), "--overwrite", *words]) == 0
        network = model_files.read(target).card.network
        assert [stage.filters for stage in network.stages] == widths


@pytest.mark.shared
@pytest.mark.parametrize(
    "name",
    [
        "face_mask_detection.pth",
        "face_mask_detection.pb",
        "face_mask_detection.params",
        "face_mask_detection.caffemodel",
        "face_mask_detection.tflite",
    ],
)
def test_what_aizoo_published_converts(name, shared, need, demo_picture, tmp_path):
    need("tflite")
    report = convert(
        shared / "aizoo" / name, tmp_path / "m.tflite", prune=16, pictures=[demo_picture]
    )
    assert report.passed
    assert report.proof.has_run
    assert report.source_parameters == FULL.parameter_count
    assert report.proof.runs[0].differences[-1].faces == 2
    assert report.proof.runs[0].differences[-1].same_faces


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "target", "needless"),
    [("model360.pth", "out.tflite", "torch"), ("face_mask_detection.params", "out.onnx", "mxnet")],
)
def test_the_framework_of_the_source_is_not_needed(name, target, needless, shared, need, tmp_path):
    need(target.removeprefix("out."))
    program = f"""
import sys
sys.modules[{needless!r}] = None  # an import of it fails
from facemask_zoo import cli
sys.exit(cli.main(["convert", {str(shared / "aizoo" / name)!r}, {target!r}]))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "Proven" in result.stderr
