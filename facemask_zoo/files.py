"""Files that are whole or absent: hashing, and writing under a temporary name first.

What exists is replaced only on request, a folder only if nothing in it is anyone else's, and what
is being read never.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from facemask_zoo.errors import OutputError, UnreadableFileError, WeightsError

MANIFEST_NAME = ".facemask_zoo.json"
"""File in every folder that is written as a whole; it lists the others and their digests."""

_FILES_KEY = "files"


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path, sha256: str, size: int) -> None:
    """Make sure that a file is the expected one.

    Raises:
        UnreadableFileError: It cannot be read.
        WeightsError: It is missing, or its size or digest differ.
    """
    with _readable(path):
        actual_size = path.stat().st_size
        if actual_size != size:
            raise WeightsError(f"{path}: expected {size} bytes, but got {actual_size}.")
        _check_digest(path, sha256)


def check_folder(folder: Path) -> None:
    """Make sure that every file which the manifest of a folder lists is there and unaltered.

    Raises:
        UnreadableFileError: A file, or the manifest itself, cannot be read.
        WeightsError: One is missing, damaged or altered.
    """
    for name, sha256 in _read_manifest(folder).items():
        with _readable(folder / name):
            _check_digest(folder / name, sha256)


@contextlib.contextmanager
def atomic_path(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    What is written there may be a file or a folder; on an error nothing stays behind. A folder
    gets a manifest, so that it can be told from other people's. Permissions are those that the
    process gives to new files. A symbolic link is replaced, not followed.

    Args:
        path: The target; its folder is made if need be.
        overwrite: Replace a file; or a folder, if it is as this function has left it.

    Raises:
        OutputError: Something is in the way that is not to be replaced.
        OSError: The target cannot be written.
    """
    check_target(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        _share(temporary)
        if temporary.is_dir():
            _write_manifest(temporary)
        put_in_place(temporary, path, overwrite=overwrite)


def write_json(path: Path, values: object, *, overwrite: bool = False) -> None:
    """Write values as JSON, whole or not at all.

    Raises:
        OutputError: Something is in the way that is not to be replaced.
        OSError: The file cannot be written.
    """
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def put_in_place(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Move a whole file or folder to its place in one step, once it is on the disk.

    Args:
        temporary: On the same file system as `path`.
        path: The target.
        overwrite: As for :func:`atomic_path`.

    Raises:
        OutputError: Something is in the way that is not to be replaced.
        OSError: It cannot be moved.
    """
    _flush(temporary)
    check_target(path, overwrite=overwrite)  # it may have come up in the meantime
    _move(temporary, path, overwrite)


def check_target(path: Path, *, overwrite: bool, stream: bool = False) -> None:
    """Make sure that a path is free or may be replaced.

    Args:
        path: Where something shall be written.
        overwrite: Whether a file may be replaced; or a folder, if its manifest lists all that is
            in it and nothing was altered.
        stream: Whether what is there is written to and not replaced, as a device or a pipe may be.

    Raises:
        OutputError: What is there is not to be replaced.
    """
    check_place(path.parent)
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise OutputError(f"{path} exists already and is not replaced unless you ask to overwrite.")
    if path.is_dir():
        _check_ours(path)
    elif path.exists() and not path.is_file() and not stream:
        raise OutputError(f"{path} is no regular file: it is not replaced.")


def check_place(folder: Path) -> None:
    """Make sure that a folder is there or can be made.

    Raises:
        OutputError: There is a file in its place, or in that of a folder above it.
    """
    nearest = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
    if os.path.lexists(nearest) and not nearest.is_dir():
        raise OutputError(f"{nearest} is a file: expected a folder to write to.")


class Sources:
    """Files that are read, and that no output may replace, whatever the path it goes by.

    Args:
        paths: Files, or anything else, such as the address of a camera, which is left out.
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        self._identities = {_identity(path) for path in paths} - {None}

    def check(self, target: Path) -> None:
        """Make sure that a target is not one of them.

        Raises:
            OutputError: It is.
        """
        if _identity(target) in self._identities:
            raise OutputError(f"{target} is a source: it is never written to. Name another output.")


def _identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        if path.exists() and not path.is_file():  # else it might be a pipe that says nothing
            raise WeightsError(f"{path} is missing: what is there is no regular file.")
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise WeightsError(f"{path} is missing.") from error
    except OSError as error:
        raise UnreadableFileError(f"Cannot read {path}: {error.strerror}.") from error


def _check_digest(path: Path, sha256: str) -> None:
    actual = sha256_of(path)
    if actual != sha256:
        raise WeightsError(f"{path} was altered: expected sha256 {sha256}, but got {actual}.")


def _parts(folder: Path) -> Iterator[Path]:
    """Everything in a folder but its sub-folders; links are not followed."""
    return (part for part in folder.rglob("*") if part.is_symlink() or not part.is_dir())


def _write_manifest(folder: Path) -> None:
    files = {part.relative_to(folder).as_posix(): sha256_of(part) for part in _parts(folder)}
    text = json.dumps({_FILES_KEY: dict(sorted(files.items()))}, indent=1)
    (folder / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")


def _read_manifest(folder: Path) -> dict[str, str]:
    path = folder / MANIFEST_NAME
    try:
        with _readable(path):
            files = json.loads(path.read_text(encoding="utf-8"))[_FILES_KEY]
        return {os.fspath(name): sha256.lower() for name, sha256 in files.items()}
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is not a list of files: {error!r}.") from error


def _check_ours(folder: Path) -> None:
    """Refuse to replace a folder that holds anything but what was written there at once."""
    if folder.is_symlink():
        raise OutputError(f"{folder} is a link to a folder: it is not replaced.")
    try:
        listed = {*_read_manifest(folder), MANIFEST_NAME}
        check_folder(folder)
    except WeightsError as error:
        raise OutputError(
            f"The folder {folder} is not replaced, even on request: {error}"
        ) from error
    others = sorted({part.relative_to(folder).as_posix() for part in _parts(folder)} - listed)
    if others:
        raise OutputError(
            f"The folder {folder} is not replaced, even on request: "
            f"it also holds {', '.join(others[:5])}."
        )


def _share(path: Path) -> None:
    """Give files and folders the permissions of new ones; some libraries make theirs private.

    They are read off new ones, since the umask cannot be asked for without changing it.
    """
    probe = path.with_name(f"{path.name}.probe")
    probe.touch()
    file_mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    probe.mkdir()
    folder_mode = stat.S_IMODE(probe.stat().st_mode)
    probe.rmdir()
    for part in (path, *path.rglob("*")):
        mode = folder_mode if part.is_dir() else file_mode
        if not part.is_symlink() and stat.S_IMODE(part.stat().st_mode) != mode:
            part.chmod(mode)


def _flush(path: Path) -> None:
    """Wait until the content is on the disk, so that a renamed file is never empty."""
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def _move(temporary: Path, path: Path, overwrite: bool) -> None:
    if os.path.lexists(path) and temporary.is_dir() != path.is_dir():
        kinds = ("folder", "file") if path.is_dir() else ("file", "folder")
        raise OutputError(f"{path} is a {kinds[0]}: no {kinds[1]} takes its place.")
    if path.is_dir():
        _exchange(temporary, path)
    elif temporary.is_dir() or overwrite:
        os.replace(temporary, path)
    else:
        _move_new(temporary, path)
    if hasattr(os, "O_DIRECTORY"):  # elsewhere a folder cannot be opened
        handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _move_new(temporary: Path, path: Path) -> None:
    """Rename, but in one step with the check that nobody has written there."""
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise OutputError(f"{path} was written by someone else in the meantime.") from error
    except OSError:  # a file system without hard links
        os.replace(temporary, path)


def _exchange(temporary: Path, path: Path) -> None:
    """Replace a folder; it is looked at once more when nobody can find it any longer."""
    aside = temporary.with_name(f"{path.name}.previous")
    os.rename(path, aside)
    try:
        _check_ours(aside)
        os.rename(temporary, path)
    except BaseException:
        os.rename(aside, path)
        raise
