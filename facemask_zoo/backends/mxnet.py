"""The network as a Gluon `HybridBlock`, filled from MXNet's ``.params``."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from facemask_zoo.backends.base import Backend, Batch, Outputs
from facemask_zoo.backends.threads import ProcessThreads
from facemask_zoo.converters import mxnet as mxnet_format
from facemask_zoo.converters.mxnet import canonical_name
from facemask_zoo.errors import DeviceError, FrameworkNotInstalledError, WeightsError
from facemask_zoo.ssd import Convolution, Network, build

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


class SSD(mx.gluon.HybridBlock):  # type: ignore[name-defined]
    """The detector; its children are the convolutions, under their canonical names.

    Args:
        network: What to build. Weights are uninitialised, as always in Gluon.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        for layer in network.convolutions:
            convolution = mx.gluon.nn.Conv2D(
                layer.outputs,
                kernel_size=3,
                padding=layer.padding,
                in_channels=layer.inputs,
                activation="relu" if layer.relu else None,
            )
            self.register_child(convolution, layer.name)

    def hybrid_forward(self, F: Any, images: Any) -> tuple[Any, Any]:  # noqa: N803
        """Run the network.

        Args:
            F: ``mxnet.nd`` or ``mxnet.sym``, chosen by Gluon.
            images: (N, 3, S, S) RGB, 0..1.

        Returns:
            Raw box offsets (N, A, 4) and scores (N, A, C).
        """
        return build(self.network, images, _GluonBuilder(F, self._children))

    def load_arrays(self, arrays: Mapping[str, Any], context: Any) -> None:
        """Fill the block.

        Args:
            arrays: ``mxnet.nd`` arrays by canonical name.
            context: Where the parameters shall live.

        Raises:
            WeightsError: Names or shapes do not fit.
        """
        parameters = self._collect_params_with_prefix()
        if set(parameters) != set(arrays):
            different = sorted(set(parameters) ^ set(arrays))
            raise WeightsError(f"The arrays do not fit the network: {different[:5]}.")
        self.initialize(mx.init.Zero(), ctx=context)
        for name, parameter in parameters.items():
            if parameter.shape != arrays[name].shape:
                raise WeightsError(
                    f"Array {name!r}: expected shape {parameter.shape}, "
                    f"but got {arrays[name].shape}."
                )
            parameter.set_data(arrays[name])


class _GluonBuilder:
    """The five operations on arrays or symbols; `ops` is the namespace of one of the two."""

    def __init__(self, ops: Any, convolutions: Mapping[str, Any]) -> None:
        self._ops = ops
        self._convolutions = convolutions

    def pool(self, x: Any, name: str) -> Any:
        return self._ops.Pooling(
            x, kernel=(2, 2), stride=(2, 2), pool_type="max", pooling_convention="full", name=name
        )

    def convolve(self, x: Any, layer: Convolution) -> Any:
        return self._convolutions[layer.name](x)

    def flatten(self, x: Any, columns: int, name: str) -> Any:
        last = self._ops.transpose(x, axes=(0, 2, 3, 1))
        return self._ops.reshape(last, shape=(0, -1, columns), name=name)

    def sigmoid(self, x: Any, name: str) -> Any:
        return self._ops.sigmoid(x, name=name)

    def concatenate(self, parts: Sequence[Any], name: str) -> Any:
        return self._ops.concat(*parts, dim=1, name=name)


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
    """Runs :class:`SSD`, hybridized.

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
        self.block = SSD(mxnet_format.read(path).card.network)
        try:
            arrays = mx.nd.load(str(path))
        except (mx.base.MXNetError, ValueError) as error:
            raise WeightsError(f"MXNet does not accept {path}: {error}") from error
        if not isinstance(arrays, dict):
            raise WeightsError(f"{path} holds arrays without names.")
        named = {canonical_name(key): array for key, array in arrays.items()}
        self.block.load_arrays(named, self._context)
        self.block.hybridize(static_alloc=True)

    def _run(self, batch: Batch) -> Outputs:
        results = self.block(mx.nd.array(batch, ctx=self._context))
        answers = (result.asnumpy() for result in results)
        return dict(zip(self.signature.output_names, answers, strict=True))
