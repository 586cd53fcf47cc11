"""What every backend is: a native file, loaded by its framework, that answers `forward`."""

from __future__ import annotations

import abc
import contextlib
import ctypes
import dataclasses
import os
import threading
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.arguments import check_kind
from facemask_zoo.backends.threads import thread_count
from facemask_zoo.errors import DeviceError, WeightsError
from facemask_zoo.graph.graph import Names
from facemask_zoo.graph.signature import Signature

Batch = NDArray[np.float32]
Outputs = Mapping[str, NDArray[np.float32]]
"""By the signature's names, each with the batch in front."""

_HINTS = {
    "int8": " 8-bit integers need pictures to find their ranges with: write a file by "
    "facemask-zoo convert --precision int8, and load that with trust=True (--trust)."
}


@dataclasses.dataclass(frozen=True)
class Options:
    """How a backend shall run.

    Attributes:
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        precision: One of ``PRECISIONS``.
        threads: Number of CPU threads, 1 to ``threads.MAX_THREADS``; the framework's own choice if
            None.

    Raises:
        InvalidArgumentError: Device or precision is no text.
    """

    device: str = "cpu"
    precision: str = "fp32"
    threads: int | None = None

    def __post_init__(self) -> None:
        check_kind("device", self.device, str)
        check_kind("precision", self.precision, str)

    @property
    def device_index(self) -> int | None:
        """Number of the CUDA device, or None for the CPU."""
        kind, _, index = self.device.partition(":")
        return int(index or 0) if kind == "cuda" else None


class Backend(abc.ABC):
    """One network on one framework.

    A subclass loads its native file in `_load` and runs it in `_run`. It knows neither pictures,
    nor boxes, nor where the file came from.

    A backend may be shared by threads: they wait for each other unless the class is `thread_safe`.

    Args:
        path: File (or folder) in one of the `formats`.
        signature: Names and shapes of the input and the outputs.
        options: Device, precision and threads.

    Raises:
        DeviceError: The framework cannot do what `options` ask for here.
        WeightsError: The framework does not accept the file.
    """

    formats: ClassVar[tuple[str, ...]]
    """Formats of ``facemask_zoo.converters`` that the framework loads; the first is preferred."""

    own_formats: ClassVar[tuple[str, ...]] = ()
    """Formats that are loaded if written by this package, but not as others may have saved them."""

    precisions: ClassVar[tuple[str, ...]] = ("fp32",)

    channels_last: ClassVar[bool] = False
    """Whether `_run` wants pictures as (N, H, W, C) in memory; see :meth:`buffer`."""

    thread_safe: ClassVar[bool] = False
    """Whether `_run` may be called by several threads at once."""

    fork_safe: ClassVar[bool] = False
    """Whether a forked child may load the file again, on the CPU.

    Others would hang there: they wait for threads that only the parent has.
    """

    def __init__(self, path: Path, signature: Signature, options: Options) -> None:
        self.check(options)
        self.path = path
        self.signature = signature
        self.options = dataclasses.replace(options, threads=thread_count(options.threads))
        self._process = os.getpid()
        self._renew_lock()
        _LOADED.add(self)
        self._load(path)

    @classmethod
    @abc.abstractmethod
    def version(cls) -> str:
        """Version of the framework; importing it may take seconds."""

    @classmethod
    def devices(cls) -> list[str]:
        """Devices that work here, the CPU first."""
        return ["cpu"]

    @abc.abstractmethod
    def _load(self, path: Path) -> None:
        """Load the native file; `self.signature` and `self.options` are set."""

    @abc.abstractmethod
    def _run(self, batch: Batch) -> Outputs:
        """Run a valid batch of N >= 1 inputs; the outputs by the signature's names.

        It is contiguous or, if the class says `channels_last`, so are its pictures as
        (N, H, W, C), which :func:`to_channels_last` then gives without a copy.
        """

    def buffer(self, count: int) -> Batch:
        """Memory for a batch, laid out so that :meth:`forward` does not copy it.

        Args:
            count: How many inputs.

        Returns:
            (N, ...) float32 of the signature's input, uninitialised. It may be a view with the
            channels last in memory.
        """
        shape = self.signature.input.shape
        if not self.channels_last or len(shape) != 3:
            return np.empty((count, *shape), np.float32)
        return np.empty((count, *channels_last_shape(shape)), np.float32).transpose(0, 3, 1, 2)

    def forward(self, batch: Batch) -> dict[str, NDArray[np.float32]]:
        """Run the network.

        Args:
            batch: (N, ...) float32 in the shape of the signature's input; (N, 3, H, W) for
                pictures.

        Returns:
            The outputs by name, in the signature's order, float32.

        Raises:
            DeviceError: This is a forked child, and the framework does not work in one.
            WeightsError: The file's outputs do not have the signature's shapes.
        """
        self._check_process()
        if not len(batch):
            return {
                spec.name: np.empty((0, *spec.shape), np.float32) for spec in self.signature.outputs
            }
        batch = self._arranged(batch)
        with self._lock:
            outputs = self._run(batch)
        return {
            spec.name: _of_shape(spec.name, outputs[spec.name], (len(batch), *spec.shape))
            for spec in self.signature.outputs
        }

    def _arranged(self, batch: Batch) -> Batch:
        """The batch as `_run` takes it; what comes from :meth:`buffer` is not copied."""
        if not self.channels_last or batch.ndim != 4:
            return np.require(batch, np.float32, ["C", "W"])
        return np.require(to_channels_last(batch), np.float32, ["C", "W"]).transpose(0, 3, 1, 2)

    def _renew_lock(self) -> None:
        self._lock: contextlib.AbstractContextManager[object] = (
            contextlib.nullcontext() if self.thread_safe else threading.Lock()
        )

    def _check_process(self) -> None:
        """In a forked child, load what works there again: its threads stayed in the parent."""
        if os.getpid() == self._process:
            return
        if not self.fork_safe or self.options.device_index is not None:
            raise DeviceError(
                f"{type(self).__name__} was loaded by process {self._process} and does not work in "
                f"one forked from it. Start processes by spawn, or load it only in the child."
            )
        with _LOADING_AGAIN:
            if os.getpid() != self._process:
                self._load(self.path)
                self._process = os.getpid()

    @classmethod
    def check(cls, options: Options) -> None:
        """See whether the framework can do here what is asked for.

        Raises:
            DeviceError: It lacks the device or precision, or the number of threads is not one that
                it can use.
        """
        if options.precision not in cls.precisions:
            raise DeviceError(
                f"{cls.__name__} runs in {', '.join(cls.precisions)}, "
                f"but got precision {options.precision!r}.{_HINTS.get(options.precision, '')}"
            )
        device = "cuda:0" if options.device == "cuda" else options.device
        known = cls.devices()
        if device not in known:
            raise DeviceError(
                f"{cls.__name__} has no device {options.device!r} here; it has {', '.join(known)}."
            )
        thread_count(options.threads)


_LOADED: weakref.WeakSet[Backend] = weakref.WeakSet()


_LOADING_AGAIN = threading.Lock()


def _leave_to_parent() -> None:
    """In a forked child: renew the locks, and never free what the frameworks made before.

    Threads that held a lock are gone, and destructors wait for threads that only the parent has.
    """
    global _LOADING_AGAIN
    _LOADING_AGAIN = threading.Lock()
    for backend in _LOADED:
        backend._renew_lock()
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(dict(vars(backend))))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def _of_shape(name: str, values: NDArray[np.float32], shape: tuple[int, ...]) -> Batch:
    if values.shape != shape:
        raise WeightsError(
            f"Output {name!r}: expected shape {shape}, but the file gives {values.shape}."
        )
    return np.asarray(values, np.float32)


def pick_output(names: Iterable[str], wanted: str) -> str:
    """The one name that begins with `wanted`; frameworks add suffixes such as ``_1/concat:0``.

    Failing that, the one whose legal form it is: graphs know letters, digits and underscores.

    Raises:
        WeightsError: None does, or more than one.
    """
    names = list(names)
    exact = [name for name in names if name == wanted]
    found = exact or [name for name in names if name.startswith(wanted)]
    found = found or [name for name in names if Names.legal(name) == wanted]
    if len(found) != 1:
        raise WeightsError(f"Expected one output {wanted!r}, but got {names}.")
    return found[0]


def pick_outputs(names: Iterable[str], signature: Signature) -> dict[str, str]:
    """For each output of a signature, the framework's name for it; a single one may have any.

    Raises:
        WeightsError: One is missing, or more than one could be meant.
    """
    names = list(names)
    if len(names) == len(signature.output_names) == 1:
        return {signature.output_names[0]: names[0]}
    return {wanted: pick_output(names, wanted) for wanted in signature.output_names}


def to_channels_last(batch: Batch) -> Batch:
    """Feature maps (N, C, H, W) as contiguous (N, H, W, C); anything else as it is."""
    return np.ascontiguousarray(batch.transpose(0, 2, 3, 1)) if batch.ndim == 4 else batch


def channels_last_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (C, H, W) as (H, W, C); any other as it is."""
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape
