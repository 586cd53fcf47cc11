"""Memory that this process has used."""

from __future__ import annotations

import sys

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_KILOBYTES_IN = {"darwin": 1 / 1024}


def peak_megabytes() -> float | None:
    """Largest resident memory so far, in MB; None where the system does not say."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak * _KILOBYTES_IN.get(sys.platform, 1) / 1024)
