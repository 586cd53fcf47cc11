"""Training and fine-tuning, on PyTorch: from annotated photographs to weights for every framework.

``read_config`` reads a recorded configuration, ``load_photographs`` its data, and ``Trainer`` does
the rest.
"""

from facemask_zoo.training.config import ScheduleConfig, TrainingConfig, read_config
from facemask_zoo.training.photographs import DataConfig, load_photographs
from facemask_zoo.training.trainer import Trainer

__all__ = [
    "DataConfig",
    "ScheduleConfig",
    "Trainer",
    "TrainingConfig",
    "load_photographs",
    "read_config",
]
