"""The frameworks the network runs on: a table, and nothing imported before it is asked for."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import json
from pathlib import Path

from facemask_zoo import processor
from facemask_zoo.arguments import look_up
from facemask_zoo.backends.base import Backend, Options
from facemask_zoo.errors import FrameworkNotInstalledError

__all__ = ["FRAMEWORKS", "Backend", "Framework", "Options", "find_framework", "list_frameworks"]


@dataclasses.dataclass(frozen=True)
class Framework:
    """A row of the table of frameworks.

    Attributes:
        name: Value of ``framework=``, the extra that installs it, and its module in this package.
        title: What people call it.
        class_name: The backend in the module.
        imports: Module whose presence says that the framework is installed.
        distributions: Packages that may provide it, for the version.
        formats: Formats that its backend may load, whatever the version; known without an import.
    """

    name: str
    title: str
    class_name: str
    imports: str
    distributions: tuple[str, ...]
    formats: tuple[str, ...] = ()

    @property
    def installed(self) -> bool:
        """Whether the framework's module is there (not whether it imports)."""
        return importlib.util.find_spec(self.imports) is not None

    @property
    def version(self) -> str | None:
        """Installed version, read without importing the framework."""
        from importlib import metadata  # slow to import, and hardly ever needed

        for name in self.distributions:
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        return None

    @property
    def install_command(self) -> str:
        """The line that installs the framework."""
        return f"pip install 'facemask-zoo[{self.name}]'"

    def backend(self) -> type[Backend]:
        """Import the backend, and the framework with it.

        Raises:
            FrameworkNotInstalledError: The framework is missing or does not import.
        """
        if not self.installed:
            raise FrameworkNotInstalledError(
                f"{self.title} is not installed. Run: {self.install_command}"
            )
        try:
            module = importlib.import_module(f"{__name__}.{self.name}")
        except FrameworkNotInstalledError:
            raise
        except Exception as error:  # a broken framework can fail in any way while it is imported
            raise FrameworkNotInstalledError(
                f"{self.title} is installed but does not import: {error}. "
                f"Try: {self.install_command}"
            ) from error
        backend: type[Backend] = getattr(module, self.class_name)
        return backend


FRAMEWORKS: dict[str, Framework] = {
    row.name: row
    for row in (
        Framework(
            "onnx",
            "ONNX (onnxruntime)",
            "OnnxBackend",
            "onnxruntime",
            ("onnxruntime", "onnxruntime-gpu"),
            ("onnx",),
        ),
        Framework(
            "openvino", "OpenVINO", "OpenVINOBackend", "openvino", ("openvino",), ("openvino",)
        ),
        Framework(
            "tflite",
            "TensorFlow Lite",
            "TFLiteBackend",
            "ai_edge_litert",
            ("ai-edge-litert",),
            ("tflite",),
        ),
        Framework("ncnn", "ncnn", "NcnnBackend", "ncnn", ("ncnn",), ("ncnn",)),
        Framework("paddle", "Paddle", "PaddleBackend", "paddle", ("paddlepaddle",), ("paddle",)),
        Framework(
            "opencv",
            "OpenCV-DNN (Caffe)",
            "OpenCVBackend",
            "cv2",
            (
                "opencv-python-headless",
                "opencv-python",
                "opencv-contrib-python-headless",
                "opencv-contrib-python",
            ),
            ("caffe", "onnx"),
        ),
        Framework(
            "pytorch",
            "PyTorch",
            "PyTorchBackend",
            "torch",
            ("torch",),
            ("safetensors", "pytorch"),
        ),
        Framework("mxnet", "MXNet", "MXNetBackend", "mxnet", ("mxnet",), ("mxnet",)),
        Framework(
            "tensorflow",
            "TensorFlow",
            "TensorFlowBackend",
            "tensorflow",
            ("tensorflow", "tensorflow-cpu"),
            ("tensorflow", "saved_model"),
        ),
        Framework("keras", "Keras 3", "KerasBackend", "keras", ("keras",), ("keras", "keras_h5")),
    )
}
"""Fastest first on a CPU, as ``make parity`` measured on one processor."""

FASTEST = Path(__file__).with_name("fastest.json")
"""Names of frameworks, fastest first, for each kind of processor that was measured."""


def list_frameworks() -> list[Framework]:
    """Every framework that the zoo runs on, installed or not.

    Returns:
        Fastest first: in the order recorded for this kind of processor, see
        :func:`facemask_zoo.processor.kind_of`. Those without a record come last, in the order of
        ``FRAMEWORKS``.
    """
    recorded = [name for name in _recorded(FASTEST) if name in FRAMEWORKS]
    return [FRAMEWORKS[name] for name in dict.fromkeys([*recorded, *FRAMEWORKS])]


@functools.cache
def _recorded(path: Path) -> tuple[str, ...]:
    kind = processor.kind_of(processor.instruction_sets())
    record = json.loads(path.read_bytes()).get(kind)
    return tuple(record["frameworks"]) if record else ()


def find_framework(name: str) -> Framework:
    """The row of a framework.

    Raises:
        UnknownNameError: There is no such framework.
    """
    return look_up("framework", name, FRAMEWORKS, "auto")
