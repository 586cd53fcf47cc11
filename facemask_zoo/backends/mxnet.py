"""Any graph as a Gluon `SymbolBlock`, of a symbol and its ``.params``."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from facemask_zoo.backends.base import Backend, Batch, Outputs, pick_outputs
from facemask_zoo.backends.threads import ProcessThreads
from facemask_zoo.converters.formats.mxnet import symbol_path
from facemask_zoo.converters.formats.mxnet_arrays import variable_name
from facemask_zoo.errors import DeviceError, FrameworkNotInstalledError, WeightsError

_IMPORT_LOCK = threading.Lock()


@contextlib.contextmanager
def _numpy_bool() -> Iterator[None]:
    """NumPy with the alias that MXNet looks up while it is imported, and as it was afterwards."""
    missing = "bool" not in vars(np)
    if missing:
        vars(np)["bool"] = bool
    try:
        yield
    finally:
        if missing:
            del vars(np)["bool"]


def _import_mxnet() -> ModuleType:
    if int(np.__version__.partition(".")[0]) >= 2:
        raise FrameworkNotInstalledError(
            f"MXNet 1.9.1, the last release, needs NumPy below 2, but {np.__version__} is "
            "installed. Run: pip install 'facemask-zoo[mxnet]' (Python 3.11 or older)"
        )
    try:
        with _IMPORT_LOCK, _numpy_bool():
            import mxnet
    except (ImportError, OSError, AttributeError) as error:
        raise FrameworkNotInstalledError(
            f"MXNet does not import ({error}). Run: pip install 'facemask-zoo[mxnet]'"
        ) from error
    return mxnet  # type: ignore[no-any-return]


mx = _import_mxnet()


class _Context(ctypes.Structure):
    """MXNet's C description of a device."""

    _fields_ = (("kind", ctypes.c_int), ("index", ctypes.c_int))


def _set_threads(count: int) -> None:
    """Let the engine's worker use `count` OpenMP threads.

    The number belongs to the thread that opens a parallel region, so it is set from within the
    worker: ``MXSetNumOMPThreads`` reaches the caller only and changes nothing here.

    Raises:
        DeviceError: This build of MXNet does not use OpenMP.
    """
    library = mx.base._LIB
    if not hasattr(library, "omp_set_num_threads"):
        raise DeviceError("This build of MXNet has no OpenMP, so that threads cannot be set.")
    work = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(
        lambda *_: library.omp_set_num_threads(ctypes.c_int(count))
    )
    nothing, cpu = ctypes.c_void_p(), _Context(mx.cpu().device_typeid, 0)
    mx.base.check_call(
        library.MXEnginePushSync(
            work, nothing, nothing, ctypes.byref(cpu), nothing, 0, nothing, 0, nothing, 0, b""
        )
    )
    mx.nd.waitall()


_THREADS = ProcessThreads("MXNet", _set_threads)


class MXNetBackend(Backend):
    """Runs a symbol and its arrays, hybridized.

    The number of threads holds for the whole process (see :class:`ProcessThreads`), and layers
    that ran before keep theirs.
    """

    formats = ("mxnet",)

    fork_safe = True

    @classmethod
    def version(cls) -> str:
        return str(mx.__version__)

    @classmethod
    def devices(cls) -> list[str]:
        return ["cpu", *(f"cuda:{index}" for index in range(mx.context.num_gpus()))]

    def _load(self, path: Path) -> None:
        _THREADS.hold(self, self.options.threads)
        index = self.options.device_index
        self._context = mx.cpu() if index is None else mx.gpu(index)
        symbol, arrays = _read_pair(path)
        names = [name.removesuffix("_output") for name in symbol.list_outputs()]
        self._outputs = [names.index(name) for name in pick_outputs(names, self.signature).values()]
        image = mx.sym.var(self.signature.input.name, dtype=np.float32)
        self.block = mx.gluon.SymbolBlock(symbol, [image])
        self._fill(arrays)
        self.block.hybridize(static_alloc=True)

    def _fill(self, arrays: Mapping[str, Any]) -> None:
        """Set the parameters of the block."""
        named = {variable_name(key): array for key, array in arrays.items()}
        parameters = self.block.collect_params()
        if set(parameters) != set(named):
            different = sorted(set(parameters) ^ set(named))
            raise WeightsError(f"The arrays do not fit the symbol: {different[:5]}.")
        for name, parameter in parameters.items():
            parameter._load_init(named[name], self._context, cast_dtype=True)

    def _run(self, batch: Batch) -> Outputs:
        results = self.block(mx.nd.array(batch, ctx=self._context))
        results = results if isinstance(results, list | tuple) else [results]
        answers = (results[index].asnumpy() for index in self._outputs)
        return dict(zip(self.signature.output_names, answers, strict=True))


def _read_pair(path: Path) -> tuple[Any, dict[str, Any]]:
    """The symbol beside a file of arrays, and the arrays."""
    symbol = symbol_path(path)
    if not symbol.is_file():
        raise WeightsError(
            f"MXNet runs {path.name} with its graph, {symbol.name}, which does not lie beside it. "
            "facemask-zoo convert writes both."
        )
    try:
        graph = mx.sym.load_json(symbol.read_text(encoding="utf-8"))
        arrays = mx.nd.load(str(path))
    except (mx.base.MXNetError, ValueError, OSError) as error:
        raise WeightsError(f"MXNet does not accept {path}: {error}") from error
    if not isinstance(arrays, dict):
        raise WeightsError(f"{path} holds arrays without names.")
    return graph, arrays
