"""The files of a model: those that ship, and on demand one in every framework's own format.

Usage: python -m facemask_zoo.converters.shipping zoo-260
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import logging
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from facemask_zoo.backends import list_frameworks
from facemask_zoo.cards import File, ModelCard
from facemask_zoo.converters.formats.registry import find_format
from facemask_zoo.files import atomic_path, check_target, sha256_of
from facemask_zoo.model import Model
from facemask_zoo.model_files import read, staged, write

log = logging.getLogger(__name__)

CANONICAL = "safetensors"
SHIPPED = (CANONICAL, "onnx")
"""What the repository and the wheel hold; everything else is written from the first of them."""

SUMS = "SHA256SUMS"
_SUM = re.compile("(?P<digest>[0-9a-f]{64})  (?P<name>.+)")


def main() -> int:
    """Rebuild the files of the models named on the command line, and their cards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", help="names of cards in the folder")
    parser.add_argument("--folder", type=Path, default=Path("weights"), help="(%(default)s)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    for name in args.models:
        build(name, args.folder)
    return 0


def build(name: str, folder: Path) -> ModelCard:
    """Write the files that ship of a model from its canonical one, and record them in its card.

    Args:
        name: Name of the model; ``<folder>/<name>.json`` is its card and
            ``<folder>/<name>/safetensors/<name>.safetensors`` holds its tensors.
        folder: Where cards lie.

    Returns:
        The new card.

    Raises:
        FaceMaskZooError: A framework is missing, or the tensors do not fit the card.
    """
    card_path, target = folder / f"{name}.json", folder / name
    card = ModelCard.from_json(card_path.read_bytes())
    tensors = read(target / CANONICAL / f"{name}.{CANONICAL}").tensors
    model = Model(card, tensors).without_subnormals()
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as temporary:
        files = {row: _write(model, row, Path(temporary, name)) for row in SHIPPED}
        for file in _all_files(files):
            with atomic_path(folder / file.name, overwrite=True) as path:
                Path(temporary, file.name).rename(path)
    new = dataclasses.replace(card, files=files, tensors_sha256=model.digest)
    with atomic_path(card_path, overwrite=True) as path:
        path.write_text(new.to_json(indent=1) + "\n", encoding="utf-8")
    kept = {file.name for file in _all_files(files)}
    for file in _all_files(card.files):  # such as those of a format that is no longer preferred
        if file.name not in kept:
            (folder / file.name).unlink(missing_ok=True)
    return new


def export(
    model: Model, folder: Path, formats: Sequence[str] = (), *, overwrite: bool = False
) -> list[Path]:
    """Write a model in the formats of many frameworks, each in a folder of its own.

    Args:
        model: What to write.
        folder: Where ``<format>/<name><suffix>`` goes, with a list of digests, ``SHA256SUMS``, in
            which the lines of an earlier export stay.
        formats: Names of ``FORMATS``; those of every installed framework unless given.
        overwrite: Replace files that exist.

    Returns:
        The file (or folder) that names the model, of each format.

    Raises:
        OutputError: A file exists and is not to be replaced.
        FaceMaskZooError: A format cannot carry the model, or a package that it needs is missing.
    """
    sums = folder / SUMS
    listed = _read_sums(sums, overwrite)
    rows = [find_format(name) for name in formats or native_formats()]
    targets = {row.name: folder / row.name / f"{model.card.name}{row.suffix}" for row in rows}
    for main_file in targets.values():  # before anything is written
        check_target(main_file, overwrite=overwrite)
    parts: list[Path] = []
    with contextlib.ExitStack() as stack:  # all are written aside, and then all are moved
        for row in rows:
            target = targets[row.name]
            written = stack.enter_context(staged(model, target, row, overwrite=overwrite))
            parts += [target.parent / part.name for part in written.parent.iterdir()]
    for path in itertools.chain.from_iterable(map(_files_of, parts)):
        listed[path.relative_to(folder).as_posix()] = sha256_of(path)
    lines = [f"{digest}  {name}\n" for name, digest in sorted(listed.items())]
    with atomic_path(sums, overwrite=True) as path:
        path.write_text("".join(lines), encoding="utf-8")
    return list(targets.values())


def _read_sums(path: Path, overwrite: bool) -> dict[str, str]:
    """Digests by name of an earlier export, which are kept; nothing if there is none.

    Raises:
        OutputError: Something else is there, and is not to be replaced.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError):
        text = ""
    lines = [_SUM.fullmatch(line) for line in text.splitlines()]
    if not lines or not all(lines):
        check_target(path, overwrite=overwrite)
        return {}
    return {line["name"]: line["digest"] for line in lines if line}


def _files_of(path: Path) -> list[Path]:
    """A file itself, or all files of a folder."""
    return [part for part in path.rglob("*") if part.is_file()] if path.is_dir() else [path]


def _all_files(files: Mapping[str, tuple[File, ...]]) -> list[File]:
    return [file for parts in files.values() for file in parts]


def native_formats() -> list[str]:
    """The preferred format of every installed framework, the canonical one first."""
    installed = [framework for framework in list_frameworks() if framework.installed]
    formats = [framework.backend().formats[0] for framework in installed]
    return list(dict.fromkeys([CANONICAL, *formats]))


def _write(model: Model, name: str, folder: Path) -> tuple[File, ...]:
    """Write one format into a folder of its own; the file that names the model comes first."""
    row = find_format(name)
    main_file = folder / name / f"{model.card.name}{row.suffix}"
    write(model, main_file, name)
    parts = sorted(main_file.parent.iterdir(), key=lambda part: (part != main_file, part.name))
    log.info("%s: %s", row.title, ", ".join(part.name for part in parts))
    return tuple(
        File(f"{model.card.name}/{name}/{part.name}", sha256_of(part), part.stat().st_size)
        for part in parts
    )


if __name__ == "__main__":
    sys.exit(main())
