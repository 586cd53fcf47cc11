"""The process in which one case is measured: ``python -m facemask_zoo.benchmarks.worker TASK``."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facemask_zoo.backends import find_framework
from facemask_zoo.benchmarks.memory import peak_megabytes
from facemask_zoo.benchmarks.processes import write_answer
from facemask_zoo.benchmarks.timing import times_in_turns
from facemask_zoo.converters.samples import drawing
from facemask_zoo.detector import Detector
from facemask_zoo.errors import FaceMaskZooError
from facemask_zoo.images import load_image

STAGES = ("read", "preprocess", "inference", "postprocess")
PICTURE_SIZE = (640, 480)


def main() -> int:
    """Measure what the only argument asks for, and print it as one line of JSON."""
    task = json.loads(sys.argv[1])
    try:
        answer = measure(task["case"], task["settings"], task["started"])
    except FaceMaskZooError as error:
        answer = {"problem": str(error)}
    write_answer(answer)
    return 0


def measure(case: dict[str, Any], settings: dict[str, Any], started: float) -> dict[str, Any]:
    """Times of one case in this process.

    Args:
        case: A ``cases.Case``.
        settings: A ``cases.Settings``.
        started: Unix time at which the process was asked for.

    Returns:
        Seconds of the framework's import, of loading and until the first result; milliseconds of
        every call that counts, of the network alone, from arrays and from files, and of each stage
        of the latter; peak memory in megabytes; facts of the model.
    """
    before = time.perf_counter()
    find_framework(case["framework"]).backend()
    imported = time.perf_counter()
    detector = Detector.load(
        case["model"],
        framework=case["framework"],
        precision=case["precision"],
        threads=case["threads"],
        trust=settings["trust"],
    )
    loaded = time.perf_counter()
    data = encoded(settings["picture"])
    files = [io.BytesIO(data) for _ in range(case["batch"])]
    detect(detector, files)
    first = time.time()
    array = load_image(data)
    stages: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def from_file() -> None:
        speed = detect(detector, files)[0].speed
        for stage in STAGES:
            stages[stage].append(speed[stage] * case["batch"])

    calls: dict[str, Callable[[], object]] = {
        "network": network_alone(detector, array, case["batch"]),
        "array": lambda: detector.detect_batch([array] * case["batch"]),
        "file": from_file,
    }
    warm_up, repeats = settings["warm_up"], settings["repeats"]
    times = times_in_turns(calls, 1, warm_up, repeats)
    return {
        "import_s": imported - before,
        "load_s": loaded - imported,
        "first_result_s": first - started,
        "times": times | {stage: values[warm_up:] for stage, values in stages.items()},
        "peak_mb": peak_megabytes(),
        "version": detector.backend.version(),
        "multiply_adds": detector.card.detector.graph.multiply_adds,
        "picture": list(array.shape[1::-1]),
    }


def network_alone(detector: Detector, array: NDArray[np.uint8], batch: int) -> Callable[[], object]:
    """A call that runs the network on one picture, several times over."""
    buffer = detector.backend.buffer(batch)
    for slot in buffer:
        detector.card.preprocessing.place(array, slot)
    return lambda: detector.backend.forward(buffer)


def detect(detector: Detector, files: list[io.BytesIO]) -> list[Any]:
    """Detect in files that are read from their start."""
    for file in files:
        file.seek(0)
    return detector.detect_batch(files)


def encoded(picture: str) -> bytes:
    """The bytes of a picture's file; of a drawing, as JPEG, if there is none."""
    if picture:
        return Path(picture).read_bytes()
    buffer = io.BytesIO()
    Image.fromarray(drawing()).resize(PICTURE_SIZE).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
