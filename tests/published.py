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

from facemask_zoo import converters
from facemask_zoo.cards import load_card
from facemask_zoo.converters import keras_h5
from facemask_zoo.converters import tensorflow as frozen
from facemask_zoo.converters.formats.caffe import _Net
from facemask_zoo.converters.keras_graph import KERAS2_OUTPUTS, graph_layers, keras2_model
from facemask_zoo.converters.paddle import _Program
from facemask_zoo.converters.tflite import TFLiteBuilder
from facemask_zoo.converters.tflite_writer import GraphWriter
from facemask_zoo.model import Model
from facemask_zoo.ssd.network import build

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
    converters.write(network.folded, path, "caffe")
    lines = path.with_suffix(".prototxt").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("#") and line.strip() != "pad: 0"]
    text = "\n".join(kept).replace("_reshape_permute", "_conv_permute")
    path.with_suffix(".prototxt").write_text(text)
    net = _Net.FromString(path.read_bytes())
    net.name = "face_mask_detection"
    path.write_bytes(net.SerializeToString())
    return path


def write_paddle(network: Trained, folder: Path) -> Path:
    """A folder with ``__model__`` and ``__params__``."""
    converters.write(network.folded, folder / "seeded.pdiparams", "paddle")
    program = _Program.FromString((folder / "seeded.pdmodel").read_bytes())
    for variable in program.blocks[0].vars:
        variable.ClearField("attrs")
    (folder / "__model__").write_bytes(program.SerializeToString())
    (folder / "seeded.pdiparams").rename(folder / "__params__")
    (folder / "seeded.pdmodel").unlink()
    return folder


def write_tflite(network: Trained, folder: Path) -> Path:
    """With the names that TensorFlow's first converter gave, and without metadata."""
    writer, model = GraphWriter(), network.folded
    size = model.card.network.input_size
    image = writer.tensor("data_1", (1, size, size, 3))
    loc, scores = build(model.card.network, image, _TocoBuilder(writer, model))
    outputs = {"loc_branch_concat_1/concat": loc, "cls_branch_concat_1/concat": scores}
    (folder / "seeded.tflite").write_bytes(writer.finish("", {"data_1": image}, outputs, {}))
    return folder / "seeded.tflite"


class _TocoBuilder(TFLiteBuilder):
    def _weight(self, name: str) -> Any:
        layer, _, parameter = name.partition("/")
        ending = "kernel" if parameter == "kernel" else "convolution_bias"
        return self._writer.constant(f"{layer}_1/{ending}", self._arrays[name])

    def concatenate(self, parts: Any, name: str) -> Any:
        return super().concatenate(parts, f"{name}_1/concat")


def write_frozen(network: Trained, folder: Path) -> Path:
    """A frozen graph whose layers were built a second time: each name has ``_1`` appended."""
    builder = _FrozenBuilder(network.folded)
    builder.layers = network.layers
    size = network.folded.card.network.input_size
    build(network.folded.card.network, builder.image((-1, size, size, 3)), builder)
    for node in builder.graph.node:
        node.name = twice_built(node.name)
        node.input[:] = [twice_built(name) for name in node.input]
    (folder / "seeded.pb").write_bytes(builder.graph.SerializeToString())
    return folder / "seeded.pb"


def twice_built(name: str) -> str:
    layer, slash, rest = name.partition("/")
    return f"{layer}_1{slash}{rest}"


class _FrozenBuilder(frozen._GraphBuilder):
    layers: Layers

    def convolve(self, x: Any, layer: Any) -> Any:
        if not layer.relu:
            return super().convolve(x, layer)
        kernel = f"{layer.name}/kernel"
        self._constant(kernel, np.ascontiguousarray(self.layers[layer.name]["kernel"]), 1)
        y = f"{layer.name}/convolution"
        padding = b"SAME" if layer.padding else b"VALID"
        self._float("Conv2D", [x.name, kernel], y, strides=[1, 1, 1, 1], padding=padding)
        inputs = [y]
        for parameter, values in self.layers[f"{layer.name}_bn"].items():
            name = f"{layer.name}_bn/{parameter}"
            inputs.append(self._constant(name, np.ascontiguousarray(values), 1))
        y = self._float("FusedBatchNorm", inputs, f"{layer.name}_bn/FusedBatchNorm")
        node = self.graph.node[-1]
        node.attr.add(key="epsilon", value=frozen._SCHEMA["Value"](f=EPSILON))
        node.attr.add(key="is_training", value=frozen._SCHEMA["Value"](b=False))
        y = self._float("Relu", [y], f"{layer.name}_activation/Relu")
        return frozen._Node(y, frozen.convolved(x.shape, layer))

    def concatenate(self, parts: Any, name: str) -> Any:
        return super().concatenate(parts, f"{name}/concat")


def write_tfjs(network: Trained, folder: Path) -> Path:
    """``model.json`` as TensorFlow.js's first converter wrote it, and one file of weights."""
    arrays = {
        f"{x}/{y}": values for x, layer in network.layers.items() for y, values in layer.items()
    }
    card = network.folded.card
    layers = graph_layers(card.network, KERAS2_OUTPUTS, unfolded=True)
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
            "model_config": keras2_model(card.network, layers),
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
    keras_h5.write_unfolded(network.folded.card.network, network.layers, path)
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
