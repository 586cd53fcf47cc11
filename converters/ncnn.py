"""ncnn: ``.param`` with the graph as text and ``.bin`` with the weights, written without ncnn."""

from __future__ import annotations

import dataclasses
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.model import Model
from facemask_zoo.ssd.network import INPUT_NAME, Convolution, build

_PARAM_MAGIC = 7767517
_RAW_FLOAT32 = struct.pack("<I", 0)

# Values of ncnn's numbered parameters.
_MAX_POOL, _ROUND_UP = 0, 0
_RELU = 1
_CHANNELS_LAST = 3


def write(model: Model, path: Path) -> None:
    """Write ``.param`` at `path` and ``.bin`` beside it.

    A picture goes in as ``data`` (3, S, S), without a batch; the outputs are (A, 4) and (A, C). The
    card is a line after the last layer, where ncnn has stopped reading.
    """
    network = model.card.network
    builder = _LayerBuilder()
    size = network.input_size
    image = builder.add("Input", INPUT_NAME, [], f"0={size} 1={size} 2=3")
    build(network, image, builder)
    layers = list(_with_splits(builder.layers))
    blobs = sum(len(layer.outputs) for layer in layers)
    lines = [str(_PARAM_MAGIC), f"{len(layers)} {blobs}", *map(str, layers)]
    lines.append(f"# {CARD_KEY}: {model.card.portable().to_json()}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.with_suffix(".bin").write_bytes(b"".join(_weights(model, builder.convolutions)))


@dataclasses.dataclass(frozen=True)
class _Layer:
    """A line of the graph."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: str = ""

    def __str__(self) -> str:
        counts = (len(self.inputs), len(self.outputs))
        words = (self.kind, self.name, *counts, *self.inputs, *self.outputs, self.parameters)
        return " ".join(str(word) for word in words if word != "")


def _with_splits(layers: Sequence[_Layer]) -> Iterator[_Layer]:
    """The layers, and a ``Split`` after each whose output several read: ncnn allows one reader."""
    readers = Counter(name for layer in layers for name in layer.inputs)
    copies: dict[str, Iterator[str]] = {}
    for layer in layers:
        inputs = tuple(next(copies[name]) if name in copies else name for name in layer.inputs)
        yield dataclasses.replace(layer, inputs=inputs)
        for name in layer.outputs:
            if readers[name] > 1:
                names = tuple(f"{name}_split_{index}" for index in range(readers[name]))
                yield _Layer("Split", f"{name}_split", (name,), names)
                copies[name] = iter(names)


def _weights(model: Model, convolutions: Sequence[Convolution]) -> Iterator[bytes]:
    """Weights and biases in the order of the graph."""
    for layer in convolutions:
        yield _RAW_FLOAT32
        for name in (layer.weight_name, layer.bias_name):
            yield np.ascontiguousarray(model.tensors[name], dtype="<f4").tobytes()


class _LayerBuilder:
    """Collects layers; tensors are the names of their blobs."""

    def __init__(self) -> None:
        self.layers: list[_Layer] = []
        self.convolutions: list[Convolution] = []

    def pool(self, x: str, name: str) -> str:
        return self.add("Pooling", name, [x], f"0={_MAX_POOL} 1=2 2=2 5={_ROUND_UP}")

    def convolve(self, x: str, layer: Convolution) -> str:
        self.convolutions.append(layer)
        count = int(np.prod(layer.weight_shape))
        parameters = f"0={layer.outputs} 1=3 4={layer.padding} 5=1 6={count}"
        activation = f" 9={_RELU}" if layer.relu else ""
        return self.add("Convolution", layer.name, [x], parameters + activation)

    def flatten(self, x: str, columns: int, name: str) -> str:
        last = self.add("Permute", f"{name}_permute", [x], f"0={_CHANNELS_LAST}")
        return self.add("Reshape", name, [last], f"0={columns} 1=-1")

    def sigmoid(self, x: str, name: str) -> str:
        return self.add("Sigmoid", name, [x])

    def concatenate(self, parts: Sequence[str], name: str) -> str:
        return self.add("Concat", name, parts, "0=0")

    def add(self, kind: str, name: str, inputs: Sequence[str], parameters: str = "") -> str:
        """Append a layer whose only output bears its name."""
        self.layers.append(_Layer(kind, name, tuple(inputs), (name,), parameters))
        return name
