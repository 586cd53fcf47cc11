"""Packages that only evaluation needs, imported when they are used."""

from __future__ import annotations

import importlib
from typing import Any

from facemask_zoo.errors import FrameworkNotInstalledError


def require(module: str) -> Any:
    """Import a package of the extra ``evaluation``.

    Args:
        module: Its import name, for example ``"faster_coco_eval"``.

    Raises:
        FrameworkNotInstalledError: It is not installed or does not import.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FrameworkNotInstalledError(
            f"This needs {module.partition('.')[0]}, which cannot be imported ({error}). "
            "Run: pip install 'facemask-zoo[evaluation]'"
        ) from error
