"""PyTorch: a ``state_dict`` as `torch.save` writes it, in and out without torch.

Graph and card are members of the archive beside the pickle, which `torch.load` passes over.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.archives import add_member, open_archive, read_member
from facemask_zoo.converters.formats import CARD_KEY, GRAPH_KEY
from facemask_zoo.converters.formats.importing import LooseTensors, fold_norms
from facemask_zoo.converters.limits import MAX_FILE_BYTES, MAX_TEXT_BYTES, read_bytes
from facemask_zoo.converters.tensor_pickle import (
    MAX_PICKLE_BYTES,
    Storage,
    TensorView,
    load_tree,
)
from facemask_zoo.errors import WeightsError
from facemask_zoo.graph import text
from facemask_zoo.graph.program import Program

_ROOT = "archive"
_PICKLE = "/data.pkl"
_BYTE_ORDER, _LITTLE = "byteorder", b"little"
_VERSION = "version"
# The version of the archive, as PyTorch has written it since 1.6.
_VERSION_TEXT = b"3\n"
_CARD, _GRAPH = (f"extra/{key}.json" for key in (CARD_KEY, GRAPH_KEY))
_NESTED_KEYS = ("state_dict", "model_state_dict", "model")

# PyTorch aligns the data of every member, so that files can be mapped into memory.
_ALIGNMENT = 64
_LOCAL_HEADER_BYTES = 30
_PADDING = struct.Struct("<2sH")
_PADDING_TAG = b"FB"


def read(path: Path) -> Program | LooseTensors:
    """Read a ``state_dict``, bare or within a checkpoint; nothing in the file is executed.

    Without a graph in the file, batch normalisation named ``<layer>_bn`` is folded.

    Raises:
        WeightsError: The file is damaged, refers to anything but tensors, or its tensors do not
            fit its graph.
    """
    archive = open_archive(read_bytes(path))
    names = archive.namelist()
    root = next((name[: -len(_PICKLE)] for name in names if name.endswith(_PICKLE)), None)
    if root is None:
        raise WeightsError(f"{path} holds no {_PICKLE[1:]}, as files of torch.save do.")
    data = read_member(archive, root + _PICKLE, MAX_PICKLE_BYTES)
    tree, storages = load_tree(io.BytesIO(data))
    _fill(archive, root, storages)
    tensors = _tensors(_state_dict(tree))
    card, graph = (_text_of(archive, f"{root}/{member}") for member in (_CARD, _GRAPH))
    if graph:
        return Program(text.from_json(graph), tensors, card)
    return LooseTensors(fold_norms(tensors), card)


def write(program: Program, path: Path) -> None:
    """Write what ``torch.load(path, weights_only=True)`` reads, with graph and card beside it."""
    shapes = program.graph.tensor_shapes
    with zipfile.ZipFile(path, "w") as archive:
        _add(archive, _PICKLE[1:], _pickled(list(shapes.items())))
        _add(archive, _BYTE_ORDER, _LITTLE)
        for key, name in enumerate(shapes):
            values = np.ascontiguousarray(program.tensors[name], dtype="<f4")
            _add(archive, f"data/{key}", values.tobytes())
        _add(archive, _VERSION, _VERSION_TEXT)
        _add(archive, _GRAPH, text.to_json(program.graph).encode())
        if program.card:
            _add(archive, _CARD, program.card.encode())


def _text_of(archive: zipfile.ZipFile, member: str) -> str:
    """A text beside the pickle; empty if there is none."""
    if member not in archive.namelist():
        return ""
    try:
        return read_member(archive, member, MAX_TEXT_BYTES).decode()
    except UnicodeDecodeError as error:
        raise WeightsError(f"{member} is no text: {error}.") from error


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


def _tensors(state: Mapping[Any, Any]) -> dict[str, NDArray[np.float32]]:
    return {
        name: np.asarray(view.to_array(), np.float32)
        for name, view in state.items()
        if isinstance(name, str) and isinstance(view, TensorView) and _is_float(view)
    }


def _is_float(view: TensorView) -> bool:
    """Counters, such as that of the batches that a normalisation has seen, are no weights."""
    return view.storage.dtype.kind == "f"


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
