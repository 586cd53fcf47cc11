"""A run's losses: as CSV and, where it is wanted, for TensorBoard."""

from __future__ import annotations

import csv
import importlib
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from facemask_zoo.errors import FrameworkNotInstalledError
from facemask_zoo.training.losses import Losses

LOG_NAME = "log.csv"
FIELDS = ("step", "learning_rate", "scores", "boxes", "total", "seconds")


class Record:
    """Collects losses and writes their means.

    Args:
        folder: Where ``log.csv`` goes; rows after `step`, of a run that was cut off, are dropped.
        step: Number of steps done.
        tensorboard: Also write event files for TensorBoard.

    Raises:
        FrameworkNotInstalledError: TensorBoard is wanted, but not installed.
    """

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / LOG_NAME
        self._rows: list[Losses] = []
        self._begin = time.monotonic()
        self._board = _open_board(folder) if tensorboard else None
        rows = [row for row in read_log(self._path) if row["step"] <= step] if step else []
        with self._path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows)
        self._earlier = rows[-1]["seconds"] if rows else 0.0

    def add(self, losses: Losses) -> None:
        """Remember the losses of one step."""
        self._rows.append(losses)

    def write(self, step: int, rate: float) -> None:
        """Write the means since the last time.

        Args:
            step: Number of steps done.
            rate: The learning rate.
        """
        scores = float(torch.stack([row.scores for row in self._rows]).mean())
        boxes = float(torch.stack([row.boxes for row in self._rows]).mean())
        self._rows.clear()
        seconds = self._earlier + time.monotonic() - self._begin
        values = (step, rate, scores, boxes, scores + boxes, seconds)
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([f"{value:.6g}" for value in values])
        if self._board:
            for name, value in zip(FIELDS[1:5], values[1:5], strict=True):
                self._board.add_scalar(name, value, step)

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._board:
            self._board.close()


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of a ``log.csv``; none if it does not exist."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(row[name]) for name in FIELDS} for row in csv.DictReader(file)]


def _open_board(folder: Path) -> Any:
    try:
        module = importlib.import_module("torch.utils.tensorboard")
    except ImportError as error:
        raise FrameworkNotInstalledError(
            f"TensorBoard is not installed ({error}). Run: pip install tensorboard"
        ) from error
    return module.SummaryWriter(str(folder))
