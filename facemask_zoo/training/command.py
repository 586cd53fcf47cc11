"""``facemask-zoo train``: train from a recorded configuration, or fine-tune on own pictures."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

import torch

from facemask_zoo.backends.threads import thread_count
from facemask_zoo.cards import DEFAULT_MODEL
from facemask_zoo.datasets.face_crops import FaceCrops
from facemask_zoo.datasets.options import add_reading_options, read_labels
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.store import open_weights
from facemask_zoo.tasks.preprocessing import LETTERBOX
from facemask_zoo.training.augment import AugmentConfig
from facemask_zoo.training.config import (
    CONFIGS_FOLDER,
    ScheduleConfig,
    TrainingConfig,
    find_config,
    read_config,
    read_values,
)
from facemask_zoo.training.landmark_config import ARCHITECTURE, LandmarkTrainingConfig
from facemask_zoo.training.landmark_trainer import LandmarkTrainer
from facemask_zoo.training.photographs import DataConfig, load_photographs
from facemask_zoo.training.trainer import PRECISIONS, WEIGHTS_NAME, Trainer

logger = logging.getLogger(__name__)

_FOR_DETECTORS = ("start", "images", "label", "negatives", "classes", "tensorboard")
_FINE_TUNING_STEPS = 1000
_FINE_TUNING_RATE = 5e-4
_SYNTHETIC = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    recorded = ", ".join(sorted(path.stem for path in CONFIGS_FOLDER.glob("*.toml")))
    parser.add_argument(
        "--config", help=f"TOML or JSON file, or a recorded configuration: {recorded}"
    )
    parser.add_argument(
        "--start", help=f"what to fine-tune: model, weights or checkpoint ({DEFAULT_MODEL})"
    )
    parser.add_argument(
        "--data",
        help="annotations: COCO file, VOC or YOLO folder, CSV file; for a landmark network, crops",
    )
    parser.add_argument("--images", default="", help="folder of the pictures (beside --data)")
    add_reading_options(parser)
    parser.add_argument("--negatives", default="", help="folder of pictures without faces")
    parser.add_argument(
        "--masked", default="", metavar="FILE", help="annotations.json of `facemask-zoo mask`"
    )
    share_help = f"of the views, that show --masked ({_SYNTHETIC})"
    parser.add_argument("--synthetic", type=float, metavar="SHARE", help=share_help)
    parser.add_argument("--classes", nargs="+", help="labels to tell apart (those of --start)")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the run; one cut off goes on"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="begin anew and replace what is in --output"
    )
    _add_schedule(parser)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="(bf16; of landmark networks, fp32)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that draw pictures")
    parser.add_argument("--threads", type=int, help="CPU threads (PyTorch's choice)")
    parser.add_argument("--tensorboard", action="store_true", help="also log for TensorBoard")


def run(args: argparse.Namespace) -> int:
    """Train as the options say.

    Returns:
        Exit status 0.

    Raises:
        FaceMaskZooError: An option, the data or a file is not usable.
    """
    threads = thread_count(args.threads)
    if threads:
        torch.set_num_threads(threads)
    values = read_values(find_config(args.config)) if args.config else None
    if isinstance(values, dict) and values.get("architecture") == ARCHITECTURE:
        return _run_landmarks(args, LandmarkTrainingConfig.from_dict(values))
    config = make_config(args)
    photographs = load_photographs(config.data, config.network.classes)
    trainer = Trainer(
        config,
        photographs,
        args.output,
        device=args.device,
        precision=args.precision or "bf16",
        workers=args.workers,
        overwrite=args.overwrite,
    )
    trainer.run(tensorboard=args.tensorboard)
    logger.info("Trained: %s", args.output / WEIGHTS_NAME)
    return 0


def _run_landmarks(args: argparse.Namespace, config: LandmarkTrainingConfig) -> int:
    """Train a landmark network, whose data are crops."""
    for option in _FOR_DETECTORS:
        if getattr(args, option):
            raise InvalidArgumentError(f"--{option}: not for a landmark network.")
    if args.data:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, file=args.data))
    if args.seed is not None:
        config = dataclasses.replace(config, seed=args.seed)
    config = dataclasses.replace(config, schedule=_schedule(args, config.schedule))
    trainer = LandmarkTrainer(
        config,
        FaceCrops.load(Path(config.data.file)),
        args.output,
        device=args.device,
        precision=args.precision or "fp32",
        overwrite=args.overwrite,
    )
    trainer.run()
    logger.info("Trained: %s", args.output / WEIGHTS_NAME)
    return 0


def make_config(args: argparse.Namespace) -> TrainingConfig:
    """The configuration that the options describe.

    Raises:
        InvalidArgumentError: Neither a configuration nor data are given, or an option is wrong.
    """
    if args.config:
        config = read_config(find_config(args.config))
        config = dataclasses.replace(config, start=args.start or config.start)
        if args.data:
            config = dataclasses.replace(config, data=_data(args))
    else:
        config = _fine_tuning(args)
    config = dataclasses.replace(config, data=_with_drawn_masks(args, config.data))
    if args.seed is not None:
        config = dataclasses.replace(config, seed=args.seed)
    return dataclasses.replace(config, schedule=_schedule(args, config.schedule))


def _add_schedule(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, help=f"batches ({_FINE_TUNING_STEPS} to fine-tune)")
    parser.add_argument("--batch-size", type=int, help="pictures per batch")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int)


def _fine_tuning(args: argparse.Namespace) -> TrainingConfig:
    if not args.data:
        raise InvalidArgumentError("Expected --config, or --data to fine-tune on.")
    start = args.start or DEFAULT_MODEL
    card = open_weights(start).card
    network = card.detector
    network = dataclasses.replace(network, classes=tuple(args.classes or network.classes))
    return TrainingConfig(
        name=args.output.name,
        summary=f"{Path(start).stem}, fine-tuned.",
        network=network,
        data=_data(args),
        schedule=ScheduleConfig(steps=_FINE_TUNING_STEPS, learning_rate=_FINE_TUNING_RATE),
        augment=AugmentConfig(keep_aspect=card.preprocessing.fit == LETTERBOX),
        partial_class="incorrect" if "incorrect" in network.classes else "",
        start=start,
    )


def _with_drawn_masks(args: argparse.Namespace, data: DataConfig) -> DataConfig:
    masked = args.masked or data.masked
    share = args.synthetic
    if share is None:
        share = data.synthetic or (_SYNTHETIC if args.masked else 0.0)
    return dataclasses.replace(data, masked=masked, synthetic=share)


def _data(args: argparse.Namespace) -> DataConfig:
    return DataConfig(
        annotations=args.data,
        images=args.images,
        format=args.format,
        labels=read_labels(args.label),
        negatives=args.negatives,
    )


def _schedule(args: argparse.Namespace, schedule: ScheduleConfig) -> ScheduleConfig:
    """The schedule with what the options change; the decay keeps its share of the steps."""
    steps = schedule.steps if args.steps is None else args.steps
    batch_size = schedule.batch_size if args.batch_size is None else args.batch_size
    rate = schedule.learning_rate if args.learning_rate is None else args.learning_rate
    share = schedule.decay / schedule.steps if args.config else 0.5
    return dataclasses.replace(
        schedule,
        steps=steps,
        stop=schedule.stop if args.steps is None else 0,
        warmup=min(schedule.warmup, steps // 10),
        decay=round(steps * share),
        batch_size=batch_size,
        learning_rate=rate,
    )
