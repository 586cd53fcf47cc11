"""Benchmarks of speed: short real runs, and what is refused before anything is measured."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

import needs
import numpy as np
import pytest
from PIL import Image
from places import PICTURES

from facemask_zoo import Detector
from facemask_zoo.benchmarks import (
    bench_results,
    command,
    fastest,
    growth,
    peers,
    performance,
    processes,
)
from facemask_zoo.benchmarks.cases import Case, Settings, in_process, plan
from facemask_zoo.benchmarks.timing import Summary
from facemask_zoo.cards import load_card
from facemask_zoo.cli import main
from facemask_zoo.errors import DatasetError, InvalidArgumentError
from facemask_zoo.images import load_image
from facemask_zoo.ssd import postprocess

SHORT = ["--rounds", "1", "--warm-up", "1", "--repeats", "2", "--threads", "1"]
DEMO = PICTURES / "demo.jpg"


@pytest.fixture(scope="module", name="measured")
def _measured(tmp_path_factory):
    """The folder of a real run of two cases, one of which the framework cannot do."""
    needs.framework("onnx")
    needs.package("matplotlib")
    folder = tmp_path_factory.mktemp("bench")
    words = ["bench", "--framework", "onnx", "--precision", "fp32", "int8", *SHORT]
    assert main([*words, "--picture", str(DEMO), "--output", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module", name="results")
def _results(measured):
    return bench_results.read(measured / command.JSON_NAME)


def test_a_run_says_all_there_is_to_say(results):
    (row,) = results["rows"]
    assert bench_results.case_of(row) == Case("onnx", "zoo-260", "fp32", 1, 1)
    for name in bench_results.WHOLES:
        summary = row[name]
        assert 0 < summary["p10"] <= summary["median"] <= summary["p90"] <= summary["p99"]
    assert set(row["stages"]) == {"read", "preprocess", "inference", "postprocess"}
    assert min(row["stages"].values()) > 0
    assert row["limit_ms"] == pytest.approx(
        load_card("zoo-260").network.graph.multiply_adds / results["limits"]["1"]["fp32"] * 1000
    )
    assert row["first_result_s"] > row["load_s"] > 0
    assert results["import_s"] > 0
    assert {"processor", "instruction_sets", "cores", "python"} <= set(results["machine"])
    (skipped,) = results["skipped"]
    assert "int8" in skipped["case"]
    assert "8-bit integers need pictures" in skipped["why"]


def test_a_run_is_also_a_table_and_a_picture(measured, results):
    (line,) = csv.DictReader(io.StringIO((measured / command.CSV_NAME).read_text()))
    assert float(line["network_p90"]) == pytest.approx(results["rows"][0]["network"]["p90"])
    with Image.open(measured / command.LATENCY_NAME) as image:
        image.load()
    with pytest.raises(DatasetError, match="evaluated"):
        command.write(measured, results, [{"model": "other", "figures": {}}], overwrite=True)


def test_a_run_compared_with_itself_and_with_another(results, measured):
    (same,) = bench_results.ratios(results, results)
    assert same["network"] == same["array"] == same["file"] == 1
    path = measured / command.JSON_NAME
    other = plan(["onnx"], ["zoo-260"], ["fp32"], [4], [1])
    with pytest.raises(DatasetError, match="none of these cases"):
        bench_results.check_comparable(results, other, path)


def test_the_order_of_frameworks_is_recorded_for_the_kind_of_processor(results, tmp_path, capsys):
    (row,) = results["rows"]
    slow = {"median": row["array"]["median"] * 2}
    rows = [
        row | {"framework": "ncnn", "array": slow},
        row,
        row | {"framework": "keras", "batch": 8},
    ]
    machine = results["machine"] | {"instruction_sets": "avx avx2"}
    path, table = tmp_path / "results.json", tmp_path / "fastest.json"
    path.write_text(json.dumps(results | {"rows": rows, "machine": machine}))
    table.write_text(json.dumps({"neon": {"frameworks": ["tflite"]}}))
    assert fastest.main([str(path), "--write", str(table)]) == 0
    assert capsys.readouterr().out == "avx2: onnx, ncnn\n"
    written = json.loads(table.read_text())
    assert written["neon"] == {"frameworks": ["tflite"]}
    assert written["avx2"]["frameworks"] == ["onnx", "ncnn"]
    assert written["avx2"]["machine"] == machine


def test_an_order_takes_the_default_model_and_a_known_processor(results, tmp_path):
    with pytest.raises(DatasetError, match="instruction sets"):
        fastest.order(results | {"machine": {}})
    (row,) = results["rows"]
    known = {"machine": {"instruction_sets": "asimd"}}
    with pytest.raises(DatasetError, match="no row of zoo-260"):
        fastest.order(results | known | {"rows": [row | {"model": "aizoo-260"}]})
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results | {"machine": {"instruction_sets": "asimd"}}))
    for content in ("", "[]", '{"avx2": ["onnx"]}'):
        (tmp_path / "table.json").write_text(content)
        with pytest.raises(DatasetError, match="table"):
            fastest.main([str(path), "--write", str(tmp_path / "table.json")])
        assert (tmp_path / "table.json").read_text() == content


def test_nothing_is_measured_where_results_are_in_the_way(measured, capsys):
    assert main(["bench", "--framework", "onnx", "--output", str(measured)]) == 1
    log = capsys.readouterr().err
    assert "exists already" in log
    assert "preparing" not in log


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--framework", "onyx"], "Did you mean 'onnx'"),
        (["--model", "zoo-261"], "Did you mean 'zoo-260'"),
        (["--precision", "fp12"], "Unknown precision"),
        (["--batch", "0"], "batch: expected positive"),
        (["--threads", "-1"], "threads: expected positive"),
        (["--rounds", "0"], "rounds: expected at least 1"),
        (["--picture", "nowhere.jpg"], "There is no picture"),
        (["--compare", "nowhere.json"], "holds no results"),
        (["--accuracy", "nowhere.json"], "nowhere.json"),
        (["--write", "nowhere.md"], "cannot be read"),
        (["--write", str(DEMO.parent.parent / "training.md")], "has no section"),
    ],
)
def test_what_is_wrong_is_said_at_the_start(words, message, capsys):
    assert main(["bench", "--framework", "onnx", *words]) == 1
    log = capsys.readouterr().err
    assert message in log
    assert "preparing" not in log


def test_results_of_other_kinds_are_refused(tmp_path, results):
    path = tmp_path / "old.json"
    wrong = [
        [],
        {"kind": "other"},
        results | {"schema": 99},
        results | {"rows": []},
        results | {"rows": [{**results["rows"][0], "network": {"median": float("nan")}}]},
        results | {"rows": [{**results["rows"][0], "network": {"median": True}}]},
        results | {"machine": 3},
    ]
    for content in wrong:
        path.write_text(json.dumps(content))
        with pytest.raises(DatasetError, match=r"old\.json"):
            bench_results.read(path)


def test_no_model_is_nothing_to_measure():
    with pytest.raises(InvalidArgumentError, match="nothing to measure"):
        plan(["onnx"], [], ["fp32"], [1], [1])


def test_a_process_that_dies_is_a_problem_not_an_exception():
    case = Case("onnx", "/nowhere/model.onnx", "fp32", 1, 1)
    assert "nowhere" in in_process(case, Settings())["problem"]


def test_a_process_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(processes, "LONGEST_SECONDS", 1)
    assert "did not end" in processes.run_python("-c", "import time; time.sleep(60)")["problem"]


def test_summary_by_hand():
    summary = Summary.of([float(value) for value in range(101)])
    assert (summary.median, summary.p10, summary.p90, summary.p99) == (50, 10, 90, 99)


@pytest.fixture(scope="module", name="rivals")
def _rivals(tmp_path_factory):
    needs.framework("onnx")
    path = tmp_path_factory.mktemp("peers") / "peers.json"
    words = ["--framework", "onnx", *SHORT, "--picture", str(DEMO), "--output", str(path)]
    assert peers.main(words) == 0
    return path


def test_peers_are_timed(rivals):
    row = json.loads(rivals.read_text())["rows"]["onnx"]
    assert set(row) == {peers.NETWORK, peers.ARRAY, peers.LOW, peers.BARE, peers.AIZOO}
    assert min(row.values()) > 0


def test_peers_need_their_files(tmp_path):
    with pytest.raises(InvalidArgumentError, match="there is no file"):
        peers.main(["--framework", "onnx", "--yunet", str(tmp_path / "none.onnx")])
    needs.module("cv2")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(InvalidArgumentError, match="does not accept"):
        peers.main(["--framework", "onnx", "--yunet", str(tmp_path / "bad.onnx")])


def test_aizoos_way_finds_what_the_zoo_finds_in_aizoos_arithmetic():
    detector = Detector.load("zoo-260", framework="onnx", nms="aizoo", threads=1)
    picture = load_image(DEMO)
    expected = detector.detect(picture).to_rows()
    assert len(expected) == 2
    np.testing.assert_allclose(peers.aizoo_detect(detector, picture), expected, rtol=1e-6)


@pytest.mark.parametrize("name", peers.BARE_CALLS)
def test_bare_calls_run_the_same_network(name, need):
    need(name)
    detector = Detector.load("zoo-260", framework=name, threads=1)
    batch = detector.card.preprocessing(load_image(DEMO), 260, 260)[None]
    answer = peers.BARE_CALLS[name](detector.backend.path, batch, 1)()
    outputs = answer.values() if hasattr(answer, "values") else answer
    for expected in detector.forward(batch):
        (same,) = [each for each in outputs if each.shape == expected.shape]
        np.testing.assert_allclose(same, expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 7, 2000])
def test_outputs_hold_as_many_faces_as_asked(count):
    card = load_card("zoo-260")
    loc, scores = growth.outputs_with(card.detector, count)
    boxes, _, _ = postprocess(loc, scores, card.detector, (640, 480), conf=0.5, iou=0.4)
    assert len(boxes) == count


def test_exponents_by_hand():
    assert growth.exponent([1, 10, 100], [5, 7, 70]) == pytest.approx(1)
    assert growth.exponent([1, 2, 4, 8], [1, 1, 3, 12]) == pytest.approx(2)
    assert growth.exponent([3], [1]) == 0


def test_targets_are_read_off_one_run(measured, rivals, tmp_path, capsys):
    grown, page = tmp_path / "growth.json", tmp_path / "page.md"
    words = ["--dimension", "faces", "--most", "10", "--repeats", "1", "--threads", "1"]
    assert growth.main([*words, "--output", str(grown), "--plot", str(tmp_path / "g.png")]) == 0
    page.write_text("<!-- performance -->\nold\n<!-- /performance -->\n")
    files = ["--bench", str(measured / command.JSON_NAME), "--peers", str(rivals)]
    files += ["--growth", str(grown), "--write", str(page)]
    capsys.readouterr()
    assert performance.main(files) == 0
    text = page.read_text()
    assert capsys.readouterr().out.strip() in text
    for target in ("against the bare call", "against AIZOO's way", "conf=0.01", "int8 or bf16"):
        assert target in text
    assert "| int8 or bf16 against fp32 | at least 2.5 x | - | not measured |" in text

    other = json.loads(grown.read_text())
    other["machine"]["processor"] = "another"
    grown.write_text(json.dumps(other))
    with pytest.raises(DatasetError, match="different machines or versions: processor"):
        performance.main(files)
    grown.write_text(rivals.read_text())
    with pytest.raises(DatasetError, match="growth"):
        performance.main(files)


def test_settings_are_checked_one_by_one():
    for field in dataclasses.fields(Settings)[:3]:
        with pytest.raises(InvalidArgumentError, match=field.name):
            Settings(**{field.name: -1})
