"""The recorded configuration of a training run: all that is needed to repeat it."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facemask_zoo import architectures
from facemask_zoo.architectures import DetectorNetwork
from facemask_zoo.arguments import check_count, check_integer, check_number, check_numbers
from facemask_zoo.errors import InvalidArgumentError, UnknownNameError
from facemask_zoo.structuring import structure
from facemask_zoo.training.assignment import AssignmentConfig
from facemask_zoo.training.augment import AugmentConfig
from facemask_zoo.training.losses import LossConfig
from facemask_zoo.training.photographs import DataConfig

CONFIGS_FOLDER = Path(__file__).parent / "configs"

_MOST_BASES = 8
_MAX_SEED = 2**63 - 1
_DEFAULT_ARCHITECTURE = "ssd"


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """How long and how fast.

    Attributes:
        steps: Batches in the whole run; the rate is made for so many.
        stop: Batches after which the run ends nevertheless; 0 for none.
        batch_size: Pictures per batch.
        learning_rate: Highest learning rate.
        warmup: Steps of linear warm-up.
        decay: Steps at the end over which the rate falls along a half cosine.
        final: Last learning rate, relative to the highest.
        weight_decay: Of AdamW, for convolution weights alone.
        clip: Largest norm of the gradient.
        ema_decay: Decay of the average of the weights, approached from below.

    Raises:
        InvalidArgumentError: A number is out of range.
    """

    steps: int
    stop: int = 0
    batch_size: int = 32
    learning_rate: float = 3e-3
    warmup: int = 200
    decay: int = 0
    final: float = 0.02
    weight_decay: float = 0.02
    clip: float = 5.0
    ema_decay: float = 0.998

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 1)):
            check_count(name, getattr(self, name), least)
        for name in ("stop", "warmup", "decay"):
            check_count(name, getattr(self, name), 0)
        for name in ("learning_rate", "clip"):
            check_numbers(name, [getattr(self, name)])
        check_number("weight_decay", self.weight_decay, 0)
        for name in ("final", "ema_decay"):
            check_number(name, getattr(self, name), 0, 1)

    @property
    def end(self) -> int:
        """Number of the last step."""
        return min(self.steps, self.stop or self.steps)


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """A training run.

    Attributes:
        name: Name of the model.
        summary: What it is, in a sentence.
        network: What to train; its input is square.
        data: What to train it on.
        schedule: How long and how fast.
        augment: How pictures are varied.
        assignment: Which anchors answer for a face.
        loss: What is minimised.
        partial_class: The class that faces of pictures without ``three_class`` may also have;
            empty for none.
        start: What to start from: a model of the zoo or a weights file, or the checkpoint (.pt) of
            an earlier run, of which optimiser and average go on too; empty for random weights.
        score_shift: Added to every score before the sigmoid when weights are written. It changes no
            order; chosen on training pictures, it makes 0.5 the recommended threshold.
        seed: Seed of everything random.
        architecture: Name of the network's architecture.

    Raises:
        InvalidArgumentError: The network cannot be trained: its input is not square; or the seed is
            negative.
    """

    name: str
    summary: str
    network: DetectorNetwork
    data: DataConfig
    schedule: ScheduleConfig
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    assignment: AssignmentConfig = dataclasses.field(default_factory=AssignmentConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    partial_class: str = ""
    start: str = ""
    score_shift: float = 0.0
    seed: int = 0
    architecture: str = _DEFAULT_ARCHITECTURE

    def __post_init__(self) -> None:
        check_integer("seed", self.seed, 0, _MAX_SEED)
        if not isinstance(self.network.input_size, int):
            raise InvalidArgumentError(
                f"network: expected a square input, but got {self.network.input_size}."
            )
        object.__setattr__(self, "architecture", architectures.name_of(self.network))

    @property
    def input_size(self) -> int:
        """Side of the pictures to train on, in pixels."""
        assert isinstance(self.network.input_size, int)
        return self.network.input_size

    @property
    def partial_index(self) -> int | None:
        """Index of the partial class."""
        if not self.partial_class:
            return None
        if self.partial_class not in self.network.classes:
            raise UnknownNameError.among("class", self.partial_class, self.network.classes)
        return self.network.classes.index(self.partial_class)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Read what :meth:`to_dict` wrote, or a TOML table of the same form.

        Raises:
            InvalidArgumentError: A field is unknown, missing or of the wrong type.
        """
        if not isinstance(values, Mapping) or "network" not in values:
            return structure(values, cls, "configuration")
        kind = values.get("architecture", _DEFAULT_ARCHITECTURE)
        network = architectures.from_dict(kind, values["network"])
        others = {name: value for name, value in values.items() if name != "network"}
        return structure(others, cls, "configuration", network=network)


def find_config(name: str) -> Path:
    """The file of a configuration.

    Args:
        name: Name of a recorded configuration, or a path.

    Raises:
        UnknownNameError: It is neither.
    """
    recorded = CONFIGS_FOLDER / f"{name}.toml"
    if os.path.isfile(recorded):
        return recorded
    if not os.path.isfile(name):
        known = sorted(path.stem for path in CONFIGS_FOLDER.glob("*.toml"))
        raise UnknownNameError.among("configuration", name, known)
    return Path(name)


def read_config(path: str | Path) -> TrainingConfig:
    """Read a configuration from a ``.toml`` or ``.json`` file.

    A file may name another configuration as its ``base`` and then holds what differs: tables are
    merged, everything else is replaced.

    Raises:
        InvalidArgumentError: The file cannot be read or is not a configuration.
        UnknownNameError: There is no such base.
    """
    return TrainingConfig.from_dict(read_values(path))


def read_values(path: str | Path) -> Any:
    """The values of a configuration of any kind, its bases merged in.

    Raises:
        InvalidArgumentError: The file cannot be read.
        UnknownNameError: There is no such base.
    """
    return _read_values(Path(path))


def _read_values(path: Path, depth: int = 0) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(f"{path}: not a readable configuration: {error}") from error
    base = values.pop("base", "") if isinstance(values, dict) else ""
    if not base:
        return values
    if not isinstance(base, str) or depth == _MOST_BASES:
        raise InvalidArgumentError(f"{path}: not a base for a configuration: {base!r}")
    return _merged(_read_values(find_config(base), depth + 1), values)


def _merged(base: Any, changes: Any) -> Any:
    if not isinstance(base, Mapping) or not isinstance(changes, Mapping):
        return changes
    return {**base} | {key: _merged(base.get(key), value) for key, value in changes.items()}
