"""OpenVINO's intermediate representation on Intel's (and any other) CPU."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import openvino

from facemask_zoo.backends.base import Backend, Batch, Outputs
from facemask_zoo.converters.formats.openvino import core
from facemask_zoo.errors import WeightsError


class OpenVINOBackend(Backend):
    """Runs a compiled model, with a request of its own for every thread that calls.

    The CPU plug-in would compute in bfloat16 where the processor can; here it computes in the
    precision that was asked for.
    """

    formats = ("openvino",)

    precisions = ("fp32", "fp16")

    thread_safe = True

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
            self._compiled = core().compile_model(path, "CPU", settings)
            self._outputs = {
                name: self._compiled.output(name) for name in self.signature.output_names
            }
        except RuntimeError as error:
            raise WeightsError(f"OpenVINO does not accept {path}: {error}") from error
        self._requests = threading.local()

    def _run(self, batch: Batch) -> Outputs:
        if not hasattr(self._requests, "mine"):
            self._requests.mine = self._compiled.create_infer_request()
        # Copies: the request's own tensors change with its next run.
        results = self._requests.mine.infer({self.signature.input.name: batch}, share_outputs=False)
        return {name: results[output] for name, output in self._outputs.items()}
