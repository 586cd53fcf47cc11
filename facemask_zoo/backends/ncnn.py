"""ncnn files on the CPU, one picture after the other: ncnn knows no batches."""

from __future__ import annotations

from pathlib import Path

import ncnn
import numpy as np
from numpy.typing import NDArray

from facemask_zoo.backends.base import Backend, Batch, Outputs
from facemask_zoo.errors import WeightsError
from facemask_zoo.quiet import native_stderr_silenced
from facemask_zoo.ssd.network import INPUT_NAME, LOC_NAME, SCORES_NAME


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
        if not {LOC_NAME, SCORES_NAME} <= set(names):
            raise WeightsError(f"Expected outputs {LOC_NAME!r}, {SCORES_NAME!r}, but got {names}.")

    def _run(self, batch: Batch) -> Outputs:
        locs, scores = zip(*(self._run_one(image) for image in batch), strict=True)
        return np.stack(locs), np.stack(scores)

    def _run_one(self, image: NDArray[np.float32]) -> Outputs:
        extractor = self._net.create_extractor()
        extractor.input(INPUT_NAME, ncnn.Mat(image))
        loc, scores = (extractor.extract(name)[1] for name in (LOC_NAME, SCORES_NAME))
        return np.array(loc), np.array(scores)
