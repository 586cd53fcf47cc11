"""Coverage-guided fuzzing of a reader: inputs that reach new code are kept and changed further.

Anything but a model or the package's own exception ends the run; the input then lies in the current
folder as ``crash-...``. A format of several files is fuzzed in its main one.

Usage: PYTHONPATH=tests python -m attacks.fuzz KIND [--seconds N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["facemask_zoo.converters", "pickle", "zipfile"]):
    from facemask_zoo.converters.formats import registry

    for row in registry.FORMATS.values():
        assert not row.reads or row.reader

from attacks.samples import KINDS, make_sample  # what is instrumented has to be imported first

from facemask_zoo import FaceMaskZooError

_TIMEOUT_SECONDS = 30
_MEMORY_MEGABYTES = 1024


def main() -> None:
    """Fuzz until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--seconds", type=int, default=150)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    corpus = Path(tempfile.mkdtemp())
    sample = make_sample(args.kind, folder)
    intact = sample.path.read_bytes()
    (corpus / "intact").write_bytes(intact)

    def try_input(data: bytes) -> None:
        sample.path.write_bytes(data)
        try:
            sample.read(sample.path)
        except FaceMaskZooError:
            return

    options = [
        f"-max_total_time={args.seconds}",
        f"-timeout={_TIMEOUT_SECONDS}",
        f"-rss_limit_mb={_MEMORY_MEGABYTES}",
        f"-max_len={2 * len(intact)}",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *options], try_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
