"""Descent: learning rate, optimiser and the running average of the weights."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from facemask_zoo.training.config import ScheduleConfig
from facemask_zoo.training.model import Trainable


def learning_rate(step: int, config: ScheduleConfig) -> float:
    """The learning rate of one step: linear warm-up, constant, then half a cosine.

    Args:
        step: Number of the step, from 0.
        config: The schedule.
    """
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup))
    late = step - (config.steps - config.decay)
    if late <= 0 or not config.decay:
        return rate
    falling = (1 + math.cos(math.pi * late / config.decay)) / 2
    return rate * (config.final + (1 - config.final) * falling)


def make_optimiser(model: nn.Module, config: ScheduleConfig) -> torch.optim.Optimizer:
    """AdamW that decays the weights of convolutions, but neither biases nor normalisation."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99))


class Average:
    """Exponential moving average of a model's weights and statistics.

    Args:
        model: What to average; it is copied.
        decay: Weight of the past. It is approached from below, so that the random start is
            forgotten quickly.
    """

    def __init__(self, model: Trainable, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: Trainable) -> None:
        """Move the average towards the model."""
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        current = model.state_dict()
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                value.lerp_(current[name], 1 - decay)
            else:
                value.copy_(current[name])


class Descent:
    """A model on its way down: what a run needs to go on as if nothing had happened.

    Args:
        model: What to train.
        schedule: How long and how fast.

    Attributes:
        average: The running average of the model's weights.
        step: Number of steps done.
    """

    def __init__(self, model: Trainable, schedule: ScheduleConfig) -> None:
        self.average = Average(model, schedule.ema_decay)
        self.step = 0
        self._model = model
        self._schedule = schedule
        self._optimiser = make_optimiser(model, schedule)

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return float(self._optimiser.param_groups[0]["lr"])

    def take(self, loss: torch.Tensor) -> None:
        """One step against the gradient of a loss."""
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self._schedule)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), self._schedule.clip)
        self._optimiser.step()
        self.average.update(self._model)
        self.step += 1

    def state(self) -> dict[str, Any]:
        """Tensors and numbers for a checkpoint."""
        return {
            "step": self.step,
            "model": self._model.state_dict(),
            "average": self.average.model.state_dict(),
            "average_updates": self.average.updates,
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self._model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.average.updates = state["average_updates"]
        self._optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]


class Descending:
    """What a trainer tells of its descent."""

    _descent: Descent

    @property
    def average(self) -> Average:
        """The running average of the weights, which is what is exported."""
        return self._descent.average

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return self._descent.rate

    @property
    def step(self) -> int:
        """Number of steps done."""
        return self._descent.step
