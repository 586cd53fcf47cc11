"""What a test needs beyond the package itself.

Where it is missing the test is skipped, unless all of it is required: a run that claims to have
tested every framework must not pass over one in silence.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import NoReturn

import pytest

from facemask_zoo.backends import find_framework
from facemask_zoo.errors import FrameworkNotInstalledError

OPTION = "--require-frameworks"

_required = False


def require_all(required: bool) -> None:
    """Fail where something is missing, instead of skipping."""
    global _required
    _required = required


def module(name: str) -> ModuleType:
    """A module of another package, imported."""
    package(name.partition(".")[0])
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing(f"{name} does not import: {error}")


def package(name: str) -> None:
    """Another package, not imported: for programs that run in a process of their own."""
    if importlib.util.find_spec(name) is None:
        missing(f"{name} is not installed")


def framework(name: str) -> ModuleType:
    """The module of a framework's backend, imported and the framework with it."""
    try:
        return importlib.import_module(find_framework(name).backend().__module__)
    except FrameworkNotInstalledError as error:
        missing(str(error))


def missing(what: str) -> NoReturn:
    """Skip or fail, whichever the run was started for."""
    if _required:
        pytest.fail(f"{what} ({OPTION} was given)", pytrace=False)
    pytest.skip(what, allow_module_level=True)
