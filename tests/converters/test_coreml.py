"""Core ML runs on Apple's systems only; here the written program is interpreted in NumPy."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seeded import NETWORKS, random_network, seeded_batch, seeded_model

from facemask_zoo import converters
from facemask_zoo.cards import ModelCard
from facemask_zoo.ssd import reference

if not importlib.util.find_spec("coremltools"):
    pytest.skip("coremltools is not installed", allow_module_level=True)

BLOB = struct.Struct("<IIQQ")
BLOB_MAGIC = 0xDEADBEEF
BLOB_FLOAT32 = 2


class Interpreter:
    """Runs the saved program, operation by operation, from nothing but the files."""

    def __init__(self, package: Path) -> None:
        from coremltools.proto import Model_pb2

        root = package / "Data" / "com.apple.CoreML"
        self.spec = Model_pb2.Model.FromString((root / "model.mlmodel").read_bytes())
        self.blobs = (root / "weights" / "weight.bin").read_bytes()
        function = self.spec.mlProgram.functions["main"]
        self.block = function.block_specializations[function.opset]

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values: dict[str, Any] = {"data": batch.astype(np.float64)}
        for operation in self.block.operations:
            (output,) = operation.outputs
            if operation.type == "const":
                values[output.name] = self.constant(output.type, operation.attributes["val"])
                continue
            arguments = {
                key: [values[argument.name] for argument in binding.arguments]
                for key, binding in operation.inputs.items()
            }
            single = {key: found[0] for key, found in arguments.items() if key != "values"}
            if "values" in arguments:
                single["values"] = arguments["values"]
            values[output.name] = getattr(self, operation.type)(**single)
            self.check_shape(output, values[output.name])
        return values["loc_branch_concat"], values["cls_branch_concat"]

    @staticmethod
    def check_shape(output, value) -> None:
        for size, dimension in zip(value.shape, output.type.tensorType.dimensions, strict=True):
            if dimension.HasField("constant"):
                assert size == dimension.constant.size, output.name

    def constant(self, declared, value):
        shape = [dimension.constant.size for dimension in declared.tensorType.dimensions]
        if value.HasField("blobFileValue"):
            start = value.blobFileValue.offset
            magic, kind, size, offset = BLOB.unpack_from(self.blobs, start)
            assert (magic, kind) == (BLOB_MAGIC, BLOB_FLOAT32)
            return np.frombuffer(self.blobs, "<f4", size // 4, offset).reshape(shape)
        tensor = value.immediateValue.tensor
        found = list(getattr(tensor, tensor.WhichOneof("value")).values)
        return np.array(found).reshape(shape) if shape else found[0]

    @staticmethod
    def conv(x, weight, bias, strides, pad, pad_type, groups, dilations):
        assert (list(strides), groups, list(dilations)) == ([1, 1], 1, [1, 1])
        assert pad_type == "custom"
        padded = np.pad(x, [(0, 0), (0, 0), tuple(pad[:2]), tuple(pad[2:])])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        y = np.einsum("nchwyx,ocyx->nohw", windows, weight, optimize=True)
        return y + bias[:, None, None]

    @staticmethod
    def relu(x):
        return np.maximum(x, 0)

    @staticmethod
    def max_pool(x, kernel_sizes, strides, pad_type, pad, ceil_mode):
        assert (list(kernel_sizes), list(strides), pad_type) == ([2, 2], [2, 2], "valid")
        assert ceil_mode
        assert not np.any(pad)
        odd = [(0, size % 2) for size in x.shape[2:]]
        x = np.pad(x, [(0, 0), (0, 0), *odd], constant_values=-np.inf)
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))

    @staticmethod
    def transpose(x, perm):
        return x.transpose(perm)

    @staticmethod
    def reshape(x, shape):
        return x.reshape(shape)

    @staticmethod
    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    @staticmethod
    def concat(values, axis, interleave):
        assert not interleave
        return np.concatenate(values, axis=axis)


@pytest.mark.parametrize("seed", range(2))
def test_the_saved_program_computes_the_network(seed, tmp_path):
    model = seeded_model(random_network(np.random.default_rng(seed)), seed)
    path = tmp_path / "modèle.mlpackage"
    converters.write(model, path, "coreml")
    batch = seeded_batch(model.card.network, 2)
    loc, scores = Interpreter(path).run(batch)
    expected = reference.forward(model.card.network, model.tensors, batch)
    np.testing.assert_allclose(loc, expected[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(scores, expected[1], rtol=0, atol=1e-6)


def test_the_description_names_inputs_outputs_and_card(tmp_path):
    model = seeded_model(NETWORKS["small"], 1)
    converters.write(model, tmp_path / "model.mlpackage", "coreml")
    description = Interpreter(tmp_path / "model.mlpackage").spec.description
    (image,) = description.input
    assert image.name == "data"
    assert list(image.type.multiArrayType.shape) == [1, 3, 97, 97]
    batch = image.type.multiArrayType.shapeRange.sizeRanges[0]
    assert (batch.lowerBound, batch.upperBound) == (1, 64)
    assert [output.name for output in description.output] == [
        "loc_branch_concat",
        "cls_branch_concat",
    ]
    text = description.metadata.userDefined["facemask_zoo.card"]
    assert ModelCard.from_json(text) == model.card.portable()
