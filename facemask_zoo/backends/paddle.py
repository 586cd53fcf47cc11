"""Paddle inference models through Paddle's own predictor."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from facemask_zoo.backends.base import Backend, Batch, Outputs, pick_output
from facemask_zoo.converters.formats.paddle import pair_of
from facemask_zoo.errors import WeightsError


@contextlib.contextmanager
def _own_symbols_first() -> Iterator[None]:
    """Libraries that are loaded meanwhile look for symbols among their own first.

    TensorFlow makes its symbols visible to all later libraries, and Paddle, which has many of the
    same names, would crash over them.
    """
    before = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
    try:
        yield
    finally:
        sys.setdlopenflags(before)


def _load_openmp() -> None:
    """Load Paddle's OpenMP as libraries usually are.

    With its own symbols first, it crashes when threads are set, as seen under Debian's Python
    3.11.2 and not under one built from source.
    """
    package = importlib.util.find_spec("paddle")
    if package is None or package.origin is None:
        return
    for library in Path(package.origin).parent.glob("libs/libiomp5.so*"):
        with contextlib.suppress(OSError):
            ctypes.CDLL(str(library))


_clash = "tensorflow" in sys.modules and hasattr(os, "RTLD_DEEPBIND")
if _clash:
    _load_openmp()
with warnings.catch_warnings(), _own_symbols_first() if _clash else contextlib.nullcontext():
    warnings.simplefilter("ignore")  # about compilers that running a network does not need
    import paddle
    import paddle.inference

_GPU_MEGABYTES = 256

# What Paddle 1 called the outputs of any program, before their number.
_OLD_NAME = "save_infer_model/scale_"


class PaddleBackend(Backend):
    """Runs a predictor.

    Paddle sets its number of threads at the start of each call, for the thread that calls.
    """

    formats = ("paddle",)

    @classmethod
    def version(cls) -> str:
        return str(paddle.__version__)

    @classmethod
    def devices(cls) -> list[str]:
        if not paddle.device.is_compiled_with_cuda():
            return ["cpu"]
        return ["cpu", *(f"cuda:{i}" for i in range(paddle.device.cuda.device_count()))]

    def _load(self, path: Path) -> None:
        try:
            self._predictor = paddle.inference.create_predictor(self._configuration(path))
        except Exception as error:  # Paddle raises its C++ errors as many of Python's types
            raise WeightsError(f"Paddle does not accept {path}: {error}") from error
        names = self._predictor.get_output_names()
        old = any(name.startswith(_OLD_NAME) for name in names)
        self._outputs = {
            name: pick_output(names, f"{_OLD_NAME}{index}" if old else name)
            for index, name in enumerate(self.signature.output_names)
        }

    def _configuration(self, path: Path) -> paddle.inference.Config:
        program, parameters = pair_of(path)
        configuration = paddle.inference.Config(str(program), str(parameters))
        configuration.disable_glog_info()
        index = self.options.device_index
        if index is None:
            configuration.disable_gpu()
        else:
            configuration.enable_use_gpu(_GPU_MEGABYTES, index)
        if self.options.threads:
            configuration.set_cpu_math_library_num_threads(self.options.threads)
        return configuration

    def _run(self, batch: Batch) -> Outputs:
        image = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        image.reshape(batch.shape)
        image.copy_from_cpu(batch)
        self._predictor.run()
        return {
            name: self._predictor.get_output_handle(output).copy_to_cpu()
            for name, output in self._outputs.items()
        }
