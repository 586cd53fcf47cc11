"""Caffe files through OpenCV's `cv2.dnn`; on OpenCV 5, which reads no Caffe, ONNX files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facemask_zoo.backends.base import Backend, Batch, Outputs, pick_outputs
from facemask_zoo.backends.threads import ProcessThreads, end_threads_at_forks
from facemask_zoo.errors import WeightsError

log = logging.getLogger(__name__)

_READS_CAFFE = hasattr(cv2.dnn, "readNetFromCaffe")
_THREADS = ProcessThreads("OpenCV", cv2.setNumThreads)
end_threads_at_forks(cv2.getNumThreads, cv2.setNumThreads)


class OpenCVBackend(Backend):
    """Runs a `cv2.dnn` net.

    The number of threads holds for all of OpenCV in the process (see :class:`ProcessThreads`). CUDA
    needs an OpenCV 4 that was built with it, which the published wheels are not; the engine of
    OpenCV 5 runs on the CPU alone.
    """

    formats = ("caffe",) if _READS_CAFFE else ("onnx",)

    fork_safe = True

    @classmethod
    def version(cls) -> str:
        return str(cv2.__version__)

    @classmethod
    def devices(cls) -> list[str]:
        targets = cv2.dnn.getAvailableTargets(cv2.dnn.DNN_BACKEND_CUDA)
        if not _READS_CAFFE or cv2.dnn.DNN_TARGET_CUDA not in targets:
            return ["cpu"]
        return ["cpu", *(f"cuda:{i}" for i in range(cv2.cuda.getCudaEnabledDeviceCount()))]

    def _load(self, path: Path) -> None:
        try:
            self._net = _read_net(path)
            names = self._net.getUnconnectedOutLayersNames()
        except (cv2.error, OSError) as error:
            raise WeightsError(f"OpenCV does not accept {path}: {error}") from error
        self._outputs = pick_outputs(names, self.signature)
        _THREADS.hold(self, self.options.threads)
        if self.options.device_index is not None:
            self._net.setPreferableBackend(cv2.dnn.DNN_BACKEND_CUDA)
            self._net.setPreferableTarget(cv2.dnn.DNN_TARGET_CUDA)

    def _run(self, batch: Batch) -> Outputs:
        if self.options.device_index is not None:
            cv2.cuda.setDevice(self.options.device_index)
        self._net.setInput(batch, self.signature.input.name)
        results = self._net.forward(list(self._outputs.values()))
        return dict(zip(self._outputs, results, strict=True))


def _read_net(path: Path) -> Any:
    """The net, read from memory: OpenCV does not open every path that Python does."""
    if _READS_CAFFE:
        graph = np.fromfile(path.with_suffix(".prototxt"), np.uint8)
        return cv2.dnn.readNetFromCaffe(graph, np.fromfile(path, np.uint8))
    log.info("OpenCV %s reads no Caffe files; it runs the same network as ONNX.", cv2.__version__)
    return cv2.dnn.readNetFromONNX(np.fromfile(path, np.uint8))
