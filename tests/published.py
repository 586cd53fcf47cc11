"""Files built as AIZOO's are, with weights from a seed: its names, its layouts, and no card.

``.pb``, ``.pth``, TensorFlow.js and ``.hdf5`` hold batch normalisation as layers of their own;
in the others it is folded into the convolutions.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import struct
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from seeded import seeded_model
from unfolded import unfolded_model, write_unfolded

from facemask_zoo import model_files
from facemask_zoo.cards import load_card
from facemask_zoo.converters.formats import paddle
from facemask_zoo.converters.formats.caffe import _Net
from facemask_zoo.converters.formats.keras2_config import keras2_model
from facemask_zoo.converters.formats.tensorflow import _SCHEMA, _Emitter
from facemask_zoo.converters.formats.tflite import TFLiteEmitter
from facemask_zoo.graph.program import Program
from facemask_zoo.model import Model

EPSILON = float(np.float32(1e-3))
NORM = ("gamma", "beta", "moving_mean", "moving_variance")
Layers = dict[str, dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network as it was trained, and what it is once folded.

    Attributes:
        layers: Parameters by layer, kernels (height, width, in, out).
        folded: The same network without normalisation.
    """

    layers: Layers
    folded: Model


@functools.cache
def trained(size: int) -> Trained:
    """A network of AIZOO's, 260 or 360, with weights from a seed."""
    model = seeded_model(load_card(f"aizoo-{size}").network, size)
    rng = np.random.Generator(np.random.PCG64(size))
    layers: Layers = {}
    tensors: dict[str, np.ndarray] = {}
    for layer in model.card.network.convolutions:
        weight, bias = model.tensors[layer.weight_name], model.tensors[layer.bias_name]
        layers[layer.name] = {"kernel": weight.transpose(2, 3, 1, 0)}
        tensors[layer.weight_name], tensors[layer.bias_name] = weight, bias
        if not layer.relu:
            layers[layer.name]["bias"] = bias
            continue
        uniform = rng.random((4, layer.outputs)).astype(np.float32)
        low = np.array([[0.7], [-0.1], [-0.1], [0.7]], np.float32)
        high = np.array([[1.3], [0.1], [0.1], [1.3]], np.float32)
        norm = dict(zip(NORM, low + (high - low) * uniform, strict=True))
        layers[f"{layer.name}_bn"] = norm
        gamma, beta, mean, variance = (values.astype(np.float64) for values in norm.values())
        scale = gamma / np.sqrt(variance + EPSILON)
        tensors[layer.weight_name] = (weight * scale[:, None, None, None]).astype(np.float32)
        tensors[layer.bias_name] = (beta - mean * scale).astype(np.float32)
    return Trained(layers, Model(model.card, tensors))


def write_mxnet(network: Trained, folder: Path) -> Path:
    """A list of arrays alone, named as Gluon blocks are that hold a pool and a convolution."""
    model = network.folded
    arrays = dict(zip(map(gluon_name, model.tensors), model.tensors.values(), strict=True))
    parts = [struct.pack("<3Q", 0x112, 0, len(arrays))]
    for values in arrays.values():
        head = struct.pack(f"<IiI{values.ndim}q", 0xF993FAC9, 0, values.ndim, *values.shape)
        parts += [head, struct.pack("<3i", 1, 0, 0), values.tobytes()]
    parts.append(struct.pack("<Q", len(arrays)))
    for name in arrays:
        parts += [struct.pack("<Q", len(name)), name.encode()]
    (folder / "seeded.params").write_bytes(b"".join(parts))
    return folder / "seeded.params"


def gluon_name(name: str) -> str:
    layer, _, part = name.partition(".")
    if layer.startswith("conv2d_"):
        number = layer.removeprefix("conv2d_")
        return f"conv_{number}.{part}" if number in "07" else f"conv_{number}.1.{part}"
    head, level, rest = layer.split("_", 2)
    return f"{head}_{level}_conv.{0 if rest == 'insert_conv2d' else 1}.{part}"


def write_caffe(network: Trained, folder: Path) -> Path:
    """The pair, its description without a card and without what is Caffe's default."""
    path = folder / "seeded.caffemodel"
    model_files.write(network.folded, path, "caffe")
    lines = path.with_suffix(".prototxt").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("#") and line.strip() != "pad: 0"]
    text = "\n".join(kept).replace("_reshape_permute", "_conv_permute")
    path.with_suffix(".prototxt").write_text(text)
    net = _Net.FromString(path.read_bytes())
    net.name = "face_mask_detection"
    path.write_bytes(net.SerializeToString())
    return path


def write_paddle(network: Trained, folder: Path) -> Path:
    """A folder with ``__model__`` and ``__params__``, parameters named as AIZOO's are."""
    path = folder / "seeded.pdiparams"
    model_files.write(network.folded, path, "paddle")
    program = paddle._Program.FromString(path.with_suffix(".pdmodel").read_bytes())
    block = program.blocks[0]
    for variable in block.vars:
        variable.ClearField("attrs")
        variable.name = _paddle_name(variable.name)
    for operator in block.ops:
        for each in operator.inputs:
            each.arguments[:] = [_paddle_name(name) for name in each.arguments]
    (folder / "__model__").write_bytes(program.SerializeToString())
    arrays = {_paddle_name(name): values for name, values in network.folded.tensors.items()}
    packed = (paddle._packed(arrays[name]) for name in sorted(arrays))
    (folder / "__params__").write_bytes(b"".join(packed))
    path.unlink()
    path.with_suffix(".pdmodel").unlink()
    return folder


def _paddle_name(name: str) -> str:
    return name.replace(".weight", "_weights").replace(".bias", "_bias")


def write_tflite(network: Trained, folder: Path) -> Path:
    """With the names that TensorFlow's first converter gave, and without metadata."""
    emitter = _TocoEmitter(bare(network))
    outputs = {f"{name}_1/concat": part for name, part in emitter.emit().items()}
    content = emitter.writer.finish("", {"data_1": emitter.image_tensor}, outputs, {})
    (folder / "seeded.tflite").write_bytes(content)
    return folder / "seeded.tflite"


def bare(network: Trained) -> Program:
    """The folded network without a card."""
    return dataclasses.replace(network.folded.program, card="")


class _TocoEmitter(TFLiteEmitter):
    def weight(self, name: str, values: np.ndarray) -> Any:
        layer, _, part = name.partition(".")
        ending = "kernel" if part == "weight" else "convolution_bias"
        return super().weight(f"{layer}_1/{ending}", values)

    def joined(self, values: Any, axis: int, shape: Any, name: str) -> Any:
        return super().joined(values, axis, shape, f"{name}_1/concat")


def write_frozen(network: Trained, folder: Path) -> Path:
    """A frozen graph whose layers were built a second time: each name has ``_1`` appended."""
    emitter = _FrozenEmitter(bare(network))
    emitter.layers = network.layers
    emitter.emit()
    for node in emitter.definition.node:
        node.name = twice_built(node.name)
        node.input[:] = [twice_built(name) for name in node.input]
    (folder / "seeded.pb").write_bytes(emitter.definition.SerializeToString())
    return folder / "seeded.pb"


def twice_built(name: str) -> str:
    layer, slash, rest = name.partition("/")
    return f"{layer}_1{slash}{rest}"


class _FrozenEmitter(_Emitter):
    layers: Layers

    def weight(self, name: str, values: np.ndarray) -> str:
        layer, _, part = name.partition(".")
        return super().weight(f"{layer}/{'kernel' if part == 'weight' else part}", values)

    def convolved(self, op: Any, value: str, same: bool, shape: Any, name: str, fused: Any) -> str:
        norm = self.layers.get(f"{op.name}_bn")
        if norm is None:
            return super().convolved(op, value, same, shape, name, fused)
        kernel = self.constant(f"{op.name}/kernel", self.layers[op.name]["kernel"])
        padding = b"SAME" if same else b"VALID"
        ones = [1, 1, 1, 1]
        product = f"{op.name}/convolution"
        self._float("Conv2D", [value, kernel], product, strides=ones, padding=padding)
        inputs = [product]
        inputs += [self.constant(f"{op.name}_bn/{key}", values) for key, values in norm.items()]
        y = self._float("FusedBatchNorm", inputs, f"{op.name}_bn/FusedBatchNorm")
        node = self.definition.node[-1]
        node.attr.add(key="epsilon", value=_SCHEMA["Value"](f=EPSILON))
        node.attr.add(key="is_training", value=_SCHEMA["Value"](b=False))
        return y

    def joined(self, values: Any, axis: int, shape: Any, name: str) -> str:
        return super().joined(values, axis, shape, f"{name}/concat")


def write_tfjs(network: Trained, folder: Path) -> Path:
    """``model.json`` as TensorFlow.js's first converter wrote it, and one file of weights."""
    arrays = {
        f"{x}/{y}": values for x, layer in network.layers.items() for y, values in layer.items()
    }
    card = network.folded.card
    model = unfolded_model(card.network, network.layers)
    weights = [
        {"name": name, "shape": list(values.shape), "dtype": "float32"}
        for name, values in arrays.items()
    ]
    description = {
        "format": "layers-model",
        "generatedBy": "keras v2.2.4",
        "convertedBy": "TensorFlow.js Converter v1.5.2",
        "modelTopology": {
            "keras_version": "2.2.4",
            "backend": "tensorflow",
            "model_config": keras2_model(model),
        },
        "weightsManifest": [{"paths": ["group1-shard1of1.bin"], "weights": weights}],
    }
    (folder / "model.json").write_text(json.dumps(description))
    content = b"".join(np.ascontiguousarray(values).tobytes() for values in arrays.values())
    (folder / "group1-shard1of1.bin").write_bytes(content)
    return folder / "model.json"


def write_hdf5(network: Trained, folder: Path) -> Path:
    """Keras 2's file, and the JSON file with the architecture beside it."""
    path = folder / "seeded.hdf5"
    write_unfolded(network.folded.card.network, network.layers, path)
    return path


def write_pth(network: Trained, folder: Path) -> Path:
    """A whole module in PyTorch's old format, of a class that is nowhere to be imported."""
    import torch

    with absent_class("MainModel", "KitModel", torch.nn.Module) as kind:
        root = kind()
        for name, parameters in network.layers.items():
            root.add_module(name, torch_module(torch, parameters))
        for module in root.modules():
            # What later versions of PyTorch added holds more than tensors and modules.
            module.__dict__ = {k: v for k, v in vars(module).items() if k in OLD_ATTRIBUTES}
        with warnings.catch_warnings(action="ignore"):  # it looks for the source of the class
            torch.save(root, folder / "seeded.pth", _use_new_zipfile_serialization=False)
    return folder / "seeded.pth"


OLD_ATTRIBUTES = {
    *("training", "_parameters", "_buffers", "_modules"),
    *("_backward_hooks", "_forward_hooks", "_forward_pre_hooks"),
    *("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups"),
    *("num_features", "eps", "momentum", "affine", "track_running_stats"),
}


class absent_class:  # noqa: N801
    """A class of a module that exists within the block alone."""

    def __init__(self, module: str, name: str, base: type) -> None:
        self._module = types.ModuleType(module)
        self._kind = type(name, (base,), {"__module__": module})
        setattr(self._module, name, self._kind)

    def __enter__(self) -> type:
        sys.modules[self._module.__name__] = self._module
        return self._kind

    def __exit__(self, *_: object) -> None:
        del sys.modules[self._module.__name__]


def torch_module(torch: Any, parameters: dict[str, np.ndarray]) -> Any:
    values = {key: torch.from_numpy(array.copy()) for key, array in parameters.items()}
    if "kernel" not in values:
        norm = torch.nn.BatchNorm2d(len(values["gamma"]), eps=EPSILON, momentum=0.0).eval()
        names = ("weight", "bias", "running_mean", "running_var")
        renamed = dict(zip(names, values.values(), strict=True))
        norm.load_state_dict({**renamed, "num_batches_tracked": torch.tensor(0)})
        return norm
    kernel = values["kernel"].permute(3, 2, 0, 1).contiguous()
    outputs, inputs, *_ = kernel.shape
    layer = torch.nn.Conv2d(inputs, outputs, 3, bias="bias" in values).eval()
    bias = {"bias": values["bias"]} if "bias" in values else {}
    layer.load_state_dict({"weight": kernel, **bias})
    return layer


WRITERS: dict[str, Callable[[Trained, Path], Path]] = {
    "mxnet": write_mxnet,
    "caffe": write_caffe,
    "paddle": write_paddle,
    "tflite": write_tflite,
    "tensorflow": write_frozen,
    "tfjs": write_tfjs,
    "keras_h5": write_hdf5,
    "aizoo_pth": write_pth,
}
