"""The table of formats: what they are called, how they are recognised, which module has them."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from types import ModuleType

from facemask_zoo.arguments import look_up
from facemask_zoo.converters.limits import open_regular
from facemask_zoo.converters.signatures import SIGNATURES
from facemask_zoo.errors import FrameworkNotInstalledError, UnknownNameError, WeightsError

PRECISIONS = ("fp32", "fp16", "int8")

_ROOM = __name__.rpartition(".")[0]
_ABOVE = _ROOM.rpartition(".")[0]
"""Where modules may know what a detector is, or run one."""

_HEAD_BYTES = 4096


@dataclasses.dataclass(frozen=True)
class Format:
    """A row of the table of formats.

    Attributes:
        name: Name, and the module of this package that reads and writes it.
        suffix: Ending of the file that names the model, or of the folder.
        title: What people call it.
        reads: Whether there is a reader.
        writes: Whether there is a writer.
        extra: The extra that installs what the writer needs; empty if the base install does.
        reads_by: The module that reads it, where reading needs less than writing.
        precisions: Precisions that it can be written in.
        reduced_extra: The extras that install what the lower of them need, if they are others.
        gives_boxes: Whether decoding and suppression are part of its files. Such a format carries
            detectors alone, of any architecture, and its writer needs the card. The others carry
            any graph.
    """

    name: str
    suffix: str
    title: str
    reads: bool = True
    writes: bool = True
    extra: str = ""
    reads_by: str = ""
    precisions: tuple[str, ...] = ("fp32",)
    reduced_extra: str = ""
    gives_boxes: bool = False

    @property
    def module(self) -> ModuleType:
        """The module that implements the format.

        Raises:
            FrameworkNotInstalledError: A package that the module needs is missing.
        """
        room = _ABOVE if self.gives_boxes else _ROOM
        return self._import(f"{room}.{self.name}", self.extra or self.name)

    @property
    def reader(self) -> ModuleType:
        """The module that reads the format.

        Raises:
            FrameworkNotInstalledError: A package that the module needs is missing.
        """
        return self._import(f"{_ROOM}.{self.reads_by}", "") if self.reads_by else self.module

    @property
    def reduced(self) -> ModuleType:
        """The module that writes the lower of its `precisions`.

        Raises:
            FrameworkNotInstalledError: A package that the module needs is missing.
        """
        return self._import(f"{_ABOVE}.{self.name}_reduced", self.reduced_extra or self.extra)

    def missing(self, extra: str, error: ImportError) -> FrameworkNotInstalledError:
        """What to raise when a package of an extra does not import."""
        return FrameworkNotInstalledError(
            f"The format {self.name!r} needs a package that is not installed ({error}). "
            f"Run: pip install 'facemask-zoo[{extra}]'"
        )

    def _import(self, module: str, extra: str) -> ModuleType:
        try:
            return importlib.import_module(module)
        except ImportError as error:
            raise self.missing(extra, error) from error


FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format("safetensors", ".safetensors", "Safetensors (canonical)"),
        Format("onnx", ".onnx", "ONNX", extra="onnx", precisions=PRECISIONS),
        Format("pytorch", ".pt", "PyTorch state_dict"),
        Format("mxnet", ".params", "MXNet"),
        Format("caffe", ".caffemodel", "Caffe", extra="opencv"),
        Format("paddle", ".pdiparams", "Paddle inference model"),
        Format(
            "tflite",
            ".tflite",
            "TensorFlow Lite",
            precisions=PRECISIONS,
            reduced_extra="tflite,tensorflow",
        ),
        Format("tensorflow", ".pb", "TensorFlow frozen graph"),
        Format(
            "saved_model",
            "",
            "TensorFlow SavedModel",
            extra="tensorflow",
            reads_by="saved_model_reading",
        ),
        Format("keras", ".keras", "Keras 3 archive"),
        Format("keras_h5", ".h5", "Keras 2 HDF5 and JSON", extra="keras"),
        Format("tfjs", ".json", "TensorFlow.js layers model"),
        Format(
            "onnx_nms",
            ".onnx",
            "ONNX that gives boxes",
            reads=False,
            extra="onnx",
            gives_boxes=True,
        ),
        Format(
            "tflite_nms",
            ".tflite",
            "TensorFlow Lite that gives boxes",
            reads=False,
            extra="tflite",
            gives_boxes=True,
        ),
        Format(
            "openvino",
            ".xml",
            "OpenVINO IR",
            reads=False,
            extra="openvino",
            precisions=PRECISIONS,
            reduced_extra="openvino,nncf",
        ),
        Format("ncnn", ".param", "ncnn"),
        Format("coreml", ".mlpackage", "Core ML", reads=False, extra="coreml"),
        Format("aizoo_pth", ".pth", "AIZOO's pickled PyTorch module", writes=False),
    )
}


def find_format(name: str) -> Format:
    """The row of a format.

    Raises:
        UnknownNameError: There is no such format.
    """
    return look_up("format", name, FORMATS)


def format_for(path: Path) -> Format:
    """The format to write, by the suffix of the target.

    Raises:
        UnknownNameError: No writable format has that suffix.
    """
    for row in FORMATS.values():
        if row.writes and row.suffix == path.suffix.lower():
            return row
    known = [row.suffix for row in FORMATS.values() if row.writes]
    raise UnknownNameError.among("suffix", path.suffix, known)


def format_of(path: Path) -> Format:
    """Recognise a file by its content.

    Raises:
        WeightsError: There is no such file, or no format begins like it.
    """
    head = _head(path)
    for row in FORMATS.values():
        if row.reads and SIGNATURES[row.name](head, path):
            return row
    known = ", ".join(row.suffix or row.title for row in FORMATS.values() if row.reads)
    raise WeightsError(f"{path} begins like no format that the zoo reads ({known}).")


def _head(path: Path) -> bytes:
    if path.is_dir():
        return b""
    try:
        with open_regular(path) as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise WeightsError(f"Cannot read {path}: {error.strerror}.") from error
