"""8-bit files are right on every processor: no sum of two products leaves 16 bits."""

from __future__ import annotations

from pathlib import Path

import needs
import numpy as np
import pytest
from seeded import NETWORKS, seeded_batch, seeded_model

from facemask_zoo import WeightsError
from facemask_zoo.converters.formats.registry import FORMATS
from facemask_zoo.converters.saturation import SIGNED, UNSIGNED, check_weights, largest_weight

SATURATES = "can saturate"


@pytest.fixture(scope="module")
def model():
    return seeded_model(NETWORKS["full"], seed=71)


@pytest.fixture(scope="module")
def pictures(model):
    return seeded_batch(model.card.network, 2)


@pytest.mark.parametrize(("activation", "sign"), [(UNSIGNED, -1), (UNSIGNED, 1), (SIGNED, -1)])
def test_the_bound_is_the_largest_weight_whose_sums_fit(activation, sign):
    bound = largest_weight(activation)
    limits = np.iinfo(np.int16)
    assert limits.min <= 2 * activation * sign * bound <= limits.max
    assert not limits.min < 2 * activation * sign * (bound + 1) < limits.max
    check_weights({"layer": np.array([0, sign * bound], np.int8)}, activation)
    with pytest.raises(
        WeightsError, match=f"'layer' {SATURATES}.* at most {bound}, .* {bound + 1}"
    ):
        check_weights({"layer": np.array([0, sign * (bound + 1)], np.int16)}, activation)


def test_a_file_without_integers_is_not_taken_for_a_right_one():
    with pytest.raises(WeightsError, match="found none"):
        check_weights({}, UNSIGNED)


def test_onnx_weights_of_eight_bits_are_refused(model, pictures, tmp_path, monkeypatch):
    quantization = needs.module("onnxruntime.quantization")
    reduced = FORMATS["onnx"].reduced
    target = tmp_path / "model.onnx"
    reduced.write_int8(model, target, pictures)
    reduced.check_int8(target)
    before = target.read_bytes()
    quantize = quantization.quantize_static
    monkeypatch.setattr(
        quantization,
        "quantize_static",
        lambda *a, **k: quantize(*a, **{**k, "reduce_range": False}),
    )
    with pytest.raises(WeightsError, match=SATURATES):
        reduced.write_int8(model, target, pictures)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_onnx_computes_in_integers_what_the_file_says(model, pictures, tmp_path):
    onnxruntime = needs.module("onnxruntime")
    path = tmp_path / "model.onnx"
    FORMATS["onnx"].reduced.write_int8(model, path, pictures)
    levels = onnxruntime.GraphOptimizationLevel
    answers = []
    for level in (levels.ORT_DISABLE_ALL, levels.ORT_ENABLE_ALL):  # single precision, integers
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        answers.append(session.run(None, {session.get_inputs()[0].name: pictures}))
    for single, integers in zip(*answers, strict=True):
        assert np.abs(single - integers).max() < 0.03 * np.abs(single).max()


@pytest.mark.parametrize("fix", ["DISABLE", "FIRST_LAYER"])
def test_openvino_weights_of_eight_bits_are_refused(fix, model, pictures, tmp_path, monkeypatch):
    nncf = needs.module("nncf")
    settings = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix[fix])
    quantize = nncf.quantize
    monkeypatch.setattr(
        nncf, "quantize", lambda *a, **k: quantize(*a, **{**k, "advanced_parameters": settings})
    )
    with pytest.raises(WeightsError, match=SATURATES):
        FORMATS["openvino"].reduced.write_int8(model, tmp_path / "model.xml", pictures)
    assert not list(tmp_path.iterdir())


def test_openvino_weights_of_seven_bits_pass(model, pictures, tmp_path):
    needs.package("nncf")
    reduced = FORMATS["openvino"].reduced
    reduced.write_int8(model, tmp_path / "model.xml", pictures)
    reduced.check_int8(tmp_path / "model.xml")
    assert {part.name for part in tmp_path.iterdir()} == {"model.xml", "model.bin"}


@pytest.fixture(scope="module")
def tflite_file(model, pictures, tmp_path_factory) -> bytes:
    needs.package("tensorflow")
    path: Path = tmp_path_factory.mktemp("tflite") / "model.tflite"
    FORMATS["tflite"].reduced.write_int8(model, path, pictures)
    return path.read_bytes()


def altered(data: bytes, change) -> bytes:
    """The file with one of its 8-bit weight tensors changed, by (tensor, its buffer)."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    file = schema.ModelT.InitFromPackedBuf(data, 0)
    tensor, buffer = next(
        (tensor, file.buffers[tensor.buffer])
        for tensor in file.subgraphs[0].tensors
        if tensor.type == schema.TensorType.INT8 and file.buffers[tensor.buffer].data is not None
    )
    change(tensor, buffer)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(file.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_tflite_weights_of_the_whole_range_are_refused(tflite_file):
    def lower(_, buffer) -> None:
        values = np.array(buffer.data, np.uint8)
        values.view(np.int8)[0] = -128
        buffer.data = values

    check = FORMATS["tflite"].reduced.check_int8
    check(tflite_file)
    with pytest.raises(WeightsError, match=f"{SATURATES}.*at most 127, but got 128"):
        check(altered(tflite_file, lower))


def test_unsigned_tflite_files_are_refused(tflite_file):
    from ai_edge_litert import schema_py_generated as schema

    def change(tensor, _) -> None:
        tensor.type = schema.TensorType.UINT8

    with pytest.raises(WeightsError, match="unsigned"):
        FORMATS["tflite"].reduced.check_int8(altered(tflite_file, change))


@pytest.mark.parametrize("name", ["onnx", "openvino", "tflite"])
def test_single_precision_is_not_taken_for_integers(name, model, tmp_path):
    row = FORMATS[name]
    needs.package({"onnx": "onnxruntime", "tflite": "ai_edge_litert"}.get(name, name))
    path = tmp_path / f"model{row.suffix}"
    row.reduced.write_half(model, path)
    with pytest.raises(WeightsError, match="found none"):
        row.reduced.check_int8(path.read_bytes() if name == "tflite" else path)
