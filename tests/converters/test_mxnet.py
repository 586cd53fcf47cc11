from __future__ import annotations

import json
import struct

import needs
import numpy as np
import pytest
from seeded import NETWORKS, seeded_batch, seeded_model, signature

from facemask_zoo import WeightsError, model_files
from facemask_zoo.converters.formats.mxnet_arrays import canonical_name
from facemask_zoo.ssd.network import LOC_NAME

FORMAT = "mxnet"
HEADER = struct.Struct("<3Q")
ARRAY_MAGIC = 0xF993FAC9


def test_two_files_are_written_and_the_epoch_belongs_to_one(model, tmp_path, assert_same):
    model_files.write(model, tmp_path / "faces-0000.params", "mxnet")
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["faces-0000.params", "faces-symbol.json"]
    assert_same(model_files.read(tmp_path / "faces-0000.params"), model)


@pytest.mark.parametrize("kind", ["float16", "float64"])
def test_other_precisions_are_read(kind, model, written):
    mx = needs.framework("mxnet").mx
    arrays = {key: array.astype(kind) for key, array in mx.nd.load(str(written)).items()}
    mx.nd.save(str(written), arrays)
    read = model_files.read(written)
    for name, values in model.tensors.items():
        np.testing.assert_array_equal(read.tensors[name], values.astype(kind).astype("float32"))


def test_names_of_every_writer_are_known():
    assert canonical_name("arg:conv2d_3_weight") == "conv2d_3.weight"
    assert canonical_name("loc_2_insert_conv2d.bias") == "loc_2_insert_conv2d.bias"
    assert canonical_name("conv_0.weight") == "conv2d_0.weight"
    assert canonical_name("conv_4.1.bias") == "conv2d_4.bias"
    assert canonical_name("cls_1_conv.0.weight") == "cls_1_insert_conv2d.weight"
    assert canonical_name("cls_1_conv.1.weight") == "cls_1_conv.weight"
    assert canonical_name("something.else") == "something.else"


@pytest.mark.parametrize("name", NETWORKS)
def test_mxnet_imports_the_symbol(name, tmp_path):
    backend = needs.framework("mxnet")
    mx = backend.mx
    model = seeded_model(NETWORKS[name], seed=4)
    path = tmp_path / "model.params"
    model_files.write(model, path, "mxnet")
    block = mx.gluon.SymbolBlock.imports(
        str(tmp_path / "model-symbol.json"), ["data"], str(path), ctx=mx.cpu()
    )
    reference = backend.MXNetBackend(path, signature(NETWORKS[name]), backend_options())
    for count in (1, 3):
        batch = seeded_batch(NETWORKS[name], count)
        for output, expected in zip(
            block(mx.nd.array(batch)), reference.forward(batch).values(), strict=True
        ):
            np.testing.assert_allclose(output.asnumpy(), expected, rtol=0, atol=1e-6)


def backend_options():
    from facemask_zoo.backends import Options

    return Options()


def test_mxnet_rewrites_the_pair_and_the_card_survives(model, written, tmp_path, assert_same):
    mx = needs.framework("mxnet").mx
    symbol = mx.sym.load(str(written.with_name("modèle-symbol.json")))
    assert symbol.list_outputs() == ["loc_branch_concat_output", "cls_branch_concat_output"]
    symbol.save(str(tmp_path / "again-symbol.json"))
    mx.nd.save(str(tmp_path / "again.params"), mx.nd.load(str(written)))
    assert_same(model_files.read(tmp_path / "again.params"), model)


def test_a_block_saved_by_gluon_is_read(model, written, tmp_path, assert_same):
    backend = needs.framework("mxnet")
    block = backend.MXNetBackend(written, signature(model.card.network), backend_options()).block
    block.save_parameters(str(tmp_path / "gluon.params"))
    (tmp_path / "gluon-symbol.json").write_bytes(
        written.with_name("modèle-symbol.json").read_bytes()
    )
    assert_same(model_files.read(tmp_path / "gluon.params"), model)


def test_the_import_leaves_numpy_as_it_was():
    needs.framework("mxnet")
    assert ("bool" in vars(np)) == (int(np.__version__.split(".")[0]) >= 2)


def test_bytes_at_the_end_are_refused(written):
    written.write_bytes(written.read_bytes() + b"\0")
    with pytest.raises(WeightsError, match="bytes follow"):
        model_files.read(written)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (HEADER.pack(0x112, 0, 2**63), "arrays"),
        (HEADER.pack(0x112, 0, 1) + struct.pack("<IiI", ARRAY_MAGIC, 0, 2**31), "dimensions"),
        (HEADER.pack(0x112, 0, 1) + struct.pack("<IiI", ARRAY_MAGIC, 1, 4), "dense"),
        (
            HEADER.pack(0x112, 0, 1)
            + struct.pack("<IiI4q3i", ARRAY_MAGIC, 0, 4, *[2**62] * 4, 1, 0, 0),
            "past its end",
        ),
        (
            HEADER.pack(0x112, 0, 1) + struct.pack("<IiIq3i", ARRAY_MAGIC, 0, 1, -4, 1, 0, 0),
            "shape",
        ),
        (HEADER.pack(0x112, 0, 0) + struct.pack("<QQ", 0, 2**60), "bytes follow"),
    ],
)
def test_absurd_lengths_are_refused_before_memory_is_taken(data, message, tmp_path):
    (tmp_path / "absurd.params").write_bytes(data)
    with pytest.raises(WeightsError, match=message):
        model_files.read(tmp_path / "absurd.params")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nodes": 3}', '{"nodes": [1]}', "[" * 50_000])
def test_a_damaged_symbol_is_refused(text, written):
    written.with_name("modèle-symbol.json").write_text(text)
    with pytest.raises(WeightsError, match="symbol"):
        model_files.read(written)


def test_the_symbol_is_plain_json(written):
    graph = json.loads(written.with_name("modèle-symbol.json").read_text())
    assert graph["nodes"][0]["name"] == "data"
    assert len(graph["heads"]) == 2


@pytest.mark.shared
def test_aizoos_file_is_the_folded_pickle(shared):
    published = model_files.read(shared / "aizoo" / "face_mask_detection.params")
    folded = model_files.read(shared / "aizoo" / "face_mask_detection.pth")
    assert published.card.network == folded.card.network
    for name, values in folded.tensors.items():
        np.testing.assert_allclose(published.tensors[name], values, rtol=0, atol=1e-6)


def test_mxnet_needs_the_symbol(model, written):
    backend = needs.framework("mxnet")
    written.with_name("modèle-symbol.json").unlink()
    with pytest.raises(WeightsError, match=r"symbol\.json"):
        backend.MXNetBackend(written, signature(model.card.network), backend_options())


@pytest.mark.shared
def test_mxnet_runs_aizoos_weights(shared, tmp_path):
    backend = needs.framework("mxnet")
    model = model_files.read(shared / "aizoo" / "face_mask_detection.params")
    model_files.write(model, tmp_path / "model.params", "mxnet")
    network = model.card.network
    runner = backend.MXNetBackend(tmp_path / "model.params", signature(network), backend_options())
    outputs = runner.forward(np.zeros((1, 3, 260, 260), np.float32))
    np.testing.assert_allclose(
        outputs[LOC_NAME][0, 0], (0.51689538, 0.32392778, -1.27853737, -0.73365776), atol=1e-4
    )
