"""MXNet: the ``.params`` list of arrays and its ``-symbol.json``, both without MXNet."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.limits import MAX_TEXT_BYTES, read_bytes
from facemask_zoo.converters.signatures import MXNET_LIST_MAGIC
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Model
from facemask_zoo.recognition import card_from_tensors
from facemask_zoo.ssd.network import INPUT_NAME, Convolution, build

_ARRAY_MAGIC = 0xF993FAC9
_NUMPY_SHAPE_ARRAY_MAGIC = 0xF993FACA
_DENSE = 0
_CPU = (1, 0)
_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f8"), 2: np.dtype("<f2")}
_FLOAT32 = 0
_MAX_DIMENSIONS = 8
_MXNET_VERSION = 10901

# The double underscores are MXNet's way to mark attributes that are not the operator's own.
_CARD_ATTRIBUTE = f"__{CARD_KEY}__"

_OWN_NAME = re.compile(r"(?P<layer>\w+)_(?P<part>weight|bias)")
_BACKBONE_NAME = re.compile(r"conv_(?P<index>\d+)(\.1)?\.(?P<part>weight|bias)")
_HEAD_NAME = re.compile(r"(?P<head>(cls|loc)_\d+)_conv\.(?P<step>[01])\.(?P<part>weight|bias)")
_HEAD_STEPS = {"0": "insert_conv2d", "1": "conv"}


def read(path: Path) -> Model:
    """Read the arrays; without a card in ``<stem>-symbol.json`` the network is AIZOO's by shape.

    Raises:
        WeightsError: A file is damaged, or holds other layers.
    """
    arrays = _Reader(read_bytes(path), path).arrays()
    tensors = {canonical_name(key): values for key, values in arrays.items()}
    symbol = symbol_path(path)
    card = _embedded_card(symbol) if symbol.is_file() else None
    return Model(card or card_from_tensors(tensors, path.stem), tensors)


def write(model: Model, path: Path) -> None:
    """Write what MXNet's own ``export`` would: ``.params`` and ``-symbol.json``.

    ``mxnet.gluon.SymbolBlock.imports(symbol, ["data"], params)`` loads the pair, for any batch
    size.
    """
    names = model.card.network.tensor_shapes
    keys = [f"arg:{_variable_name(name)}".encode() for name in names]
    parts = [struct.pack("<3Q", MXNET_LIST_MAGIC, 0, len(keys))]
    for name in names:
        parts += _packed(model.tensors[name])
    parts.append(struct.pack("<Q", len(keys)))
    for key in keys:
        parts += [struct.pack("<Q", len(key)), key]
    path.write_bytes(b"".join(parts))
    symbol_path(path).write_text(_symbol(model), encoding="utf-8")


def companions(path: Path) -> list[Path]:
    """The graph of a file of weights."""
    return [symbol_path(path)]


def symbol_path(path: Path) -> Path:
    """Where the graph of a ``.params`` file lies; an epoch such as ``-0000`` is not part of it."""
    return path.with_name(re.sub(r"-\d{4}$", "", path.stem) + "-symbol.json")


def canonical_name(key: str) -> str:
    """The canonical name of an array: ours, Gluon's, or that of AIZOO's published blocks."""
    key = re.sub(r"^(arg|aux):", "", key)
    if match := _BACKBONE_NAME.fullmatch(key):
        return f"conv2d_{match['index']}.{match['part']}"
    if match := _HEAD_NAME.fullmatch(key):
        return f"{match['head']}_{_HEAD_STEPS[match['step']]}.{match['part']}"
    if match := _OWN_NAME.fullmatch(key):
        return f"{match['layer']}.{match['part']}"
    return key


def _variable_name(name: str) -> str:
    return name.replace(".", "_")


def _packed(values: NDArray[np.float32]) -> list[bytes]:
    head = struct.pack("<IiI", _ARRAY_MAGIC, _DENSE, values.ndim)
    head += struct.pack(f"<{values.ndim}q", *values.shape)
    head += struct.pack("<iii", *_CPU, _FLOAT32)
    return [head, np.ascontiguousarray(values, dtype=_TYPES[_FLOAT32]).tobytes()]


class _Reader:
    """Walks the list of arrays; no length in it is taken on trust."""

    def __init__(self, data: bytes, path: Path) -> None:
        self._data = data
        self._path = path
        self._offset = 0

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """All arrays by the keys of the file."""
        magic, _, count = self._unpack("<3Q")
        if magic != MXNET_LIST_MAGIC:
            raise self._error(f"expected the number {MXNET_LIST_MAGIC:#x}, but got {magic:#x}")
        values = [self._array() for _ in range(self._plausible(count))]
        if self._unpack("<Q") != (count,):
            raise self._error(f"expected {count} names for as many arrays")
        keys = [self._key() for _ in values]
        if len(set(keys)) != count or self._offset != len(self._data):
            raise self._error("names occur twice, or bytes follow the last one")
        return dict(zip(keys, values, strict=True))

    def _array(self) -> NDArray[np.float32]:
        magic, storage, dimensions = self._unpack("<IiI")
        if magic not in (_ARRAY_MAGIC, _NUMPY_SHAPE_ARRAY_MAGIC) or storage != _DENSE:
            raise self._error("an array is not dense or of an unknown version")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise self._error(f"an array claims {dimensions} dimensions")
        shape = self._unpack(f"<{dimensions}q")
        _, _, kind = self._unpack("<iii")
        if kind not in _TYPES or min(shape) < 1:
            raise self._error(f"an array has shape {shape} and the unknown type {kind}")
        raw = self._take(math.prod(shape) * _TYPES[kind].itemsize)
        values = np.frombuffer(raw, _TYPES[kind]).reshape(shape)
        return np.array(values, dtype=np.float32)

    def _key(self) -> str:
        (length,) = self._unpack("<Q")
        try:
            return str(self._take(length), "utf-8")
        except UnicodeDecodeError as error:
            raise self._error("a name is not text") from error

    def _plausible(self, count: int) -> int:
        """An array takes more than a byte, so there cannot be more of them than bytes."""
        if count > len(self._data):
            raise self._error(f"it claims {count} arrays")
        return count

    def _unpack(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))

    def _take(self, length: int) -> memoryview:
        end = self._offset + length
        if end > len(self._data):
            raise self._error(f"{length} bytes are expected at {self._offset}, past its end")
        piece = memoryview(self._data)[self._offset : end]
        self._offset = end
        return piece

    def _error(self, what: str) -> WeightsError:
        return WeightsError(f"{self._path}: not a whole list of MXNet arrays: {what}.")


def _embedded_card(path: Path) -> ModelCard | None:
    try:
        nodes = json.loads(read_bytes(path, MAX_TEXT_BYTES))["nodes"]
        attributes = [node["attrs"] for node in nodes if "attrs" in node]
        texts = [group[_CARD_ATTRIBUTE] for group in attributes if _CARD_ATTRIBUTE in group]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path}: not a symbol of MXNet: {error!r}.") from error
    return ModelCard.from_json(texts[0]) if texts else None


def _symbol(model: Model) -> str:
    """The graph as MXNet's JSON; the card is an attribute of the input."""
    builder = _SymbolBuilder()
    image = builder.add("null", INPUT_NAME, {_CARD_ATTRIBUTE: model.card.portable().to_json()})
    heads = build(model.card.network, image, builder)
    nodes = builder.nodes
    graph = {
        "nodes": nodes,
        "arg_nodes": [index for index, node in enumerate(nodes) if node["op"] == "null"],
        "node_row_ptr": list(range(len(nodes) + 1)),
        "heads": [[index, 0, 0] for index in heads],
        "attrs": {"mxnet_version": ["int", _MXNET_VERSION]},
    }
    return json.dumps(graph, indent=1)


class _SymbolBuilder:
    """Collects nodes; tensors are their indices."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []

    def pool(self, x: int, name: str) -> int:
        size = {"kernel": "(2, 2)", "stride": "(2, 2)", "pool_type": "max"}
        return self.add("Pooling", name, {**size, "pooling_convention": "full"}, x)

    def convolve(self, x: int, layer: Convolution) -> int:
        names = (layer.weight_name, layer.bias_name)
        variables = [self.add("null", _variable_name(name), {}) for name in names]
        attributes = {
            "kernel": "(3, 3)",
            "pad": str((layer.padding, layer.padding)),
            "num_filter": str(layer.outputs),
        }
        y = self.add("Convolution", layer.name, attributes, x, *variables)
        return self.add("relu", f"{layer.name}_activation", {}, y) if layer.relu else y

    def flatten(self, x: int, columns: int, name: str) -> int:
        last = self.add("transpose", f"{name}_permute", {"axes": "(0, 2, 3, 1)"}, x)
        return self.add("Reshape", name, {"shape": str((0, -1, columns))}, last)

    def sigmoid(self, x: int, name: str) -> int:
        return self.add("sigmoid", name, {}, x)

    def concatenate(self, parts: Sequence[int], name: str) -> int:
        return self.add("Concat", name, {"dim": "1", "num_args": str(len(parts))}, *parts)

    def add(self, operator: str, name: str, attributes: dict[str, str], *inputs: int) -> int:
        """Append a node and return its index."""
        node = {"op": operator, "name": name, "inputs": [[index, 0, 0] for index in inputs]}
        self.nodes.append({**node, "attrs": attributes} if attributes else node)
        return len(self.nodes) - 1
