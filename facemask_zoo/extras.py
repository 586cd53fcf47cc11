"""Optional packages, imported when they are used; what is missing names the extra that has it."""

from __future__ import annotations

import importlib
from typing import Any

from facemask_zoo.errors import FrameworkNotInstalledError


def require(module: str, extra: str) -> Any:
    """Import a module of an optional package, or one of this package that needs some.

    Args:
        module: Its import name, for example ``"faster_coco_eval"``.
        extra: The extra of this package that installs what it needs.

    Raises:
        FrameworkNotInstalledError: It, or a package that it imports, is missing or does not import.
    """
    try:
        return importlib.import_module(module)
    except FrameworkNotInstalledError:
        raise
    except ImportError as error:
        name = (error.name or module).partition(".")[0]
        raise FrameworkNotInstalledError(
            f"This needs {name!r}, which cannot be imported ({error}). "
            f"Run: pip install 'facemask-zoo[{extra}]'"
        ) from error
