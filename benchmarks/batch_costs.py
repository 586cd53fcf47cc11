"""What a million or a billion pictures cost, measured on some and multiplied.

Usage: python -m facemask_zoo.benchmarks.batch_costs SRC [--workers 2] [--write docs/batch.md]

Times are those that the processors worked, not those that passed: they say what to pay for, and
other programs that run at the same time change them little.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import sys
import tempfile
from pathlib import Path

from facemask_zoo.batch.local import LocalEngine
from facemask_zoo.batch.run import run
from facemask_zoo.benchmarks import environment, markdown
from facemask_zoo.cards import DEFAULT_MODEL

SECTION = "costs"
BILLION = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class Costs:
    """What one run took.

    Attributes:
        pictures: How many it had.
        workers: Seconds of processor time of all workers, loading the model included.
        driver: Seconds of processor time of the process that collects and joins the parts.
        size: Bytes of the results.
        worker_memory: Peak of one worker, in bytes.
        driver_memory: Peak of the driver, in bytes.
    """

    pictures: int
    workers: float
    driver: float
    size: int
    worker_memory: int
    driver_memory: int


def measure(source: str, model: str, framework: str, workers: int) -> Costs:
    """Run ``batch`` on `source` and look at what it used."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "results.parquet"
        before = _seconds(resource.RUSAGE_SELF)
        loading = {"model": model, "framework": framework, "threads": 1}
        summary = run([source], target, LocalEngine(workers), loading=loading)
        return Costs(
            summary.rows,
            _seconds(resource.RUSAGE_CHILDREN),
            _seconds(resource.RUSAGE_SELF) - before,
            target.stat().st_size,
            _peak(resource.RUSAGE_CHILDREN),
            _peak(resource.RUSAGE_SELF),
        )


def table(costs: Costs) -> str:
    """The costs of one picture, and of a billion."""
    each = costs.workers / costs.pictures
    rows = [
        ("Workers", f"{each * 1000:.1f} ms", f"{each * BILLION / 3600:,.0f} core hours"),
        (
            "Collecting and joining",
            f"{costs.driver / costs.pictures * 1000:.2f} ms",
            f"{costs.driver / costs.pictures * BILLION / 3600:,.0f} core hours",
        ),
        (
            "Results",
            f"{costs.size / costs.pictures:.0f} bytes",
            f"{costs.size / costs.pictures * BILLION / 1e9:,.0f} GB",
        ),
    ]
    return markdown.table(("", "A picture", "A billion"), rows)


def sentence(costs: Costs) -> str:
    """Where it was measured, and the memory it took."""
    return (
        f"{costs.pictures:,} pictures; at most {costs.worker_memory / 1e6:.0f} MB in a worker and "
        f"{costs.driver_memory / 1e6:.0f} MB in the process that collects. "
        f"{environment.sentence()}."
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="anything that facemask-zoo batch takes")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--framework", default="onnx")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", type=Path, help="page to write the table to")
    args = parser.parse_args()
    costs = measure(args.source, args.model, args.framework, args.workers)
    text = f"{table(costs)}\n\n`{args.model}` on `{args.framework}`. {sentence(costs)}"
    sys.stdout.write(text + "\n")
    if args.write:
        markdown.replace_section(args.write, SECTION, text)
    return 0


def _seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def _peak(who: int) -> int:
    kib = resource.getrusage(who).ru_maxrss
    return kib * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    sys.exit(main())
