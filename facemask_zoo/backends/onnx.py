"""ONNX files through onnxruntime, the framework of the base install."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from facemask_zoo.backends.base import Backend, Batch, Outputs, pick_outputs
from facemask_zoo.errors import WeightsError

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_LOG_ERRORS = 3
# A graph may name other files, by default in the current folder. Below a file there are none.
_EXTERNAL_DATA_FOLDER = "session.model_external_initializers_file_folder_path"


class OnnxBackend(Backend):
    """Runs an ``.onnx`` file; `device="cuda"` needs the onnxruntime-gpu package."""

    formats = ("onnx",)

    precisions = ("fp32", "fp16")

    thread_safe = True
    fork_safe = True

    @classmethod
    def version(cls) -> str:
        return str(onnxruntime.__version__)

    @classmethod
    def devices(cls) -> list[str]:
        has_cuda = _PROVIDERS["cuda"] in onnxruntime.get_available_providers()
        return ["cpu", "cuda:0"] if has_cuda else ["cpu"]

    def _load(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _LOG_ERRORS
        options.add_session_config_entry(_EXTERNAL_DATA_FOLDER, str(path.resolve()))
        if self.options.threads:
            options.intra_op_num_threads = self.options.threads
        index = self.options.device_index
        provider = _PROVIDERS["cpu" if index is None else "cuda"]
        settings = {} if index is None else {"device_id": index}
        try:
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), options, [(provider, settings)]
            )
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise WeightsError(f"onnxruntime does not accept {path}: {error}") from error
        if self._session.get_providers()[0] != provider:
            raise WeightsError(f"onnxruntime could not start {provider} for {path}.")
        names = [output.name for output in self._session.get_outputs()]
        self._outputs = pick_outputs(names, self.signature)
        self._input = self._session.get_inputs()[0].name

    def _run(self, batch: Batch) -> Outputs:
        results = self._session.run(list(self._outputs.values()), {self._input: batch})
        return dict(zip(self._outputs, results, strict=True))
