"""Fresh interpreters that measure, and what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

LONGEST_SECONDS = 1800
"""A process that takes longer is ended, and what it was to measure has failed."""


def run_python(*words: str) -> dict[str, Any]:
    """Run a fresh interpreter, and read the last line it writes as JSON.

    Returns:
        The values; ``{"problem": ...}`` if it failed, or did not end in `LONGEST_SECONDS`.
    """
    command = [sys.executable, *words]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"problem": f"the process did not end in {LONGEST_SECONDS} seconds"}
    try:
        answer = json.loads(result.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        answer = None
    if result.returncode or not isinstance(answer, dict):
        lines = result.stderr.strip().splitlines()
        return {"problem": lines[-1] if lines else f"the process ended with {result.returncode}"}
    return answer


def write_answer(values: Any) -> None:
    """What such a process says at its end: a line of JSON on standard output, the last."""
    sys.stdout.write(f"\n{json.dumps(values)}\n")
