"""Learning rate, optimiser and the running average of the weights."""

from __future__ import annotations

import copy
import math

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
