"""What is to be read, cut into pieces that are done whole or not at all."""

from __future__ import annotations

import dataclasses
import glob
import itertools
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from facemask_zoo.errors import ImageError, InvalidArgumentError
from facemask_zoo.extras import require
from facemask_zoo.images import IMAGE_SUFFIXES
from facemask_zoo.video import expand

FILES, TAR, PARQUET = "files", "tar", "parquet"

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
PARQUET_SUFFIXES = (".parquet",)
IMAGE_COLUMN = "image"
"""Column of a Parquet file that holds the pictures, unless the caller says otherwise."""

_FILES_PER_UNIT = 256
_TAR_BYTES_PER_UNIT = 1 << 28
_ROWS_PER_UNIT = 4096


@dataclasses.dataclass(frozen=True)
class Unit:
    """A piece of the work.

    Attributes:
        number: Its place in the order, from 0.
        kind: ``FILES``, ``TAR`` or ``PARQUET``.
        paths: The pictures; or the one file that holds them.
        start: Of a tar, the byte where its first member begins; of Parquet, its first row group.
        stop: Where the next unit begins; None for the end of the file.
        column: Of Parquet, where the pictures are.
        key: Of Parquet, the column that names them; their row number if None.
        row: Of Parquet, the number of the first row.
    """

    number: int
    kind: str
    paths: tuple[str, ...]
    start: int = 0
    stop: int | None = None
    column: str = ""
    key: str | None = None
    row: int = 0

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Unit:
        """The inverse of :meth:`to_json`."""
        values: dict[str, Any] = json.loads(line)
        return cls(**{**values, "paths": tuple(values["paths"])})


def plan(
    sources: Sequence[str],
    *,
    column: str = IMAGE_COLUMN,
    key: str | None = None,
    without: Sequence[str] = (),
) -> Iterator[Unit]:
    """Cut sources into units, in an order that depends on names alone.

    Args:
        sources: Pictures, tar shards, Parquet files, folders (with all below them), and globs.
        column: Of Parquet files, where the pictures are: binary, or a struct with ``bytes``.
        key: Of Parquet files, the column that names the pictures.
        without: Absolute paths of files and folders to pass over.

    Yields:
        The units; few are in memory at a time.

    Raises:
        ImageError: A source does not exist, cannot be read or holds no pictures.
        InvalidArgumentError: A Parquet file lacks a column.
        FrameworkNotInstalledError: pyarrow is not installed.
    """
    number = 0
    for source in sources:
        paths = (path for path in _files(source) if not _is_among(path, without))
        empty = True
        for unit in _pieces(paths, column, key):
            yield dataclasses.replace(unit, number=number)
            number += 1
            empty = False
        if empty:
            known = ", ".join((*IMAGE_SUFFIXES, *TAR_SUFFIXES, *PARQUET_SUFFIXES))
            raise ImageError(f"{source!r} holds no pictures ({known}).")


def kind_of(path: str) -> str | None:
    """How a file is read, by its suffix; None if it is not."""
    name = path.lower()
    if name.endswith(TAR_SUFFIXES):
        return TAR
    if name.endswith(PARQUET_SUFFIXES):
        return PARQUET
    return FILES if name.endswith(IMAGE_SUFFIXES) else None


def _is_among(path: str, others: Sequence[str]) -> bool:
    return any(path == other or path.startswith(other + os.sep) for other in others)


def _pieces(paths: Iterable[str], column: str, key: str | None) -> Iterator[Unit]:
    for kind, group in itertools.groupby(paths, kind_of):
        if kind == FILES:
            yield from _of_files(group)
        elif kind == TAR:
            yield from itertools.chain.from_iterable(map(_of_tar, group))
        elif kind == PARQUET:
            yield from itertools.chain.from_iterable(
                _of_parquet(path, column, key) for path in group
            )


def _files(source: str) -> Iterator[str]:
    """Absolute paths: workers may run in another folder."""
    if os.path.isdir(source):
        yield from _below(os.path.abspath(source))
    elif glob.has_magic(source) and not os.path.lexists(source):
        yield from map(os.path.abspath, expand(source))
    elif os.path.isfile(source):
        if kind_of(source) is None:
            raise ImageError(f"{source!r} is no picture, tar or Parquet file by its suffix.")
        yield os.path.abspath(source)
    else:
        raise ImageError(f"There is no {source!r}.")


def _below(folder: str) -> Iterator[str]:
    """Files in a folder, sorted by name, then those in its folders; links are not entered."""
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        raise ImageError(f"Cannot read the folder {folder!r}: {error.strerror}.") from error
    folders = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    yield from (entry.path for entry in entries if kind_of(entry.name) and entry.is_file())
    del entries
    for path in folders:
        if not Path(path).name.startswith("."):
            yield from _below(path)


def _of_files(paths: Iterable[str]) -> Iterator[Unit]:
    iterator = iter(paths)
    while chunk := tuple(itertools.islice(iterator, _FILES_PER_UNIT)):
        yield Unit(0, FILES, chunk)


def _of_tar(path: str) -> Iterator[Unit]:
    """One unit for a shard; several for a large one, if it is not compressed."""
    try:
        size = os.path.getsize(path)
    except OSError:  # it becomes a row with this error, as does any shard that cannot be read
        size = 0
    start = 0
    for stop in _cuts(path) if size > _TAR_BYTES_PER_UNIT else ():
        yield Unit(0, TAR, (path,), start, stop)
        start = stop
    yield Unit(0, TAR, (path,), start)


def _cuts(path: str) -> Iterator[int]:
    """Offsets of members at which a new unit begins."""
    last = 0
    try:
        with tarfile.open(path, "r:") as tar:
            for member in members(tar):
                if member.offset - last >= _TAR_BYTES_PER_UNIT:
                    last = member.offset
                    yield last
    except (tarfile.TarError, OSError):  # compressed, or cut off: whoever reads it will tell
        return


def members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members of a tar; unlike its own iterator, none is kept in memory."""
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]
        yield member


def _of_parquet(path: str, column: str, key: str | None) -> Iterator[Unit]:
    parquet = require("pyarrow.parquet", "batch")
    try:
        with parquet.ParquetFile(path) as file:
            names, metadata = file.schema_arrow.names, file.metadata
            rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    except Exception:  # pyarrow's errors share no base class; the reader makes a row of this one
        yield Unit(0, PARQUET, (path,), column=column, key=key)
        return
    for name in (column, key):
        if name is not None and name not in names:
            raise InvalidArgumentError(
                f"{path}: expected a column {name!r}, but got {', '.join(names)}."
            )
    start = first = count = 0
    for group, number in enumerate(rows, 1):
        count += number
        if count >= _ROWS_PER_UNIT or group == len(rows):
            yield Unit(0, PARQUET, (path,), start, group, column, key, first)
            start, first, count = group, first + count, 0
