"""Timing calls in turns, and what is said about the times."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Calls = Mapping[str, Callable[[], object]]


@dataclasses.dataclass(frozen=True)
class Summary:
    """Milliseconds of a call that was repeated: median and percentiles."""

    median: float
    p10: float
    p90: float
    p99: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Summary:
        """Summarise times in milliseconds."""
        p10, p90, p99 = (float(each) for each in np.percentile(times, [10, 90, 99]))
        return cls(statistics.median(times), p10, p90, p99)


def times_of(call: Callable[[], object], repeats: int) -> list[float]:
    """Milliseconds of each repetition."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1000)
    return times


def times_in_turns(calls: Calls, rounds: int, warm_up: int, repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each call, all in turns, so that they see the same machine.

    In stretches, each after a warm-up: threads of a framework that ran just before go on waiting
    for work.

    Args:
        calls: What to time.
        rounds: How often each has its turn.
        warm_up: Calls at the start of a turn that do not count.
        repeats: Calls of a turn that count.
    """
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            found[name] += times_of(call, warm_up + repeats)[warm_up:]
    return found
