"""Packages that only evaluation needs, imported when they are used."""

from __future__ import annotations

from typing import Any

from facemask_zoo import extras


def require(module: str) -> Any:
    """Import a package of the extra ``evaluation``.

    Args:
        module: Its import name, for example ``"faster_coco_eval"``.

    Raises:
        FrameworkNotInstalledError: It is not installed or does not import.
    """
    return extras.require(module, "evaluation")
