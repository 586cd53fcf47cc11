"""Silence for libraries that write notices whatever their settings say."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
from collections.abc import Iterator
from typing import Any

_STDERR = 2


@contextlib.contextmanager
def native_stderr_silenced() -> Iterator[None]:
    """Discard what is written to the process's standard error within the block.

    Python exceptions pass through as ever.
    """
    try:
        saved = os.dup(_STDERR)
    except OSError:  # the process has no standard error
        yield
        return
    try:
        with open(os.devnull, "wb") as sink:
            os.dup2(sink.fileno(), _STDERR)
        yield
    finally:
        os.dup2(saved, _STDERR)
        os.close(saved)


def import_tensorflow() -> Any:
    """TensorFlow, imported without its notices; ``TF_CPP_MIN_LOG_LEVEL`` still overrides."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with native_stderr_silenced():
        return importlib.import_module("tensorflow")


@contextlib.contextmanager
def log_silenced() -> Iterator[None]:
    """Keep quantisers from writing advice about their own workings to the log."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
