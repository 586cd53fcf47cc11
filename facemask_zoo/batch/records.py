"""The pictures of a unit, one after the other and in bounded memory."""

from __future__ import annotations

import contextlib
import dataclasses
import tarfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from facemask_zoo.addresses import MAX_BYTES
from facemask_zoo.batch.units import FILES, TAR, Unit, kind_of, members
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.extras import require

_BLOCK = 512
_ROWS_AT_ONCE = 16
_BYTES_FIELD = "bytes"


@dataclasses.dataclass(frozen=True)
class Record:
    """A picture, not decoded yet, or why there is none.

    Attributes:
        source: The file it is in.
        key: Its name in there: of a tar, the member; of Parquet, the row. None for a picture file.
        content: Path or encoded bytes; None if it could not be read.
        error: Why not.
    """

    source: str
    key: str | None = None
    content: str | bytes | None = None
    error: str | None = None


def read(unit: Unit) -> Iterator[Record]:
    """The pictures of a unit; a file that cannot be read further ends with a record of that."""
    if unit.kind == FILES:
        yield from (Record(path, content=path) for path in unit.paths)
        return
    reader: Callable[[Unit], Iterator[Record]] = _tar if unit.kind == TAR else _parquet
    count = 0
    try:
        for record in reader(unit):
            yield record
            count += 1
    except Exception as error:  # tarfile, decompressors and pyarrow share no base class
        place = f"after {count} pictures" if count else "at the start"
        yield Record(unit.paths[0], error=f"It cannot be read further, {place}: {error}")


def _tar(unit: Unit) -> Iterator[Record]:
    (path,) = unit.paths
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        file.seek(unit.start)
        tar = stack.enter_context(_opened(file, unit.start))
        for member in members(tar):
            if unit.stop is not None and member.offset >= unit.stop:
                return
            if member.isreg() and kind_of(member.name) == FILES:
                yield _member(tar, member, path)
        _check_end(tar)


def _opened(file: IO[bytes], start: int) -> tarfile.TarFile:
    """From the file's position on; only a shard that begins there may be compressed."""
    return tarfile.open(fileobj=file, mode="r:" if start else "r:*")


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> Record:
    if member.size > MAX_BYTES:
        problem = f"It has {member.size} bytes; at most {MAX_BYTES} are accepted."
        return Record(path, member.name, error=problem)
    content = tar.extractfile(member)
    assert content is not None  # it is a regular file
    return Record(path, member.name, content.read())


def _check_end(tar: tarfile.TarFile) -> None:
    """Tell a tar that was cut between two members from a whole one, which ends in zeros."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if len(tar.fileobj.read(_BLOCK)) < _BLOCK:
        raise tarfile.ReadError("the mark of its end is missing, it may have been cut off")


def _parquet(unit: Unit) -> Iterator[Record]:
    parquet = require("pyarrow.parquet", "batch")
    (path,) = unit.paths
    columns = [unit.column] if unit.key is None else [unit.column, unit.key]
    with parquet.ParquetFile(path, pre_buffer=False) as file:
        stop = file.metadata.num_row_groups if unit.stop is None else unit.stop
        groups = list(range(unit.start, stop))
        number = unit.row
        for rows in file.iter_batches(_ROWS_AT_ONCE, row_groups=groups, columns=columns):
            for row in rows.to_pylist():
                key = str(number) if unit.key is None else str(row[unit.key])
                yield _row(path, key, row[unit.column])
                number += 1


def _row(path: str, key: str, value: Any) -> Record:
    if isinstance(value, dict):
        value = value.get(_BYTES_FIELD)
    if value is None:
        return Record(path, key, error="The row holds no picture.")
    if not isinstance(value, bytes):
        raise InvalidArgumentError(f"expected bytes in the column, but got {type(value).__name__}.")
    return Record(path, key, value)
