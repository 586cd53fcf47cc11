"""Lower precisions in the detector: half on request, integers from a file that is trusted."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from facemask_zoo import Detector, WeightsError, cli
from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.converters.conversion import convert
from facemask_zoo.converters.formats.registry import FORMATS
from facemask_zoo.errors import DeviceError, UnknownNameError

REDUCIBLE = [row.name for row in FORMATS.values() if "int8" in row.precisions]
PLAIN = [name for name in FRAMEWORKS if name not in REDUCIBLE]


@pytest.fixture(scope="module", params=REDUCIBLE)
def integers(request, need, demo_picture, tmp_path_factory):
    """The default model in 8-bit integers: framework and file."""
    name = need(request.param)
    path = tmp_path_factory.mktemp(name) / f"model{FORMATS[name].suffix}"
    convert("zoo-260", path, precision="int8", pictures=[demo_picture], allow_drift=True)
    return name, path


def assert_finds(found, expected) -> None:
    """Every expected face is among those found; ranges from one picture may add a false one."""
    for box, label in zip(expected.boxes, expected.labels, strict=True):
        same = [
            other for other, name in zip(found.boxes, found.labels, strict=True) if name == label
        ]
        distances = [np.abs(other - box).max() for other in same]
        assert min(distances) < 0.2 * (box[2] - box[0])


@pytest.mark.parametrize("framework", REDUCIBLE)
def test_half_precision_is_made_on_request(framework, need, demo_picture):
    need(framework)
    full, half = (
        Detector.load("zoo-260", framework=framework, precision=precision)
        for precision in ("fp32", "fp16")
    )
    found, expected = half.detect(demo_picture), full.detect(demo_picture)
    assert found.labels == expected.labels
    assert_finds(found, expected)
    batch = np.full((1, 3, 260, 260), 0.5, np.float32)
    assert np.abs(half.forward(batch)[0] - full.forward(batch)[0]).max() > 1e-5


@pytest.mark.parametrize("framework", PLAIN)
def test_where_there_is_no_half_precision_it_is_refused(framework, need):
    need(framework)
    with pytest.raises(DeviceError, match="runs in fp32, but got precision 'fp16'"):
        Detector.load("zoo-260", framework=framework, precision="fp16")


@pytest.mark.parametrize("framework", REDUCIBLE)
def test_integers_on_request_name_the_way_to_them(framework, need):
    need(framework)
    with pytest.raises(DeviceError, match="convert --precision int8"):
        Detector.load("zoo-260", framework=framework, precision="int8")


def test_a_trusted_file_runs_as_it_is(integers, demo_picture, capsys):
    framework, path = integers
    found = Detector.load(path, framework=framework, trust=True).detect(demo_picture)
    assert_finds(found, Detector.load("zoo-260").detect(demo_picture))
    assert Detector.load(path, trust=True).framework == framework
    words = ["detect", str(demo_picture), "--model", str(path), "--trust", "--json"]
    assert cli.main(words) == 0
    assert '"mask"' in capsys.readouterr().out


def test_without_trust_integers_are_refused(integers):
    framework, path = integers
    with pytest.raises(WeightsError):
        Detector.load(path, framework=framework)


def test_a_trusted_file_runs_on_no_other_framework(integers, need):
    _, path = integers
    with pytest.raises(WeightsError, match="can only run as it is"):
        Detector.load(path, framework=need("pytorch"), trust=True)


def test_a_file_that_is_no_model_is_refused_even_if_trusted(integers, tmp_path):
    framework, path = integers
    target = tmp_path / path.name
    target.write_bytes(b"\x08 nothing of the kind")
    with pytest.raises(WeightsError):
        Detector.load(target, framework=framework, trust=True)


def test_a_file_without_a_card_cannot_run_as_it_is(need, tmp_path):
    import onnx

    need("onnx")
    path = tmp_path / "model.onnx"
    convert("zoo-260", path)
    proto = onnx.load(path)
    del proto.metadata_props[:]
    onnx.save(proto, path)
    with pytest.raises(WeightsError, match="holds no card"):
        Detector.load(path, trust=True)


def test_formats_that_only_hold_tensors_cannot_run_as_they_are(demo_picture, tmp_path):
    path = tmp_path / "model.safetensors"
    convert("zoo-260", path)
    with pytest.raises(WeightsError, match="only files of onnx, tflite, openvino"):
        Detector.load(path, trust=True)
    shutil.copy(path, tmp_path / "model.bin")
    with pytest.raises(UnknownNameError):
        Detector.load(tmp_path / "model.bin", trust=True)
