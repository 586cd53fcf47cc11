"""Numbers of CPU threads: which are accepted, and those that a whole process shares."""

from __future__ import annotations

import gc
import operator
import os
import threading
import weakref
from collections.abc import Callable

from facemask_zoo.errors import DeviceError

MAX_THREADS = max(256, 4 * (os.cpu_count() or 1))
"""More are refused: frameworks start every thread they are told to, and may never finish."""


def thread_count(threads: object) -> int | None:
    """A number of threads as a plain integer, or None.

    Args:
        threads: An integer of any kind, NumPy's included, from 1 to `MAX_THREADS`; or None.

    Raises:
        DeviceError: It is something else.
    """
    if threads is None:
        return None
    try:
        count = 0 if isinstance(threads, bool) else operator.index(threads)  # type: ignore[arg-type]
    except TypeError:
        count = 0
    if not 1 <= count <= MAX_THREADS:
        raise DeviceError(
            f"threads: expected a positive integer of at most {MAX_THREADS}, but got {threads!r}."
        )
    return count


class ProcessThreads:
    """The number of threads of a framework that has only one for the whole process.

    The first backend that asks for a number chooses it. As long as that backend is alive, another
    number is refused. Backends that ask for none take what there is.

    Args:
        title: The framework, as people call it.
        apply: Sets the framework's number.
    """

    def __init__(self, title: str, apply: Callable[[int], None]) -> None:
        self._title = title
        self._apply = apply
        self._count: int | None = None
        self._holders: weakref.WeakSet[object] = weakref.WeakSet()
        self._lock = threading.Lock()

    def hold(self, holder: object, count: int | None) -> None:
        """Set the number and keep it while `holder` is alive.

        Args:
            holder: The backend that asks.
            count: What it asks for; None does nothing.

        Raises:
            DeviceError: A living backend asked for another number.
        """
        if count is None:
            return
        with self._lock:
            if count != self._count and len(self._holders):
                gc.collect()  # some may be unreachable already
            if count != self._count and len(self._holders):
                raise DeviceError(
                    f"{self._title} has one number of threads for the whole process: asked for "
                    f"{count}, but a loaded detector uses {self._count}."
                )
            self._apply(count)
            self._count = count
            self._holders.add(holder)


def end_threads_at_forks(count: Callable[[], int], apply: Callable[[int], None]) -> None:
    """End a framework's pool of threads before each fork, so that no child waits for them.

    Parent and child start it again when they next compute. To ask for it twice does no harm.

    Args:
        count: Tells the framework's number of threads.
        apply: Sets it, and ends the pool when it is 1.
    """
    if not hasattr(os, "register_at_fork"):
        return
    before: list[int] = []

    def end() -> None:
        before.append(count())
        apply(1)

    def restore() -> None:
        apply(before.pop())

    os.register_at_fork(before=end, after_in_parent=restore, after_in_child=restore)
