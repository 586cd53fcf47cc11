"""The processor that the package runs on."""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterable
from pathlib import Path

_VECTOR_FLAGS = ("avx", "amx", "fma", "f16c", "asimd", "sve", "bf16", "i8mm")

# As Linux names the instructions that set processors apart, the most capable first.
_KINDS = {
    "amx": "amx_tile",
    "avx512-vnni": "avx512_vnni",
    "avx512": "avx512f",
    "avx2-vnni": "avx_vnni",
    "avx2": "avx2",
    "neon": "asimd",
}


def title() -> str:
    """The processor's name; Linux hides it from the platform module."""
    return _cpuinfo("model name") or platform.processor() or "unknown processor"


@functools.cache
def instruction_sets() -> tuple[str, ...]:
    """Those that decide how fast networks are, as Linux names them; none where it is not asked."""
    found = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return tuple(sorted(flag for flag in found if flag.startswith(_VECTOR_FLAGS)))


def kind_of(flags: Iterable[str]) -> str | None:
    """Kind of the processors that have these instruction sets.

    Args:
        flags: As :func:`instruction_sets` gives them.

    Returns:
        ``"amx"``, ``"avx512-vnni"``, ``"avx512"``, ``"avx2-vnni"``, ``"avx2"`` or ``"neon"``; None
        for any other.
    """
    known = set(flags)
    return next((kind for kind, flag in _KINDS.items() if flag in known), None)


def _cpuinfo(field: str) -> str:
    """A field of the first processor; empty where there is none, or no Linux."""
    try:
        with Path("/proc/cpuinfo").open() as lines:
            return next((_value(line) for line in lines if line.startswith(field)), "")
    except OSError:
        return ""


def _value(line: str) -> str:
    return line.partition(":")[2].strip()
