"""ncnn files on the CPU, one picture after the other: ncnn knows no batches."""

from __future__ import annotations

from pathlib import Path

import ncnn
import numpy as np
from numpy.typing import NDArray

from facemask_zoo.backends.base import Backend, Batch, Outputs
from facemask_zoo.errors import WeightsError
from facemask_zoo.quiet import native_stderr_silenced


class NcnnBackend(Backend):
    """Runs a ``.param`` and its ``.bin``; every call has an extractor of its own.

    The number of threads is the net's own.
    """

    formats = ("ncnn",)

    thread_safe = True

    @classmethod
    def version(cls) -> str:
        return str(ncnn.__version__)

    def _load(self, path: Path) -> None:
        self._net = ncnn.Net()
        self._net.opt.use_vulkan_compute = False
        self._net.opt.use_fp16_packed = False
        self._net.opt.use_fp16_storage = False
        self._net.opt.use_fp16_arithmetic = False
        if self.options.threads:
            self._net.opt.num_threads = self.options.threads
        with native_stderr_silenced():
            graph = self._net.load_param(str(path))
            weights = self._net.load_model(str(path.with_suffix(".bin"))) if not graph else -1
        if graph or weights:
            raise WeightsError(f"ncnn does not accept {path} and the .bin beside it.")
        names = self._net.output_names()
        if not set(self.signature.output_names) <= set(names):
            raise WeightsError(f"Expected outputs {self.signature.output_names}, but got {names}.")

    def _run(self, batch: Batch) -> Outputs:
        answers = [self._run_one(each) for each in batch]
        return {
            name: np.stack([answer[name] for answer in answers])
            for name in self.signature.output_names
        }

    def _run_one(self, values: NDArray[np.float32]) -> Outputs:
        extractor = self._net.create_extractor()
        # A copy: ncnn would write its results over memory that is not its own.
        extractor.input(self.signature.input.name, ncnn.Mat(values).clone())
        return {name: np.array(extractor.extract(name)[1]) for name in self.signature.output_names}
