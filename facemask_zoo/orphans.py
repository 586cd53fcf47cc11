"""Processes that end when the one that started them does."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """From now on, end this process as soon as its parent is gone, even if that was killed.

    To be called in a process that :mod:`multiprocessing` started; elsewhere it does nothing.
    Without it, a worker whose parent was killed waits for its next task for ever.
    """
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
