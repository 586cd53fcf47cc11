"""PyTorch: a ``state_dict`` as `torch.save` writes it, in and out without torch."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.archives import add_member, open_archive, read_member
from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.keras_layers import (
    BATCH_NORM,
    BATCH_NORM_SUFFIX,
    BIAS,
    KERNEL,
    Layers,
    from_layers,
)
from facemask_zoo.converters.limits import MAX_FILE_BYTES, MAX_TEXT_BYTES, read_bytes
from facemask_zoo.converters.tensor_pickle import (
    MAX_PICKLE_BYTES,
    Storage,
    TensorView,
    load_tree,
)
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Model
from facemask_zoo.recognition import card_from_tensors

_ROOT = "archive"
_PICKLE = "/data.pkl"
_BYTE_ORDER, _LITTLE = "byteorder", b"little"
_VERSION = "version"
# The version of the archive, as PyTorch has written it since 1.6.
_VERSION_TEXT = b"3\n"
_CARD = f"extra/{CARD_KEY}.json"
_NESTED_KEYS = ("state_dict", "model_state_dict", "model")

# PyTorch aligns the data of every member, so that files can be mapped into memory.
_ALIGNMENT = 64
_LOCAL_HEADER_BYTES = 30
_PADDING = struct.Struct("<2sH")
_PADDING_TAG = b"FB"

_CONVOLUTION = {"weight": KERNEL, "bias": BIAS}
_NORM = dict(zip(("weight", "bias", "running_mean", "running_var"), BATCH_NORM, strict=True))


def read(path: Path) -> Model:
    """Read a ``state_dict``, bare or within a checkpoint; nothing in the file is executed.

    Batch normalisation named ``<layer>_bn`` is folded. Without an embedded card the network is
    AIZOO's by shape.

    Raises:
        WeightsError: The file is damaged, refers to anything but tensors, or holds other layers.
    """
    archive = open_archive(read_bytes(path))
    names = archive.namelist()
    root = next((name[: -len(_PICKLE)] for name in names if name.endswith(_PICKLE)), None)
    if root is None:
        raise WeightsError(f"{path} holds no {_PICKLE[1:]}, as files of torch.save do.")
    data = read_member(archive, root + _PICKLE, MAX_PICKLE_BYTES)
    tree, storages = load_tree(io.BytesIO(data))
    _fill(archive, root, storages)
    tensors = from_layers(_layers(_state_dict(tree)), "OIHW")
    if f"{root}/{_CARD}" in names:
        text = read_member(archive, f"{root}/{_CARD}", MAX_TEXT_BYTES)
        return Model(ModelCard.from_json(text), tensors)
    return Model(card_from_tensors(tensors, path.stem), tensors)


def write(model: Model, path: Path) -> None:
    """Write what ``torch.load(path, weights_only=True)`` reads; the card is a member beside it."""
    names = list(model.card.network.tensor_shapes)
    with zipfile.ZipFile(path, "w") as archive:
        _add(archive, _PICKLE[1:], _pickled([(name, model.tensors[name].shape) for name in names]))
        _add(archive, _BYTE_ORDER, _LITTLE)
        for key, name in enumerate(names):
            values = np.ascontiguousarray(model.tensors[name], dtype="<f4")
            _add(archive, f"data/{key}", values.tobytes())
        _add(archive, _VERSION, _VERSION_TEXT)
        _add(archive, _CARD, model.card.portable().to_json().encode())


def _fill(archive: zipfile.ZipFile, root: str, storages: Mapping[str, Storage]) -> None:
    """Give every storage its numbers.

    Raises:
        WeightsError: A member is missing, of another size, or in the order of other machines.
    """
    order = f"{root}/{_BYTE_ORDER}"
    if order in archive.namelist() and read_member(archive, order, len(_LITTLE)) != _LITTLE:
        raise WeightsError("The numbers in the file are not little-endian.")
    sizes = {key: storage.count * storage.dtype.itemsize for key, storage in storages.items()}
    if sum(sizes.values()) > MAX_FILE_BYTES:
        raise WeightsError(f"The file claims {sum(sizes.values())} bytes of tensors.")
    for key, storage in storages.items():
        raw = read_member(archive, f"{root}/data/{key}", sizes[key])
        if len(raw) != sizes[key]:
            raise WeightsError(f"Storage {key!r}: expected {sizes[key]} bytes, got {len(raw)}.")
        storage.values = np.frombuffer(raw, storage.dtype)


def _state_dict(tree: Any) -> Mapping[Any, Any]:
    for key in _NESTED_KEYS:
        if isinstance(tree, dict) and isinstance(tree.get(key), dict):
            tree = tree[key]
    if not isinstance(tree, dict):
        raise WeightsError(f"Expected a dictionary of tensors, but got {type(tree).__name__}.")
    return tree


def _layers(state: Mapping[Any, Any]) -> Layers:
    layers: Layers = {}
    for name, view in state.items():
        if not isinstance(name, str):
            continue
        layer, _, part = name.rpartition(".")
        parameter = (_NORM if layer.endswith(BATCH_NORM_SUFFIX) else _CONVOLUTION).get(part)
        if parameter and isinstance(view, TensorView):
            values = np.asarray(view.to_array(), np.float32)
            layers.setdefault(layer, {})[parameter] = values
    return layers


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add a member whose data begin at a multiple of the alignment."""
    name = f"{_ROOT}/{name}"
    start = archive.start_dir + _LOCAL_HEADER_BYTES + len(name) + _PADDING.size
    padding = -start % _ALIGNMENT
    add_member(archive, name, data, _PADDING.pack(_PADDING_TAG, padding) + b"Z" * padding)


def _pickled(tensors: Sequence[tuple[str, tuple[int, ...]]]) -> bytes:
    """The pickle of an ``OrderedDict`` of contiguous float32 tensors, one storage for each.

    Written operation by operation, since Python's pickler refuses to name what it cannot import.
    """
    items = b"".join(
        _text(name) + _tensor(str(key), shape) for key, (name, shape) in enumerate(tensors)
    )
    return b"\x80\x02" + _EMPTY_DICT + b"(" + items + b"u."


_EMPTY_DICT = b"ccollections\nOrderedDict\n)R"


def _tensor(key: str, shape: tuple[int, ...]) -> bytes:
    """A call of PyTorch's function that makes a tensor of a storage, and its arguments."""
    count = int(np.prod(shape))
    strides = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    kind = _text("storage") + b"ctorch\nFloatStorage\n"
    storage = b"(" + kind + _text(key) + _text("cpu") + _integer(count) + b"tQ"
    window = _integer(0) + _integers(shape) + _integers(strides)
    requires_grad, hooks = b"\x89", _EMPTY_DICT
    arguments = storage + window + requires_grad + hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _integers(values: Sequence[int]) -> bytes:
    return b"(" + b"".join(map(_integer, values)) + b"t"
