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

from facemask_zoo.errors import WeightsError

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
            WeightsError: The window reaches outside its storage.
        """
        values = self.storage.values
        numbers: tuple[object, ...] = (self.offset, *self.shape, *self.strides)
        if values is None or not all(isinstance(n, int) and n >= 0 for n in numbers):
            raise WeightsError("A tensor in the file has no data or a malformed shape.")
        steps = list(zip(self.shape, self.strides, strict=True))
        last = self.offset + sum(max(size - 1, 0) * stride for size, stride in steps)
        count = math.prod([int(size) for size in self.shape])
        if count > values.size or (count and last >= values.size):
            raise WeightsError(
                f"A tensor of shape {self.shape} does not fit its storage of {values.size} values."
            )
        bytes_per_step = tuple(
            stride * values.itemsize if size > 1 else 0 for size, stride in steps
        )
        window = np.lib.stride_tricks.as_strided(
            values[self.offset :], self.shape, bytes_per_step, writeable=False
        )
        return window.copy()


class TensorUnpickler(pickle._Unpickler):
    """Rebuilds the tree of containers, modules (as bare attribute holders) and tensor views."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, Storage] = {}
        self._inert = type("Inert", (), {})

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
            return self._inert
        raise WeightsError(f"The pickle refers to {module}.{name}, which weights do not need.")

    def persistent_load(self, reference: Any) -> Any:
        """Resolve PyTorch's references to storages and module classes."""
        kind = reference[0] if isinstance(reference, tuple) and reference else None
        if kind == "module":
            return reference[1]
        if kind != "storage" or len(reference) < 5:
            raise WeightsError("The pickle holds an unknown kind of reference.")
        _, dtype, key, _, count = reference[:5]
        if not isinstance(dtype, np.dtype) or not isinstance(count, int) or count < 0:
            raise WeightsError("The pickle describes a malformed storage.")
        return self.storages.setdefault(str(key), Storage(str(key), dtype, count))


def load_tree(file: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """Read one pickle from `file`.

    Returns:
        What it describes, and the storages it refers to by key.

    Raises:
        WeightsError: It is damaged, or refers to anything but tensors.
    """
    unpickler = TensorUnpickler(file)
    try:
        return unpickler.load(), unpickler.storages
    except WeightsError:
        raise
    except Exception as error:  # a hostile pickle can fail in any way the interpreter knows
        raise WeightsError(f"The pickle is damaged: {error!r}.") from error


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
