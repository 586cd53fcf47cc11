"""Half precision and 8-bit integers: smaller files that give nearly the same outputs."""

from __future__ import annotations

import dataclasses
import html

import needs
import numpy as np
import pytest
import ssd_reference as reference
from seeded import NETWORKS, seeded_batch, seeded_model, signature

from facemask_zoo import InvalidArgumentError, WeightsError, model_files
from facemask_zoo.backends import Options, find_framework
from facemask_zoo.converters.formats.registry import FORMATS
from facemask_zoo.model import Model

FRAMEWORKS = [row.name for row in FORMATS.values() if "int8" in row.precisions]
# The rounding of 7-bit weights alone costs up to 0.035 with these; sums that saturate, over 0.1.
TOLERANCE = {"fp16": 2e-3, "int8": 5e-2}
LARGEST_SHARE = {"fp16": 0.55, "int8": 0.4}


@pytest.fixture(scope="session")
def model() -> Model:
    return seeded_model(NETWORKS["full"], seed=71)


@pytest.fixture(scope="session")
def batch(model):
    return seeded_batch(model.card.network, 3)


NEEDED = {"onnx": "onnxruntime.quantization", "tflite": "tensorflow", "openvino": "nncf"}


def write(framework, precision, model, path, pictures) -> None:
    needs.module(NEEDED[framework])
    module = FORMATS[framework].reduced
    if precision == "fp16":
        module.write_half(model, path)
    else:
        module.write_int8(model, path, pictures)


@pytest.fixture(scope="session", params=[(f, p) for f in FRAMEWORKS for p in TOLERANCE])
def written(request, model, batch, tmp_path_factory):
    framework, precision = request.param
    path = tmp_path_factory.mktemp("reduced") / f"model{FORMATS[framework].suffix}"
    write(framework, precision, model, path, batch)
    return framework, precision, path


def test_the_framework_runs_it_at_any_batch_size(written, model, batch):
    framework, precision, path = written
    network = model.card.network
    backend = find_framework(framework).backend()(path, signature(network), Options())
    expected = reference.forward(network, model.tensors, batch)
    for count in (1, 3):
        loc, scores = backend.forward(batch[:count]).values()
        tolerance = TOLERANCE[precision]
        np.testing.assert_allclose(scores, expected[1][:count], rtol=0, atol=tolerance)
        error = np.abs(loc - expected[0][:count]).max() / np.abs(expected[0]).max()
        assert 0 < error < tolerance


def test_the_file_is_smaller(written, model):
    _, precision, path = written
    single = 4 * model.card.network.parameter_count
    size = sum(part.stat().st_size for part in path.parent.iterdir())
    assert size < LARGEST_SHARE[precision] * single


def test_half_precision_is_read_and_integers_are_not(written, model):
    framework, precision, path = written
    if precision == "int8" or not FORMATS[framework].reads:
        with pytest.raises(WeightsError):
            model_files.read(path)
        return
    read = model_files.read(path)
    assert read.card == model.card.portable()
    for name, values in model.tensors.items():
        np.testing.assert_array_equal(read.tensors[name], values.astype(np.float16))


def test_the_card_is_inside(written, model):
    _, _, path = written
    text = html.unescape(path.read_bytes().decode("utf-8", "replace"))
    assert model.card.portable().to_json() in text


def test_the_same_model_gives_the_same_bytes(written, model, batch, tmp_path):
    framework, precision, path = written
    write(framework, precision, model, tmp_path / path.name, batch)
    for part in path.parent.iterdir():
        assert (tmp_path / part.name).read_bytes() == part.read_bytes()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_integers_need_pictures(framework, model, batch, tmp_path):
    with pytest.raises(InvalidArgumentError, match="pictures"):
        write(framework, "int8", model, tmp_path / "none.xml", batch[:0])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_weights_too_large_for_half_precision_are_refused(framework, model, tmp_path):
    tensors = dict(model.tensors)
    tensors["conv2d_0.bias"] = np.full_like(tensors["conv2d_0.bias"], 1e5)
    large = dataclasses.replace(model, tensors=tensors)
    with pytest.raises(WeightsError, match="half precision"):
        write(framework, "fp16", large, tmp_path / "large.xml", None)
