"""Paddle inference models through Paddle's own predictor."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from facemask_zoo.backends.base import Backend, Batch, Outputs, pick_output
from facemask_zoo.converters.paddle import pair_of
from facemask_zoo.errors import WeightsError
from facemask_zoo.ssd.network import LOC_NAME, SCORES_NAME


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


_clash = "tensorflow" in sys.modules and hasattr(os, "RTLD_DEEPBIND")
with warnings.catch_warnings(), _own_symbols_first() if _clash else contextlib.nullcontext():
    warnings.simplefilter("ignore")  # about compilers that running a network does not need
    import paddle
    import paddle.inference

_GPU_MEGABYTES = 256

# What Paddle 1 called the outputs of any program; AIZOO's has them in this order.
_OLD_NAMES = {LOC_NAME: "save_infer_model/scale_0", SCORES_NAME: "save_infer_model/scale_1"}


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
        old = any(name.startswith(_OLD_NAMES[LOC_NAME]) for name in names)
        wanted = [_OLD_NAMES[name] if old else name for name in (LOC_NAME, SCORES_NAME)]
        self._outputs = [pick_output(names, name) for name in wanted]

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
        loc, scores = (
            self._predictor.get_output_handle(name).copy_to_cpu() for name in self._outputs
        )
        return loc, scores
