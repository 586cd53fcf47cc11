"""OpenVINO's intermediate representation on Intel's (and any other) CPU."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import openvino

from facemask_zoo.backends.base import Backend, Batch, Outputs
from facemask_zoo.converters.formats.openvino import core
from facemask_zoo.errors import WeightsError
from facemask_zoo.ssd.network import INPUT_NAME, LOC_NAME, SCORES_NAME


class OpenVINOBackend(Backend):
    """Runs a compiled model; calls from several threads wait for each other.

    The CPU plug-in would compute in bfloat16 where the processor can; here it computes in the
    precision that was asked for.
    """

    formats = ("openvino",)

    precisions = ("fp32", "fp16")

    @classmethod
    def version(cls) -> str:
        return str(openvino.__version__).partition("-")[0]

    def _load(self, path: Path) -> None:
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": openvino.Type.f32,
        }
        if self.options.threads:
            settings["INFERENCE_NUM_THREADS"] = self.options.threads
        try:
            compiled = core().compile_model(path, "CPU", settings)
            self._outputs = [compiled.output(name) for name in (LOC_NAME, SCORES_NAME)]
        except RuntimeError as error:
            raise WeightsError(f"OpenVINO does not accept {path}: {error}") from error
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()

    def _run(self, batch: Batch) -> Outputs:
        with self._lock:
            results = self._request.infer({INPUT_NAME: batch})
            loc, scores = (results[output] for output in self._outputs)
            return loc, scores
