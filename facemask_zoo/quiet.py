"""Silence for libraries that write notices whatever their settings say.

Standard error and the log belong to the whole process, and so does their silence: it begins with
the first of the blocks that ask for it, in whatever thread, and ends with the last. Use it while a
framework is imported or loads a file, never while a network runs.
"""

from __future__ import annotations

import collections
import contextlib
import importlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

_STDERR = 2


class _ProcessWide:
    """A state of the process that lasts as long as any thread is within `held`.

    Args:
        begin: Brings the state about, and returns what ends it.
    """

    def __init__(self, begin: Callable[[], Callable[[], None]]) -> None:
        self._begin = begin
        self._end: Callable[[], None] | None = None
        self._holders: collections.Counter[int] = collections.Counter()
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._keep_own,
            )

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the state within the block."""
        holder = threading.get_ident()
        with self._lock:
            if self._end is None:
                self._end = self._begin()
            self._holders[holder] += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders[holder] -= 1
                self._end_if_unused()

    def _end_if_unused(self) -> None:
        self._holders = +self._holders  # without those that hold it no more
        if self._end is not None and not self._holders:
            end, self._end = self._end, None
            end()

    def _keep_own(self) -> None:
        """In a forked child the other threads are gone, and would never leave their blocks."""
        own = threading.get_ident()
        self._holders = collections.Counter({own: self._holders[own]})
        try:
            self._end_if_unused()
        finally:
            self._lock.release()


def _redirect_stderr() -> Callable[[], None]:
    try:
        saved = os.dup(_STDERR)
    except OSError:  # the process has no standard error
        return lambda: None

    def restore() -> None:
        os.dup2(saved, _STDERR)
        os.close(saved)

    try:
        with open(os.devnull, "wb") as sink:
            os.dup2(sink.fileno(), _STDERR)
    except OSError:
        os.close(saved)
        raise
    return restore


def _disable_log() -> Callable[[], None]:
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    return lambda: logging.disable(before)


_STDERR_SILENCE = _ProcessWide(_redirect_stderr)
_LOG_SILENCE = _ProcessWide(_disable_log)


def native_stderr_silenced() -> contextlib.AbstractContextManager[None]:
    """Discard what any thread writes to the process's standard error within the block.

    Blocks may overlap and nest; standard error is back after the last. A child that is forked
    meanwhile is silent only if the thread that forks is within a block. Python exceptions pass
    through as ever.
    """
    return _STDERR_SILENCE.held()


def import_tensorflow() -> Any:
    """TensorFlow, imported without its notices; ``TF_CPP_MIN_LOG_LEVEL`` still overrides."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with native_stderr_silenced():
        return importlib.import_module("tensorflow")


def log_silenced() -> contextlib.AbstractContextManager[None]:
    """Keep quantisers from writing advice about their own workings to the log.

    As with :func:`native_stderr_silenced`, blocks may overlap and nest.
    """
    return _LOG_SILENCE.held()
