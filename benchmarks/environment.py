"""Where a measurement was taken."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

from facemask_zoo.version import __version__

_VECTOR_FLAGS = ("avx", "amx", "fma", "f16c", "asimd", "sve", "bf16", "i8mm")


def describe() -> dict[str, str]:
    """Processor, its instruction sets, cores, system, Python and package version."""
    return {
        "processor": _processor(),
        "instruction_sets": " ".join(_instruction_sets()),
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


def folder_name() -> str:
    """A name for the results of such machines: processor and cores."""
    facts = describe()
    words = re.findall("[a-z0-9]+", facts["processor"].lower())
    return "-".join([*words, facts["cores"], "cores"])


def _processor() -> str:
    """The processor's name; Linux hides it from the platform module."""
    return _cpuinfo("model name") or platform.processor() or "unknown processor"


def _instruction_sets() -> list[str]:
    """Those that decide how fast networks are, as Linux names them; none where it is not asked."""
    found = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return sorted(flag for flag in found if flag.startswith(_VECTOR_FLAGS))


def _cpuinfo(field: str) -> str:
    """A field of the first processor; empty where there is none, or no Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    values = [line.partition(":")[2].strip() for line in lines if line.startswith(field)]
    return values[0] if values else ""


if __name__ == "__main__":
    sys.stdout.write(folder_name() + "\n")
