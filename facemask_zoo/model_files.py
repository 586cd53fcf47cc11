"""Models in and out of files of every format.

A reader turns a file into a :class:`~facemask_zoo.model.Model`, a writer does the reverse. Formats
are recognised by their content. A format of several files is named by the one that holds the
weights; its companions lie beside it under the same stem.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.formats.importing import open_inputs
from facemask_zoo.converters.formats.registry import (
    FORMATS,
    Format,
    find_format,
    format_of,
)
from facemask_zoo.errors import WeightsError
from facemask_zoo.files import Sources, atomic_path, check_target
from facemask_zoo.model import Model
from facemask_zoo.recognition import model_of

Writer = Callable[[Model, Path], None]


def read(path: str | Path, open_size: tuple[int, int] | None = None) -> Model:
    """Read weights in any format the zoo knows.

    Args:
        path: A file (or, for formats that are folders, a folder).
        open_size: Height and width of the input, where the file leaves them open.

    Raises:
        WeightsError: The file is missing, damaged, or of an unknown format.
        FrameworkNotInstalledError: The format needs a package that is not installed.
    """
    path = Path(path)
    reader = format_of(path).reader
    try:
        with open_inputs(open_size):
            found = reader.read(path)
        return model_of(found, path.stem)
    except WeightsError as error:
        error.name_file(path)
        raise
    except (RecursionError, MemoryError) as error:  # which can come up anywhere
        raise WeightsError(f"{path} is too large, or nested too deeply: {error!r}.") from error


def read_card(path: Path, row: Format) -> ModelCard:
    """Read the card alone, of a file in any precision.

    Args:
        path: A file that this package has written.
        row: Its format.

    Raises:
        WeightsError: The file is missing or damaged, or no card can be had from its format.
        FrameworkNotInstalledError: The format needs a package that is not installed.
    """
    read_text = getattr(row.reader, "read_card", None)
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
    companions = getattr(format_of(path).reader, "companions", None)
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
    if row.gives_boxes:
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
