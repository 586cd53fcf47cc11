"""Tables and the picture of accuracy, from the results of an evaluation."""

import dataclasses
import json

import pytest
from PIL import Image

from facemask_zoo.benchmarks import accuracy_plot, accuracy_tables
from facemask_zoo.cards import ModelCard, load_card
from facemask_zoo.datasets import check, read
from facemask_zoo.errors import DatasetError, InvalidArgumentError, OutputError
from facemask_zoo.evaluation.figures import Settings
from facemask_zoo.evaluation.report import write_report
from facemask_zoo.evaluation.results_file import read_results
from facemask_zoo.evaluation.runs import Task, evaluate_results


@pytest.fixture(name="data")
def _data(tmp_path):
    """Four pictures of two collections, and boxes that find the first face of each."""
    images, annotations = [], []
    for number in range(4):
        Image.new("RGB", (100, 100)).save(tmp_path / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "source": "ab"[number % 2]})
        for category in (1, 2):
            box = [10, 40 * category - 30, 30, 30]
            annotations.append({"image_id": number, "category_id": category, "bbox": box})
    categories = [{"id": 1, "name": "mask"}, {"id": 2, "name": "no_mask"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "val.json").write_text(json.dumps(content))
    found = [{**each, "score": 0.9} for each in annotations if each["category_id"] == 1]
    found.append({**annotations[1], "score": 0.8})
    (tmp_path / "found.json").write_text(json.dumps(found))
    return tmp_path


@pytest.fixture(name="results")
def _results(data):
    """A report of two detectors, one of which knows no classes."""
    report = check(read(data / "val.json"))
    task = Task(report.dataset, settings=Settings(resamples=20, groups={"all of it": ("a", "b")}))
    runs = []
    for name, faces in (("zoo-260", False), ("peer", True)):
        path = data / "found.json"
        if faces:
            entries = [{**each, "category_id": 1} for each in json.loads(path.read_text())]
            path = data / "faces.json"
            path.write_text(json.dumps(entries))
        found = read_results(path, report.dataset, faces=faces)
        runs.append(evaluate_results(name, task, found, conf=0.5))
    write_report(data / "out", runs, report)
    return data / "out" / "results.json"


def test_the_tables(results, tmp_path, capsys):
    document = tmp_path / "doc.md"
    document.write_text("before\n<!-- evaluation -->\nold\n<!-- /evaluation -->\nafter\n")
    readme = tmp_path / "readme.md"
    readme.write_text("<!-- models -->\n<!-- /models -->\n")
    words = ["--results", results, "--write", document, "--readme", readme]
    assert accuracy_tables.main([str(word) for word in words]) == 0
    text = document.read_text()
    assert capsys.readouterr().out.strip() in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "-->\nold\n" not in text
    # One bare face of four is found: 26 of the 101 levels of recall.
    assert "| zoo-260 | 1.000 (1.000-1.000) | .257 (" in text
    assert "| peer | - | - | - | - | .624 (" in text
    assert "all of it (a and b; 4 pictures)" in text
    size = load_card("zoo-260").network.input_size
    assert f"| `zoo-260` | {size} x {size} | 1.000 (1.000-1.000) | .257 (" in readme.read_text()
    assert "peer" not in readme.read_text()


def test_models_of_any_size_and_their_cards(results, tmp_path):
    content = json.loads(results.read_text())
    (run,) = [each for each in content["runs"] if each["model"] == "zoo-260"]
    content["runs"].append({**run, "model": "zoo-m@320x480"})
    sized = tmp_path / "sized.json"
    sized.write_text(json.dumps(content))
    readme, cards = tmp_path / "readme.md", tmp_path / "cards"
    readme.write_text("<!-- models -->\n<!-- /models -->\n")
    cards.mkdir()
    for name in ("zoo-260", "aizoo-260"):
        (cards / f"{name}.json").write_text(load_card(name).to_json(indent=1))
    words = ["--results", sized, "--readme", readme, "--cards", cards]
    assert accuracy_tables.main([str(word) for word in words]) == 0
    assert "| `zoo-m@320x480` | 320 x 480 |" in readme.read_text()
    assert {path.name for path in cards.iterdir()} == {"zoo-260.json", "aizoo-260.json"}
    card = ModelCard.from_json((cards / "zoo-260.json").read_text())
    ((size, figures),) = card.details["figures"].items()
    assert size == "input 260 x 260"
    assert figures["photographs"] == 4
    assert figures["ap50_by_side_of_the_face_in_pixels"]["no_mask"]["all"] == 0.257
    assert card == dataclasses.replace(load_card("zoo-260"), details=card.details)
    assert load_card("zoo-260").details["limits"] == card.details["limits"]


def test_the_picture(results, tmp_path):
    times = tmp_path / "times.json"
    times.write_text(json.dumps({"milliseconds": {"zoo-260": 13.0, "peer": 5.0}}))
    output = tmp_path / "plot.png"
    words = [str(word) for word in ("--results", results, "--times", times, "--output", output)]
    assert accuracy_plot.main(words) == 0
    with Image.open(output) as image:
        image.load()
    assert output.stat().st_size < 60_000
    with pytest.raises(OutputError):
        accuracy_plot.main(words)


def test_a_model_without_figures_or_time_is_not_drawn(results):
    runs = accuracy_tables.read_runs(results)
    (point,) = accuracy_plot.points(runs, {"peer": 4.0, "other": 5.0})
    assert point.name == "peer"
    assert point.figures == {"AP50 any": pytest.approx(63 / 101)}
    with pytest.raises(DatasetError, match="figures and a time"):
        accuracy_plot.points(runs, {"other": 5.0})


def test_times_are_taken_in_turns(monkeypatch):
    calls = []
    monkeypatch.setattr(accuracy_plot, "WARM_UP", 1)
    monkeypatch.setattr(accuracy_plot, "REPEATS", 2)
    monkeypatch.setattr(accuracy_plot, "ROUNDS", 2)
    found = accuracy_plot.median_times({name: lambda n=name: calls.append(n) for name in "ab"})
    assert "".join(calls) == "aaabbbaaabbb"
    assert all(value > 0 for value in found.values())


@pytest.mark.parametrize(
    "text", ["net.onnx@448x352", "n=net.onnx", "n=net.onnx@450x352", "n=@32x32"]
)
def test_a_peer_needs_name_file_and_size(text):
    with pytest.raises(InvalidArgumentError, match="NAME=FILE@WxH"):
        accuracy_plot.measure([], [text], 1)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"runs": []}', '{"runs": 3}', '{"runs": [1]}']
)
def test_a_file_without_results(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(DatasetError):
        accuracy_tables.read_runs(tmp_path / "r.json")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"milliseconds": {"a": "x"}}', '{"milliseconds": {"a": NaN}}']
)
def test_a_file_without_times(tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(DatasetError):
        accuracy_plot.read_times(tmp_path / "t.json")


def test_later_results_replace_earlier_ones(results, tmp_path):
    content = json.loads(results.read_text())
    newer = {**content["runs"][0], "conf": 0.25}
    (tmp_path / "newer.json").write_text(json.dumps({"runs": [newer]}))
    runs = accuracy_tables.read_runs(results, tmp_path / "newer.json")
    assert [(run["model"], run["conf"]) for run in runs] == [("zoo-260", 0.25), ("peer", 0.5)]
    (tmp_path / "other.json").write_text(json.dumps({"runs": [{**newer, "pictures": 9}]}))
    with pytest.raises(DatasetError, match="different data"):
        accuracy_tables.read_runs(results, tmp_path / "newer.json", tmp_path / "other.json")
