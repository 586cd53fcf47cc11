"""Damages an intact file in seeded random ways and reads it, under a limit on memory.

A program of its own, since a reader that crashes takes its process with it. The report goes to
standard output as JSON; the exit code is 1 if anything but the package's own exceptions came out.

Usage: PYTHONPATH=tests python -m attacks.damage KIND [--count N] [--seconds S] [--start SEED]
"""

from __future__ import annotations

import argparse
import dataclasses
import faulthandler
import io
import json
import random
import sys
import tempfile
import time
import traceback
import zipfile
from pathlib import Path

from attacks.guarded import limit_memory, peak_bytes
from attacks.samples import KINDS, Sample, make_sample

from facemask_zoo import FaceMaskZooError

_HANG_SECONDS = 60
_MAX_ESCAPED = 5
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1)


@dataclasses.dataclass
class Report:
    """What became of the damaged files.

    Attributes:
        refused: Those that ended in the package's own exception.
        read: Those that were read all the same.
        escaped: Seed and traceback of everything else.
        grown_bytes: Growth of the process over all of them.
        slowest_s: Seconds of the slowest.
    """

    refused: int = 0
    read: int = 0
    escaped: dict[int, str] = dataclasses.field(default_factory=dict)
    grown_bytes: int = 0
    slowest_s: float = 0


def main() -> int:
    """Damage, read, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--start", type=int, default=0, help="first seed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sample = make_sample(args.kind, Path(folder))
        sample.read(sample.path)
        report = attack(sample, range(args.start, args.start + args.count), args.seconds)
    sys.stdout.write(json.dumps(dataclasses.asdict(report)) + "\n")
    return 1 if report.escaped else 0


def attack(sample: Sample, seeds: range, seconds: float) -> Report:
    """Read one damaged file per seed until the time is up."""
    limit_memory()
    report, before, end = Report(), peak_bytes(), time.monotonic() + seconds
    intact = {path: path.read_bytes() for path in sample.files}
    for seed in seeds:
        if time.monotonic() > end or len(report.escaped) == _MAX_ESCAPED:
            break
        chance = random.Random(seed)
        path = chance.choice(sample.files)
        path.write_bytes(damaged(intact[path], chance))
        _read(sample, seed, report)
        path.write_bytes(intact[path])
    report.grown_bytes = peak_bytes() - before
    return report


def damaged(data: bytes, chance: random.Random) -> bytes:
    """`data`, or a member of the archive that it is, altered in one place or a few."""
    if data.startswith(b"PK") and chance.random() < 0.7:
        return _with_damaged_member(data, chance)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        data = _altered(data, chance)
    return data


def _with_damaged_member(data: bytes, chance: random.Random) -> bytes:
    """The checksums of the new archive are right, so that the damage is met further inside."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(target, "w") as new:
        chosen = chance.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, damaged(content, chance) if name == chosen else content)
    return target.getvalue()


def _altered(data: bytes, chance: random.Random) -> bytes:
    start = _position(len(data), chance)
    end = min(len(data), start + chance.choice([1, 2, 4, 8, 64, 1024]))
    piece = data[start:end]
    kind = chance.choice(["cut", "flip", "flip", "number", "number", "noise", "drop", "repeat"])
    if kind == "cut":
        return data[:start]
    if kind == "flip" and piece:
        piece = bytes([piece[0] ^ 1 << chance.randrange(8)]) + piece[1:]
    if kind == "number":
        order = chance.choice(["little", "big"])
        piece = (chance.choice(_NUMBERS) % 256 ** len(piece)).to_bytes(len(piece), order)
    if kind == "noise":
        piece = chance.randbytes(len(piece))
    if kind == "drop":
        piece = b""
    if kind == "repeat":
        piece *= chance.choice([2, 3, 100])
    return data[:start] + piece + data[end:]


def _position(length: int, chance: random.Random) -> int:
    """Anywhere, but often near the beginning or the end, where formats keep their tables."""
    place = chance.random()
    if chance.random() < 0.5:
        place = place**6
        place = 1 - place if chance.random() < 0.3 else place
    return min(int(place * length), max(length - 1, 0))


def _read(sample: Sample, seed: int, report: Report) -> None:
    sys.stderr.write(f"\r{seed}")  # the last one is the culprit if the process dies
    faulthandler.dump_traceback_later(_HANG_SECONDS, exit=True)
    began = time.monotonic()
    try:
        sample.read(sample.path)
        report.read += 1
    except FaceMaskZooError:
        report.refused += 1
    except BaseException:
        report.escaped[seed] = traceback.format_exc(limit=-6)
    finally:
        faulthandler.cancel_dump_traceback_later()
    report.slowest_s = max(report.slowest_s, time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
