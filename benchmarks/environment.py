"""Where a measurement was taken."""

from __future__ import annotations

import os
import platform
import re
import sys

from facemask_zoo import processor
from facemask_zoo.version import __version__


def describe() -> dict[str, str]:
    """Processor, its instruction sets, cores, system, Python and package version."""
    return {
        "processor": processor.title(),
        "instruction_sets": " ".join(processor.instruction_sets()),
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


if __name__ == "__main__":
    sys.stdout.write(folder_name() + "\n")
