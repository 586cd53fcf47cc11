"""Weights in and out of every format: one file per format, each with ``read`` and ``write``.

A reader turns a file into a :class:`~facemask_zoo.model.Model`, a writer does the reverse. Formats
are recognised by their content. A format of several files is named by the one that holds the
weights; its companions lie beside it under the same stem.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from facemask_zoo.backends.base import PRECISIONS
from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.signatures import SIGNATURES
from facemask_zoo.errors import FrameworkNotInstalledError, UnknownNameError, WeightsError
from facemask_zoo.files import Sources, atomic_path, check_target
from facemask_zoo.model import Model
from facemask_zoo.recognition import model_of

if TYPE_CHECKING:
    from facemask_zoo.converters.conversion import convert

__all__ = [
    "FORMATS",
    "Format",
    "convert",
    "find_format",
    "format_for",
    "format_of",
    "read",
    "read_card",
    "source_files",
    "staged",
    "write",
]

Writer = Callable[[Model, Path], None]

_HEAD_BYTES = 4096


def __getattr__(name: str) -> Any:
    """Imports `convert` when it is asked for: it runs frameworks, which need this package."""
    if name == "convert":
        return importlib.import_module(f"{__name__}.conversion").convert
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
        precisions: Precisions that it can be written in.
        reduced_extra: The extras that install what the lower of them need, if they are others.
    """

    name: str
    suffix: str
    title: str
    reads: bool = True
    writes: bool = True
    extra: str = ""
    precisions: tuple[str, ...] = ("fp32",)
    reduced_extra: str = ""

    @property
    def module(self) -> ModuleType:
        """The module that implements the format.

        Raises:
            FrameworkNotInstalledError: A package that the module needs is missing.
        """
        return self._import(self.name, self.extra or self.name)

    @property
    def reduced(self) -> ModuleType:
        """The module that writes the lower of its `precisions`.

        Raises:
            FrameworkNotInstalledError: A package that the module needs is missing.
        """
        return self._import(f"{self.name}_reduced", self.reduced_extra or self.extra)

    def missing(self, extra: str, error: ImportError) -> FrameworkNotInstalledError:
        """What to raise when a package of an extra does not import."""
        return FrameworkNotInstalledError(
            f"The format {self.name!r} needs a package that is not installed ({error}). "
            f"Run: pip install 'facemask-zoo[{extra}]'"
        )

    def _import(self, name: str, extra: str) -> ModuleType:
        room = f"{__name__}.formats" if name in GRAPH_FORMATS else __name__
        try:
            return importlib.import_module(f"{room}.{name}")
        except ImportError as error:
            raise self.missing(extra, error) from error


GRAPH_FORMATS = ("caffe", "mxnet", "ncnn", "onnx", "openvino", "safetensors")
"""Formats that carry any graph; the others carry single-shot detectors alone."""

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
        Format("saved_model", "", "TensorFlow SavedModel", reads=False, extra="tensorflow"),
        Format("keras", ".keras", "Keras 3 archive"),
        Format("keras_h5", ".h5", "Keras 2 HDF5 and JSON", extra="keras"),
        Format("tfjs", ".json", "TensorFlow.js layers model"),
        Format("onnx_nms", ".onnx", "ONNX that gives boxes", reads=False, extra="onnx"),
        Format(
            "tflite_nms", ".tflite", "TensorFlow Lite that gives boxes", reads=False, extra="tflite"
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
    if name not in FORMATS:
        raise UnknownNameError.among("format", name, FORMATS)
    return FORMATS[name]


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
    known = ", ".join(row.suffix for row in FORMATS.values() if row.reads)
    raise WeightsError(f"{path} begins like no format that the zoo reads ({known}).")


def read(path: str | Path) -> Model:
    """Read weights in any format the zoo knows.

    Args:
        path: A file (or, for formats that are folders, a folder).

    Raises:
        WeightsError: The file is missing, damaged, or of an unknown format.
        FrameworkNotInstalledError: The format needs a package that is not installed.
    """
    path = Path(path)
    row = format_of(path)
    module = row.module
    try:
        model = module.read(path)
        if row.name in GRAPH_FORMATS:
            model = model_of(model, path.stem)
    except (RecursionError, MemoryError) as error:  # which can come up anywhere
        raise WeightsError(f"{path} is too large, or nested too deeply: {error!r}.") from error
    assert isinstance(model, Model)
    return model


def read_card(path: Path, row: Format) -> ModelCard:
    """Read the card alone, of a file in any precision.

    Args:
        path: A file that this package has written.
        row: Its format.

    Raises:
        WeightsError: The file is missing or damaged, or no card can be had from its format.
        FrameworkNotInstalledError: The format needs a package that is not installed.
    """
    read_text = getattr(row.module, "read_card", None)
    if read_text is None:
        able = [r.name for r in FORMATS.values() if "int8" in r.precisions]
        raise WeightsError(f"{path}: only files of {', '.join(able)} run as they are.")
    text = read_text(path)
    if text is None:
        raise WeightsError(f"{path} holds no card: it was not written by this package.")
    return ModelCard.from_json(text)


def source_files(path: Path) -> list[Path]:
    """The files that a reader takes the weights from: the one that is named and its companions."""
    if path.is_dir():
        return [part for part in path.rglob("*") if part.is_file()]
    companions = getattr(format_of(path).module, "companions", None)
    return [path, *(companions(path) if companions else ())]


def write(
    model: Model, path: str | Path, name: str, precision: str = "fp32", *, overwrite: bool = False
) -> None:
    """Write weights as format `name`; the files appear when all are whole.

    Args:
        model: What to write.
        path: Where to write the file (or folder) that names the model.
        name: A name of ``FORMATS``.
        precision: ``"fp32"``, or ``"fp16"`` where the format offers it.
        overwrite: Replace files that exist; or a folder, if it is as this function has left it.

    Raises:
        UnknownNameError: There is no such format.
        OutputError: Something is in the way that is not to be replaced.
        WeightsError: The format can only be read.
        FrameworkNotInstalledError: The writer needs a package that is not installed.
    """
    row = find_format(name)
    write_file = None if precision == "fp32" else row.reduced.write_half
    with staged(model, path, row, write_file, overwrite=overwrite):
        pass


def _writer(row: Format) -> Writer:
    """The format's own writer."""
    module = row.module
    if row.name not in GRAPH_FORMATS:
        return lambda model, path: module.write(model, path)
    return lambda model, path: module.write(model.program, path)


@contextlib.contextmanager
def staged(
    model: Model,
    path: str | Path,
    row: Format,
    write_file: Writer | None = None,
    *,
    overwrite: bool = False,
    sources: Sources | None = None,
) -> Iterator[Path]:
    """Write weights aside, to be looked at before they take the place of what was there.

    Args:
        model: What to write.
        path: Where the file (or folder) that names the model shall be.
        row: The format.
        write_file: What writes it; the format's own writer unless given.
        overwrite: Replace files that exist; or a folder, if it is as this function has left it.
        sources: Files that are not replaced in any case.

    Yields:
        The file (or folder) that names the model, with its companions in a temporary folder. When
        the block ends without an error, all are moved to where they belong, this one last.

    Raises:
        OutputError: Something is in the way that is not to be replaced; then nothing is.
        WeightsError: The format can only be read.
        FrameworkNotInstalledError: The writer needs a package that is not installed.
    """
    path = Path(path)
    if not row.writes:
        raise WeightsError(f"The format {row.name!r} can be read, but not written.")
    _check_targets([path], overwrite, sources)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as folder:
        main = Path(folder) / path.name
        (write_file or _writer(row))(model, main)
        parts = sorted(Path(folder).iterdir(), key=lambda part: part == main)
        targets = [path.parent / part.name for part in parts]
        _check_targets(targets, overwrite, sources)
        yield main
        _check_targets(targets, overwrite, sources)
        for part, target in zip(parts, targets, strict=True):
            with atomic_path(target, overwrite=overwrite) as temporary:
                part.rename(temporary)


def _check_targets(targets: Iterable[Path], overwrite: bool, sources: Sources | None) -> None:
    for target in targets:
        if sources:
            sources.check(target)
        check_target(target, overwrite=overwrite)


def _head(path: Path) -> bytes:
    if path.is_dir():
        return b""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise WeightsError(f"Cannot read {path}: {error.strerror}.") from error
