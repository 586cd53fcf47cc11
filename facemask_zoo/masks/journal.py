"""A record of what was written where, so that a run that was cut off goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facemask_zoo.errors import OutputError
from facemask_zoo.files import atomic_path, check_place, sha256_of

JOURNAL_NAME = ".facemask_zoo-mask.jsonl"
"""File in the output folder: one line of settings, then one per picture, before it is written."""


class Journal:
    """What a run wrote, or was about to write; files that it does not list are someone else's.

    Args:
        folder: Of the output.
        settings: What the outputs depend on; a run that goes on must have the same.

    Raises:
        OutputError: The folder holds the outputs of a run with other settings, or is a file; or the
            journal is damaged.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._path = folder / JOURNAL_NAME
        self._entries: dict[str, dict[str, Any]] = {}
        self._digests: dict[str, set[str]] = {}
        check_place(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._open(json.loads(json.dumps(settings)))

    def done(self, name: str) -> dict[str, Any] | None:
        """What was written under this name, if it is there and unaltered."""
        entry = self._entries.get(name)
        path = self._folder / name
        if entry is None or not path.is_file() or sha256_of(path) != entry["sha256"]:
            return None
        return entry

    def check(self, name: str) -> None:
        """Make sure that nothing is in the way of an output but what this run wrote.

        Raises:
            OutputError: Something is.
        """
        path = self._folder / name
        if not os.path.lexists(path):
            return
        if not path.is_file() or sha256_of(path) not in self._digests.get(name, ()):
            raise OutputError(f"{path} exists already and was not written by this run.")

    def write(self, name: str, content: bytes, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Write one output whole, and what is to be remembered of it first.

        Args:
            name: Path below the folder.
            content: Of the file.
            facts: JSON values that go with it.

        Returns:
            The facts, with the name and the digest.

        Raises:
            OutputError: A file is in the way that this run has not written.
            OSError: It cannot be written.
        """
        self.check(name)
        path = self._folder / name
        entry = {**facts, "name": name, "sha256": hashlib.sha256(content).hexdigest()}
        self._append(entry)
        self._remember(entry)
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_bytes(content)
        return entry

    def _open(self, settings: dict[str, Any]) -> None:
        if not self._path.exists():
            self._append({"settings": settings})
            return
        lines = self._read()
        if not lines or lines[0].get("settings") != settings:
            raise OutputError(
                f"{self._folder} holds the outputs of a run with other settings. "
                "Name another folder, or repeat the call that made it."
            )
        for entry in lines[1:]:
            self._remember(entry)

    def _remember(self, entry: dict[str, Any]) -> None:
        self._entries[entry["name"]] = entry
        self._digests.setdefault(entry["name"], set()).add(entry["sha256"])

    def _read(self) -> list[dict[str, Any]]:
        """All whole lines; one that was cut off is removed, lest the next be joined to it."""
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            os.truncate(self._path, len(whole))
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
            return [entry for entry in lines if entry.get("settings") or _is_entry(entry)]
        except (ValueError, AttributeError, RecursionError) as error:
            raise OutputError(f"{self._path} is damaged: {error}") from error

    def _append(self, entry: Mapping[str, Any]) -> None:
        with self._path.open("ab") as file:
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _is_entry(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("name"), str) and isinstance(entry.get("sha256"), str)
