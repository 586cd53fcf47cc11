"""Checkpoints that a kill or a full disk cannot spoil."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from facemask_zoo.errors import WeightsError
from facemask_zoo.files import atomic_path

SUFFIX = ".pt"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint in place of the previous one, which stays until the new one is complete.

    Args:
        path: Where to.
        state: Tensors, numbers, strings and containers of them.

    Raises:
        OSError: The disk is full or not writable; the previous checkpoint is untouched.
    """
    with atomic_path(path, overwrite=True) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without executing anything in it.

    Raises:
        WeightsError: It is damaged or not a checkpoint.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: not a readable checkpoint: {error}") from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path}: expected a checkpoint, but got {type(state).__name__}.")
    return state
