"""Everything of a release into one folder: wheel, source distribution, models, and their digests.

The bytes depend on the commit and on the versions in the environment alone, so that anyone can
repeat them: the time that files carry is that of the commit, unless SOURCE_DATE_EPOCH says another.

Usage: python .ci/release.py dist
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from facemask_zoo.cards import list_models
from facemask_zoo.converters import shipping
from facemask_zoo.converters.formats.registry import FORMATS
from facemask_zoo.files import sha256_of
from facemask_zoo.store import open_weights

ROOT = Path(__file__).parent.parent
WRITABLE = [row.name for row in FORMATS.values() if row.writes]


def main() -> int:
    """Build a release."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where it goes; must not hold anything yet")
    parser.add_argument("--models", nargs="*", default=list_models(), help="(%(default)s)")
    parser.add_argument("--formats", nargs="+", default=WRITABLE, help="of the models (all)")
    args = parser.parse_args()
    if args.folder.is_dir() and any(args.folder.iterdir()):
        parser.error(f"{args.folder} is not empty")
    args.folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("SOURCE_DATE_EPOCH", _git("log", "-1", "--format=%ct").decode().strip())
    build_distributions(args.folder)
    for name in args.models:
        shipping.export(open_weights(name).model(), args.folder / name, args.formats)
    write_sums(args.folder)
    return 0


def build_distributions(folder: Path) -> None:
    """Build wheel and source distribution from what is committed."""
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary, "source")
        source.mkdir()
        archive = _git("archive", "--format=tar", "HEAD")
        subprocess.run(["tar", "-x", "-C", source], input=archive, check=True)
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for path in folder.glob("*.tar.gz"):
        normalise(path, int(os.environ["SOURCE_DATE_EPOCH"]))


def normalise(path: Path, time: int) -> None:
    """Take everything out of a source distribution that the machine put into it."""
    packed = path.with_suffix(".new")
    with (
        tarfile.open(path) as old,
        packed.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=time) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = time, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    shutil.move(packed, path)


def write_sums(folder: Path) -> None:
    """One list of the digests of all files; ``sha256sum --check`` reads it."""
    for path in folder.glob(f"*/{shipping.SUMS}"):
        path.unlink()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / shipping.SUMS).write_text("".join(lines), encoding="utf-8")


def _git(*words: str) -> bytes:
    return subprocess.run(["git", "-C", ROOT, *words], check=True, capture_output=True).stdout


if __name__ == "__main__":
    sys.exit(main())
