"""Reads one file under a limit on memory, in a process of its own.

Usage: PYTHONPATH=tests python -m attacks.guarded FILE
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

from places import ROOT

from facemask_zoo import FaceMaskZooError, model_files
from facemask_zoo.converters.formats import registry
from facemask_zoo.images import IMAGE_SUFFIXES, load_image
from facemask_zoo.video import VIDEO_SUFFIXES, frames

MEMORY_BYTES = 500_000_000
"""What reading may take on top of what the process has."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How reading a file ended.

    Attributes:
        error: Name of the exception; empty if there was none.
        message: What it said.
        grown_bytes: Growth of the process and of those that it started.
    """

    error: str
    message: str
    grown_bytes: int


def run_module(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a module beside this one as a program."""
    return subprocess.run(
        [sys.executable, "-m", f"attacks.{name}", *map(str, words)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def read_guarded(path: Path) -> Outcome:
    """Read a file of weights, a picture or a video elsewhere.

    Raises:
        AssertionError: The process died, or anything but the package's own exceptions came out.
    """
    done = run_module("guarded", path)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"
    return Outcome(**json.loads(done.stdout))


def assert_refused(path: Path, match: str = "") -> None:
    """Make sure that a file is refused with our own exception, within the limit on memory."""
    outcome = read_guarded(path)
    assert outcome.error, "the file was read"
    assert re.search(match, outcome.message), outcome.message
    assert outcome.grown_bytes < MEMORY_BYTES


def limit_memory() -> None:
    """Let every allocation fail that would make the process grow by more than the limit."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def peak_bytes() -> int:
    """The most memory that this process, or one that it waited for, ever had."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) * 1024


def _read(path: Path) -> None:
    if path.suffix in IMAGE_SUFFIXES:
        load_image(path)
    elif path.suffix in VIDEO_SUFFIXES:
        for _ in frames(path):
            pass
    else:
        model_files.read(path)


def main() -> int:
    """Read and report."""
    path = Path(sys.argv[1])
    error = message = ""
    for row in registry.FORMATS.values():
        assert not row.reads or row.reader
    before = peak_bytes()
    limit_memory()
    try:
        _read(path)
    except FaceMaskZooError as problem:
        error, message = type(problem).__name__, str(problem)
    outcome = Outcome(error, message[:500], peak_bytes() - before)
    sys.stdout.write(json.dumps(dataclasses.asdict(outcome)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
