"""What a process of its own does first; spawned processes import this by name."""

from __future__ import annotations

import threading

from seeded import seeded_batch

from facemask_zoo import Detector
from facemask_zoo.detector import RawOutputs


def answers_of(names: list[str], barrier: threading.Barrier) -> dict[str, RawOutputs]:
    """What zoo-260 answers on each framework, all processes starting at once."""
    results = {}
    for name in names:
        barrier.wait(120)
        detector = Detector.load("zoo-260", framework=name)
        batch = seeded_batch(detector.card.network, 1)
        results[name] = detector.forward(batch)
    return results
