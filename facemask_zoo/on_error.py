"""What to do about one bad source among many."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

from facemask_zoo.errors import FaceMaskZooError, UnknownNameError

OnError = Literal["raise", "skip"] | Callable[[Any, FaceMaskZooError], object]
"""``"raise"``, ``"skip"``, or a function that is called with the source and the error."""

_NAMES = ("raise", "skip")


def check_on_error(on_error: OnError) -> None:
    """Refuse anything that :data:`OnError` does not hold.

    Raises:
        UnknownNameError: It is neither a function nor one of the names.
    """
    if not callable(on_error) and on_error not in _NAMES:
        raise UnknownNameError.among("on_error", on_error, [*_NAMES, "a function"])


@contextlib.contextmanager
def handled(source: object, on_error: OnError) -> Iterator[None]:
    """Run a block that reads `source`; its errors go where `on_error` says.

    Args:
        source: What the function is told.
        on_error: See :data:`OnError`.

    Raises:
        FaceMaskZooError: What the block raises, if `on_error` is ``"raise"``; and whatever the
            function raises.
    """
    try:
        yield
    except FaceMaskZooError as error:
        if on_error == "raise":
            raise
        if callable(on_error):
            on_error(source, error)
