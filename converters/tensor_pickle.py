"""Tensors out of PyTorch's pickles, with every name in them mapped to something inert.

No class or function named in a pickle is imported or called: torch itself is not needed. The
pure-Python unpickler is used because the C one sizes its memo by numbers found in the file.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.limits import MAX_FILE_BYTES, Budget
from facemask_zoo.errors import WeightsError

MAX_PICKLE_BYTES = 1024 * 1024
"""Of a pickle without its numbers; one byte of it can make an object of 200."""

_MAX_DIMENSIONS = 8
_STORAGE_TYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


@dataclasses.dataclass
class Storage:
    """A block of numbers that a pickle refers to; filled in once its bytes are read."""

    key: str
    dtype: np.dtype[Any]
    count: int
    budget: Budget
    values: NDArray[Any] | None = None


@dataclasses.dataclass
class TensorView:
    """A strided window on a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def to_array(self) -> NDArray[Any]:
        """A copy of the tensor.

        Raises:
            WeightsError: The window reaches outside its storage, or the copies are too many.
        """
        values = self.storage.values
        if values is None or not self._is_plausible():
            raise WeightsError("A tensor in the file has no data or a malformed shape.")
        steps = list(zip(self.shape, self.strides, strict=True))
        last = self.offset + sum((size - 1) * stride for size, stride in steps)
        if last >= values.size:
            raise WeightsError(
                f"A tensor of shape {self.shape} does not fit its storage of {values.size} values."
            )
        self.storage.budget.spend(math.prod(self.shape) * values.itemsize)
        bytes_per_step = tuple(
            stride * values.itemsize if size > 1 else 0 for size, stride in steps
        )
        window = np.lib.stride_tricks.as_strided(
            values[self.offset :], self.shape, bytes_per_step, writeable=False
        )
        return window.copy()

    def _is_plausible(self) -> bool:
        return (
            len(self.shape) == len(self.strides) <= _MAX_DIMENSIONS
            and all(_is_count(size) and size > 0 for size in self.shape)
            and all(map(_is_count, (self.offset, *self.strides)))
        )


class Inert:
    """Stands for any module of PyTorch; it only keeps what the pickle says of it."""

    def __init__(self) -> None:
        self.state: dict[Any, Any] = {}


def _build(unpickler: Any) -> None:
    """Keep the state of modules; drop what a pickle would set on anything else."""
    state = unpickler.stack.pop()
    if isinstance(unpickler.stack[-1], Inert) and isinstance(state, dict):
        unpickler.stack[-1].state = state


def _refuse(unpickler: Any) -> None:
    raise WeightsError("The pickle uses an operation that weights do not need.")


# BYTEARRAY8 takes as much memory as it is told before it reads anything.
_DISPATCH = {
    **pickle._Unpickler.dispatch,
    pickle.BUILD[0]: _build,
    pickle.BYTEARRAY8[0]: _refuse,
}


class TensorUnpickler(pickle._Unpickler):
    """Rebuilds the tree of containers, modules (as bare attribute holders) and tensor views."""

    dispatch = _DISPATCH

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, Storage] = {}
        self._budget = Budget()

    def find_class(self, module: str, name: str) -> Any:
        """Map a global to something that can do no harm.

        Raises:
            WeightsError: The pickle names anything but tensors, modules and ordered dictionaries.
        """
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name in _REBUILDERS:
            return _REBUILDERS[name]
        if module == "torch" and name in _STORAGE_TYPES:
            return _STORAGE_TYPES[name]
        if module.startswith("torch.nn.modules.") or (module, name) == ("MainModel", "KitModel"):
            return Inert
        raise WeightsError(f"The pickle refers to {module}.{name}, which weights do not need.")

    def persistent_load(self, reference: Any) -> Any:
        """Resolve PyTorch's references to storages and module classes."""
        kind = reference[0] if isinstance(reference, tuple) and reference else None
        if kind == "module":
            return reference[1]
        if kind != "storage" or len(reference) < 5:
            raise WeightsError("The pickle holds an unknown kind of reference.")
        _, dtype, key, _, count = reference[:5]
        if not (isinstance(dtype, np.dtype) and isinstance(key, str) and _is_count(count)):
            raise WeightsError("The pickle describes a malformed storage.")
        return self.storages.setdefault(key, Storage(key, dtype, count, self._budget))


def load_tree(file: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """Read one pickle from `file`.

    Returns:
        What it describes, and the storages it refers to by key.

    Raises:
        WeightsError: It is damaged, or refers to anything but tensors.
    """
    start = file.tell()
    text = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    unpickler = TensorUnpickler(text)
    try:
        tree = unpickler.load()
        file.seek(start + text.tell())
        return tree, unpickler.storages
    except WeightsError:
        raise
    except Exception as error:  # a hostile pickle can fail in any way the interpreter knows
        raise WeightsError(f"The pickle is damaged: {error!r}.") from error


def _is_count(value: object) -> bool:
    """Whether a number can be a size, an offset or a stride in a file of bounded size."""
    return type(value) is int and 0 <= value <= MAX_FILE_BYTES


def _rebuild_tensor(storage: Storage, offset: int, size: Any, stride: Any, *_: Any) -> TensorView:
    if not isinstance(storage, Storage):
        raise WeightsError("The pickle builds a tensor without a storage.")
    return TensorView(storage, offset, tuple(size), tuple(stride))


def _rebuild_parameter(tensor: TensorView, *_: Any) -> TensorView:
    return tensor


_REBUILDERS: dict[str, Callable[..., TensorView]] = {
    "_rebuild_tensor_v2": _rebuild_tensor,
    "_rebuild_parameter": _rebuild_parameter,
}
