"""The command line and the scripts, in processes of their own as users run them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from process import run

from facemask_zoo import Detector, __version__, cli, list_frameworks, list_models, model_files
from facemask_zoo.images import load_image

SCRIPTS = {
    "pytorch_infer.py": "pytorch",
    "tensorflow_infer.py": "tensorflow",
    "tflite_infer.py": "tflite",
    "keras_infer.py": "keras",
    "mxnet_infer.py": "mxnet",
    "caffe_infer.py": "opencv",
    "opencv_dnn_infer.py": "opencv",
    "onnx_infer.py": "onnx",
    "paddle_infer.py": "paddle",
}
AIZOO_ROW = [0, 0.9071, 222, 49, 327, 198]


def test_detect_prints_one_line_of_json_per_picture(weights, portrait, demo_picture, capsys):
    words = ["detect", portrait, demo_picture, "--model", weights, "--framework", "onnx", "--json"]
    assert cli.main([str(word) for word in words]) == 0
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [line["source"] for line in lines] == [str(portrait), str(demo_picture)]
    detector = Detector.load(weights, framework="onnx")
    assert lines[0] == detector.detect(portrait).to_dict()


def test_detect_for_people(weights, portrait, capsys):
    words = ["detect", str(portrait), "--model", str(weights), "--framework", "onnx"]
    assert cli.main(words) == 0
    assert f"{portrait}: " in capsys.readouterr().out


def test_detect_draws(weights, portrait, demo_picture, tmp_path):
    words = ["--model", str(weights), "--framework", "onnx", "--output"]
    assert cli.main(["detect", str(portrait), *words, str(tmp_path / "one.png")]) == 0
    assert load_image(tmp_path / "one.png").shape == (512, 512, 3)
    folder = tmp_path / "many"
    assert cli.main(["detect", str(portrait), str(demo_picture), *words, str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["astronaut.jpg", "demo.jpg"]


def test_a_bad_picture_does_not_stop_the_others(weights, portrait, tmp_path, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_text("text")
    words = ["detect", bad, portrait, tmp_path / "missing.jpg", "--model", weights, "--json"]
    assert cli.main([str(word) for word in [*words, "--framework", "onnx"]]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert "bad.jpg" in captured.err
    assert "missing.jpg" in captured.err


def test_a_bad_picture_in_a_folder_does_not_stop_the_others(weights, portrait, tmp_path, capsys):
    (tmp_path / "a.jpg").write_text("text")
    (tmp_path / "b.jpg").write_bytes(portrait.read_bytes())
    words = ["detect", tmp_path, portrait, "--model", weights, "--json", "--framework", "onnx"]
    target = tmp_path / "drawn"
    assert cli.main([str(word) for word in [*words, "--output", target]]) == 1
    captured = capsys.readouterr()
    sources = [json.loads(line)["source"] for line in captured.out.splitlines()]
    assert sources == [str(tmp_path / "b.jpg"), str(portrait)]
    assert sorted(path.name for path in target.iterdir()) == ["astronaut.jpg", "b.jpg"]


def test_pictures_of_one_name_are_not_drawn_over_each_other(weights, portrait, tmp_path, capsys):
    (tmp_path / "astronaut.jpg").write_bytes(portrait.read_bytes())
    words = ["detect", portrait, tmp_path / "astronaut.jpg", "--model", weights]
    target = tmp_path / "drawn"
    assert cli.main([str(w) for w in [*words, "--framework", "onnx", "--output", target]]) == 0
    assert len(list(target.iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["detect", "a.jpg", "--model", "aizoo-26"], "Did you mean 'aizoo-260'"),
        (["detect", "a.jpg", "--framework", "pytroch"], "Did you mean 'pytorch'"),
        (["detect", "a.jpg", "--conf", "2"], "conf: expected a number from 0 to 1"),
        (["weights", "path", "nothing"], "Unknown model 'nothing'"),
    ],
)
def test_a_wrong_call_ends_in_one_clear_line(words, message, capsys):
    assert cli.main(words) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_the_installed_command_reports_its_version():
    result = run("-m", "facemask_zoo.cli", "--version")
    assert result.stdout.split() == ["facemask-zoo", __version__]


def test_weights_list_names_every_model(capsys):
    assert cli.main(["weights", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in list_models())


@pytest.mark.shared
def test_weights_download_verify_and_path(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FACEMASK_ZOO_CACHE", str(tmp_path))
    assert cli.main(["weights", "path", "aizoo-260"]) == 1
    assert cli.main(["weights", "download", "aizoo-260"]) == 0
    assert cli.main(["weights", "verify", "aizoo-260"]) == 0
    capsys.readouterr()
    assert cli.main(["weights", "path", "aizoo-260"]) == 0
    path = Path(capsys.readouterr().out.strip())
    path.write_bytes(path.read_bytes()[:-1])
    assert cli.main(["weights", "verify", "aizoo-260"]) == 1
    assert "expected 4114183 bytes, but got 4114182" in capsys.readouterr().out


def test_convert_writes_what_the_suffix_says(weights, tmp_path):
    target = tmp_path / "model.onnx"
    assert cli.main(["convert", str(weights), str(target)]) == 0
    assert model_files.read(target).digest == model_files.read(weights).digest
    assert cli.main(["convert", str(weights), str(tmp_path / "model.xyz")]) == 1


def test_doctor_names_every_framework(capsys):
    assert cli.main(["doctor", "--json"]) == 0
    facts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [fact["framework"] for fact in facts] == [row.name for row in list_frameworks()]
    for fact in facts:
        assert fact["works"] == bool(fact["devices"])
        assert bool(fact["problem"]) != fact["works"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_print_rows_and_draw(script, need, weights, portrait, tmp_path):
    need(SCRIPTS[script])
    target = tmp_path / "drawn.png"
    result = run(script, "--img-path", portrait, "--model", weights, "--output", target)
    assert result.returncode == 0, result.stderr
    (line,) = result.stdout.splitlines()
    detector = Detector.load(weights, framework="onnx", nms="aizoo")
    expected = detector.detect(portrait).to_rows()
    np.testing.assert_allclose(json.loads(line), expected, atol=1.0)
    assert load_image(target).shape == (512, 512, 3)


@pytest.mark.shared
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_give_aizoos_answer(script, need, shared):
    need(SCRIPTS[script])
    result = run(script, "--img-mode", 1, "--img-path", shared / "aizoo" / "demo2.jpg")
    assert result.returncode == 0, result.stderr
    (row,) = json.loads(result.stdout)
    assert row[0] == AIZOO_ROW[0]
    assert row[1] == pytest.approx(AIZOO_ROW[1], abs=1e-4)
    assert row[2:] == AIZOO_ROW[2:]


@pytest.mark.shared
def test_detect_gives_aizoos_answer(framework, shared, capsys):
    words = ["--model", "aizoo-260", "--framework", framework, "--json"]
    assert cli.main(["detect", str(shared / "aizoo" / "demo2.jpg"), *words]) == 0
    (found,) = json.loads(capsys.readouterr().out)["detections"]
    assert found["label"] == "mask"
    assert found["score"] == pytest.approx(0.9071, abs=1e-4)
    np.testing.assert_allclose(found["box"], AIZOO_ROW[2:], atol=1.0)


@pytest.mark.shared
def test_the_opencv_script_takes_both_files(need, shared):
    need("opencv")
    stem = shared / "aizoo" / "face_mask_detection"
    words = ["--img-path", shared / "aizoo" / "demo2.jpg", "--model", f"{stem}.caffemodel"]
    result = run("opencv_dnn_infer.py", *words, "--proto", f"{stem}.prototxt")
    assert json.loads(result.stdout)[0][2:] == AIZOO_ROW[2:]
    result = run("opencv_dnn_infer.py", *words, "--proto", "other.prototxt")
    assert result.returncode == 1
    assert "--proto: expected" in result.stderr


def test_a_script_without_a_picture_says_so():
    result = run("onnx_infer.py")
    assert result.returncode == 2
    assert "--img-path is needed" in result.stderr
