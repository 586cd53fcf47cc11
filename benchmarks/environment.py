"""Where a measurement was taken."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from facemask_zoo.version import __version__


def describe() -> dict[str, str]:
    """Processor, cores, system, Python and package version."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "facemask_zoo": __version__,
    }


def sentence() -> str:
    """The same as one line of text."""
    facts = describe()
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['system']}, "
        f"Python {facts['python']}, facemask_zoo {facts['facemask_zoo']}"
    )


def _processor() -> str:
    """The processor's name; Linux hides it from the platform module."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"
