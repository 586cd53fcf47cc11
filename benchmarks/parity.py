"""Every framework against the float64 reference, and against the clock.

Each framework runs in a process of its own. Outputs are compared on noise and on a photograph;
times are medians of the network alone on one picture, taken in turns so that all frameworks see
the same machine.

Usage: python -m facemask_zoo.benchmarks.parity [--model NAME] [--write README.md]
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.backends import FRAMEWORKS, Backend, Options
from facemask_zoo.benchmarks import environment, markdown
from facemask_zoo.cards import DEFAULT_MODEL
from facemask_zoo.converters.samples import drawing
from facemask_zoo.graph import reference
from facemask_zoo.images import load_image
from facemask_zoo.session import Session, open_session
from facemask_zoo.ssd.network import LOC_NAME, SCORES_NAME
from facemask_zoo.store import open_weights

log = logging.getLogger(__name__)

SECTION = "parity"
WARM_UP = 10
REPEATS = 30
ROUNDS = 3
_NOISE_SEED = 1
_TITLES = {LOC_NAME: "boxes", SCORES_NAME: "scores"}


def main() -> int:
    """Measure all frameworks, print the table and, if asked, write it into a file."""
    args = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    if args.worker:
        sys.stdout.write(json.dumps(measure(args.model, args.worker, args.picture, args.threads)))
        return 0
    text = report(args.model, args.picture, args.threads)
    sys.stdout.write(text + "\n")
    if args.write:
        markdown.replace_section(args.write, SECTION, text)
    return 0


def report(model: str, picture: Path | None, threads: int) -> str:
    """The table of all installed frameworks in Markdown, with the environment below it."""
    runs: dict[str, list[dict[str, Any]]] = {
        name: [] for name, row in FRAMEWORKS.items() if row.installed
    }
    log.info("Not installed: %s", ", ".join(FRAMEWORKS.keys() - runs) or "none")
    for number in range(ROUNDS):
        for name in runs:
            log.info("round %d: %s", number + 1, name)
            runs[name].append(_in_process(model, name, picture, threads))
    rows = [_row(name, results) for name, results in runs.items()]
    first, *others = next(iter(runs.values()))[0]["differences"]
    header = (
        "Framework",
        "`framework=`",
        "Tested version",
        f"Largest difference: {first}",
        *(name.capitalize() for name in others),
        "Median time",
        "Runs on",
    )
    shown = "photograph" if picture else "drawing"
    foot = (
        f"Model {model}, {threads} threads, batch 1, network alone, median of {ROUNDS} x {REPEATS} "
        f"runs. Differences are from the float64 reference, in raw outputs, on noise and on a "
        f"{shown}. {environment.sentence()}. Made by `make parity`."
    )
    return f"{markdown.table(header, rows)}\n\n{foot}"


def measure(model: str, framework: str, picture: Path | None, threads: int) -> dict[str, Any]:
    """Differences from the reference and times of one framework, in this process."""
    session = open_session(model, framework=framework, options=Options(threads=threads))
    batch = _inputs(session, picture)
    found = session.backend.forward(batch)
    expected = reference.forward(open_weights(model).model().program, batch)
    return {
        "version": session.backend.version(),
        "devices": session.backend.devices(),
        "differences": {
            _TITLES.get(name, name): float(np.abs(found[name] - values).max())
            for name, values in expected.items()
        },
        "milliseconds": _times(session.backend, batch[-1:]),
    }


def _inputs(session: Session, picture: Path | None) -> NDArray[np.float32]:
    _, height, width = session.graph.input_shape
    noise = np.random.default_rng(_NOISE_SEED).random((2, 3, height, width), dtype=np.float32)
    image = load_image(picture) if picture else drawing()
    return np.concatenate([noise, session.card.preprocessing(image, height, width)[None]])


def _times(backend: Backend, batch: NDArray[np.float32]) -> list[float]:
    times = []
    for _ in range(WARM_UP + REPEATS):
        start = time.perf_counter()
        backend.forward(batch)
        times.append((time.perf_counter() - start) * 1000)
    return times[WARM_UP:]


def _in_process(model: str, framework: str, picture: Path | None, threads: int) -> dict[str, Any]:
    words = ["--model", model, "--worker", framework, "--threads", str(threads)]
    words += ["--picture", str(picture)] if picture else []
    command = [sys.executable, "-m", "facemask_zoo.benchmarks.parity", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{framework} failed:\n{result.stderr}")
    measured: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return measured


def _row(name: str, results: list[dict[str, Any]]) -> tuple[str, ...]:
    times = [value for result in results for value in result["milliseconds"]]
    return (
        FRAMEWORKS[name].title,
        f"`{name}`",
        results[0]["version"],
        *(
            f"{max(result['differences'][name] for result in results):.1e}"
            for name in results[0]["differences"]
        ),
        f"{statistics.median(times):.1f} ms",
        ", ".join(results[0]["devices"]),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare every framework with the reference.")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--picture", type=Path, help="photograph to compare on (a drawing)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", type=Path, help="file with a section to replace")
    parser.add_argument("--worker", choices=list(FRAMEWORKS), help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
