"""The folder beside the results in which they come together, so that a run can be cut off.

Everything in it is written under a temporary name and renamed: at any moment, what has its final
name is whole. ``run.json`` says which run the folder belongs to, ``plan.jsonl`` holds the units,
and ``part-NNNNNNNN.parquet`` the rows of one. When all parts are there they are joined, and the
result is moved to its place in one step.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from facemask_zoo.batch.parts import COMPRESSION, Part, schema
from facemask_zoo.batch.units import Unit
from facemask_zoo.errors import ImageError, OutputError
from facemask_zoo.extras import require
from facemask_zoo.files import check_target, put_in_place

ROWS_PER_GROUP = 16_384
"""Rows that are joined at once: memory does not grow with their number."""

_RUN, _PLAN, _LOCK, _JOINED = "run.json", "plan.jsonl", "lock", "joined.parquet"
_TEMPORARY = ".tmp"
_PART = re.compile(r"part-\d{8,}\.parquet")
_METADATA_KEY = b"facemask_zoo"


def staging_folder(target: Path) -> Path:
    """Where the parts of `target` lie until it is whole."""
    return target.with_name(f"{target.name}.parts")


class Staging:
    """Parts of one run. Use :func:`opened`.

    Args:
        target: The file that comes of them.
        overwrite: Whether it may replace another.
    """

    def __init__(self, target: Path, *, overwrite: bool) -> None:
        self._target = target
        self._overwrite = overwrite
        self.folder = staging_folder(target)
        self._run: dict[str, Any] = {}
        self._done = bytearray()

    @property
    def units(self) -> int:
        """Number of units of the whole run."""
        return int(self._run["units"])

    @property
    def done(self) -> int:
        """Number of units that have a part."""
        return len(self._done) - self._done.count(0)

    @property
    def has_begun(self) -> bool:
        """Whether there is a run to go on with."""
        return (self.folder / _RUN).exists()

    def is_finished(self, settings: Mapping[str, Any]) -> bool:
        """Whether the target is this run's, which was cut off while it tidied up."""
        run = self._read_run()
        if run is None or not self._target.is_file():
            return False
        try:
            metadata = require("pyarrow.parquet", "batch").read_schema(self._target).metadata
            facts = json.loads((metadata or {}).get(_METADATA_KEY, b"{}"))
        except Exception:  # pyarrow's errors share no base class; it is someone else's file
            return False
        return bool(run["settings"] == settings and facts.get("run") == run["run"])

    def start(self, settings: Mapping[str, Any], plan: Iterable[Unit]) -> None:
        """Begin a run, or go on with one of the same settings.

        Args:
            settings: What the rows depend on, as JSON values.
            plan: The units; read only by a run that begins.

        Raises:
            OutputError: The target or the folder is in the way, or belongs to another run.
            FaceMaskZooError: A source is no good.
        """
        check_target(self._target, overwrite=self._overwrite)
        run = self._read_run()
        if run is None or not (self.folder / _PLAN).is_file():  # the latter is deleted first
            self._begin(settings, plan)
            return
        differing = [name for name in settings if run["settings"].get(name) != settings[name]]
        if differing or run["settings"].keys() != settings.keys():
            raise OutputError(
                f"{self.folder} holds a run that was cut off and had other settings "
                f"({', '.join(differing) or 'of another version'}). Go on with those, "
                "name another file, or delete the folder."
            )
        self._run = run
        self._find_parts()

    def waiting(self) -> Iterator[Unit]:
        """The units without a part."""
        with (self.folder / _PLAN).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if not self._done[number]:
                    yield Unit.from_json(line)

    def add(self, part: Part) -> bool:
        """Keep a part.

        Returns:
            Whether it is new.

        Raises:
            OutputError: It cannot be written.
        """
        if self._done[part.number]:
            return False
        self._write(self._part(part.number), part.content)
        self._done[part.number] = True
        return True

    def finish(self) -> None:
        """Join the parts and put the result in its place.

        Raises:
            ImageError: There is not a single row.
            OutputError: A part is missing, or the result cannot be written.
        """
        if self.done < self.units:
            raise OutputError(f"{self.units - self.done} of {self.units} units were not done.")
        joined = self.folder / _JOINED
        with _writing(self._target):
            if not self._join(joined):
                self.remove()
                raise ImageError("The sources hold no pictures.")
            put_in_place(joined, self._target, overwrite=self._overwrite)
        self.remove()

    def remove(self) -> None:
        """Delete what this run wrote, ``run.json`` last: until then the same call can go on."""
        run = self.folder / _RUN
        if run.exists():  # else a part is not ours
            for path in self.folder.iterdir():
                if _PART.fullmatch(path.name.removesuffix(_TEMPORARY)):
                    path.unlink()
        for name in (_JOINED, _PLAN + _TEMPORARY, _PLAN, _RUN + _TEMPORARY, _RUN):
            (self.folder / name).unlink(missing_ok=True)

    def _begin(self, settings: Mapping[str, Any], plan: Iterable[Unit]) -> None:
        own = {_LOCK, _PLAN, _PLAN + _TEMPORARY, _RUN, _RUN + _TEMPORARY}
        others = sorted(set(os.listdir(self.folder)) - own)
        if others:
            raise OutputError(
                f"{self.folder} is needed for the parts of the results, but it holds "
                f"{', '.join(others[:5])}, which no run of this program has left."
            )
        units = 0
        temporary = self.folder / (_PLAN + _TEMPORARY)
        with _writing(temporary), temporary.open("w", encoding="utf-8") as file:
            for unit in plan:
                file.write(unit.to_json() + "\n")
                units += 1
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.folder / _PLAN)
        self._run = {"settings": dict(settings), "run": uuid.uuid4().hex, "units": units}
        self._write(self.folder / _RUN, json.dumps(self._run, indent=1).encode())
        self._done = bytearray(units)

    def _read_run(self) -> dict[str, Any] | None:
        path = self.folder / _RUN
        try:
            run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return {name: run[name] for name in ("settings", "run", "units")}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise OutputError(f"{path} cannot be read: {error!r}.") from error

    def _find_parts(self) -> None:
        """Which units are done; a part that is not whole, say after a power cut, is not."""
        self._done = bytearray(self.units)
        for number in range(self.units):
            path = self._part(number)
            self._done[number] = path.exists() and _is_whole(path)

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:08d}.parquet"

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(path.name + _TEMPORARY)
        with _writing(path):
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)

    def _join(self, path: Path) -> int:
        """Write all rows, and return how many there are."""
        arrow, parquet = require("pyarrow", "batch"), require("pyarrow.parquet", "batch")
        facts = json.dumps({"run": self._run["run"], **self._run["settings"]}).encode()
        described = schema().with_metadata({_METADATA_KEY: facts})
        rows = waiting = 0
        tables: list[Any] = []
        with parquet.ParquetWriter(path, described, compression=COMPRESSION) as writer:
            for number in range(self.units):
                tables.append(parquet.read_table(self._part(number), partitioning=None))
                waiting += tables[-1].num_rows
                if waiting >= ROWS_PER_GROUP or number == self.units - 1:
                    whole = arrow.concat_tables(tables).replace_schema_metadata(described.metadata)
                    writer.write_table(whole, row_group_size=ROWS_PER_GROUP)
                    rows += waiting
                    tables, waiting = [], 0
        return rows


def _is_whole(path: Path) -> bool:
    try:
        require("pyarrow.parquet", "batch").read_metadata(path)
    except Exception:  # pyarrow's errors share no base class
        return False
    return True


def count(path: Path) -> tuple[int, int]:
    """Number of rows of a file of results, and of those with an error, without reading them."""
    metadata = require("pyarrow.parquet", "batch").read_metadata(path)
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    errors = [group.column(group.num_columns - 1) for group in groups]  # the last column
    nulls = sum(column.statistics.null_count for column in errors)
    return metadata.num_rows, metadata.num_rows - nulls


@contextlib.contextmanager
def opened(target: Path, *, overwrite: bool) -> Iterator[Staging]:
    """A staging folder that no other process uses meanwhile; it goes when it is empty.

    Raises:
        OutputError: Another process uses it, or it cannot be made.
    """
    staging = Staging(target, overwrite=overwrite)
    with _writing(staging.folder):
        staging.folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(staging.folder / _LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise OutputError(f"Another run writes {target} at the moment.") from error
    try:
        yield staging
    finally:
        if not (staging.folder / _RUN).exists():
            staging.remove()  # what it wrote before it failed to begin
            (staging.folder / _LOCK).unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):
            staging.folder.rmdir()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error}. What is done so far is kept: "
            "the same call goes on with it."
        ) from error
