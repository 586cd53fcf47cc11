"""The training loop."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from facemask_zoo.arguments import check_count
from facemask_zoo.cards import ModelCard
from facemask_zoo.errors import DeviceError, FaceMaskZooError, InvalidArgumentError, OutputError
from facemask_zoo.files import check_place, write_json
from facemask_zoo.model import Model
from facemask_zoo.model_files import write
from facemask_zoo.ssd import anchors
from facemask_zoo.store import open_weights
from facemask_zoo.tasks.preprocessing import LETTERBOX, SQUEEZE, Preprocessing
from facemask_zoo.training.assignment import assign
from facemask_zoo.training.checkpoint import SUFFIX, load_checkpoint, save_checkpoint
from facemask_zoo.training.config import TrainingConfig, read_values
from facemask_zoo.training.data import Batch, Batches, as_input, iterate
from facemask_zoo.training.landmark_config import LandmarkTrainingConfig
from facemask_zoo.training.losses import Losses, decode, detection_loss
from facemask_zoo.training.model import Trainable, make_trainable
from facemask_zoo.training.optimise import Descending, Descent
from facemask_zoo.training.photographs import Photograph, fingerprint
from facemask_zoo.training.record import LOG_NAME, Record

logger = logging.getLogger(__name__)

CHECKPOINT_NAME = f"checkpoint{SUFFIX}"
WEIGHTS_NAME = "weights.safetensors"
CONFIG_NAME = "config.json"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

_CALIBRATION_BATCHES = 4
_OUTPUT_NAMES = (CONFIG_NAME, CHECKPOINT_NAME, WEIGHTS_NAME, LOG_NAME)


class Trainer(Descending):
    """Trains one network; everything it writes lies in one folder.

    Args:
        config: What to do.
        photographs: What to train on.
        folder: Where checkpoint, log and weights go.
        device: ``"cpu"`` or ``"cuda"``.
        precision: ``"bf16"`` (autocast) or ``"fp32"``.
        workers: Processes that prepare batches.
        overwrite: Begin anew, whatever the folder holds, and replace the files of the same names.

    Attributes:
        model: The network as it is trained.

    Raises:
        OutputError: The folder holds files that this run would replace and could not go on from.
        DeviceError: The device is not there.
        InvalidArgumentError: The number of workers is negative.
        WeightsError: What to start from is damaged or does not fit.
    """

    def __init__(
        self,
        config: TrainingConfig,
        photographs: Sequence[Photograph],
        folder: Path,
        *,
        device: str = "cpu",
        precision: str = "bf16",
        workers: int = 1,
        overwrite: bool = False,
    ) -> None:
        check_count("workers", workers, 0)
        check_place(folder)
        if not overwrite:
            check_folder(folder)
        self.config = config
        self.folder = folder
        self._device = open_device(device)
        self._dtype = PRECISIONS[precision]
        self._workers = workers
        self._overwrite = overwrite
        self._fingerprint = fingerprint(photographs)
        self._anchors, self._cells = self._make_anchors()
        self._batches = Batches(
            photographs,
            config.input_size,
            config.schedule.batch_size,
            config.augment,
            config.seed,
            config.schedule.end,
        )
        torch.manual_seed(config.seed)
        self.model = self._make_model()
        self._descent = Descent(self.model, config.schedule)
        if config.start.endswith(SUFFIX):
            self.restore({**load_checkpoint(Path(config.start)), "step": 0})

    def run(self, log_every: int = 20, save_every: int = 100, *, tensorboard: bool = False) -> None:
        """Train to the end, from the checkpoint in the folder if there is one.

        Args:
            log_every: Steps between rows of the log.
            save_every: Steps between checkpoints.
            tensorboard: Write the losses for TensorBoard, too.

        Raises:
            InvalidArgumentError: The checkpoint is of another configuration or of other data.
            WeightsError: The checkpoint is damaged, or training has diverged.
        """
        if self._overwrite:
            self.save()  # first of all, lest a later call go on from what was there
        elif (self.folder / CHECKPOINT_NAME).exists():
            state = load_checkpoint(self.folder / CHECKPOINT_NAME)
            if state.get("data", self._fingerprint) != self._fingerprint:
                raise InvalidArgumentError(
                    f"{self.folder} holds a run on other pictures or labels."
                )
            self.restore(state)
            logger.info("Going on from step %d of %s.", self.step, self.folder)
        record_config(self.folder, self.config, goes_on=bool(self.step))
        steps = self.config.schedule.end
        with Record(self.folder, self.step, tensorboard=tensorboard) as record:
            for losses in self._steps():
                record.add(losses)
                if self.step % log_every == 0 or self.step == steps:
                    record.write(self.step, self.rate)
                if self.step % save_every == 0 or self.step == steps:
                    self.save()

    def train_step(self, batch: Batch) -> Losses:
        """One step of gradient descent.

        Args:
            batch: What to learn from.

        Returns:
            The losses before the step, detached.
        """
        self.model.train()
        losses = self.losses(batch)
        self._descent.take(losses.total)
        return losses.detach()

    def losses(self, batch: Batch) -> Losses:
        """The losses of a batch under the current weights."""
        config = self.config
        faces = batch.faces.to(self._device)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            loc, logits = self.model(self._input(batch))
        logits = logits.float()
        boxes = decode(loc.float(), self._anchors, config.network.variances)
        assignment = assign(
            logits.detach().sigmoid(),
            boxes.detach(),
            faces,
            self._anchors,
            self._cells,
            config.assignment,
        )
        return detection_loss(logits, boxes, faces, assignment, config.loss, config.partial_index)

    def trained(self) -> Model:
        """The averaged weights as a model that every framework can run."""
        config = self.config
        card = ModelCard(
            config.name,
            config.summary,
            config.network,
            nms="blended",
            preprocessing=Preprocessing(fit=LETTERBOX if config.augment.keep_aspect else SQUEEZE),
        )
        return Model(card, self.average.model.export(self.config.score_shift))

    def save(self) -> None:
        """Write the checkpoint and the averaged weights in canonical form."""
        if not (self.folder / CONFIG_NAME).exists():
            record_config(self.folder, self.config, goes_on=bool(self.step))
        save_checkpoint(self.folder / CHECKPOINT_NAME, self.state())
        write(self.trained(), self.folder / WEIGHTS_NAME, "safetensors", overwrite=True)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on as if nothing had happened."""
        return {
            **self._descent.state(),
            "random": torch.get_rng_state(),
            "data": self._fingerprint,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self._descent.restore(state)
        torch.set_rng_state(state["random"])

    def _steps(self) -> Iterator[Losses]:
        total = self.config.schedule.end
        batches = iterate(self._batches, self.step, self._workers)
        for batch in tqdm(batches, total=total, initial=self.step, unit="step"):
            yield self.train_step(batch)

    def _make_model(self) -> Trainable:
        start = self.config.start
        model = make_trainable(self.config.network)
        if start and not start.endswith(SUFFIX):
            source = open_weights(start).model()
            model.start_from(source.tensors, source.card.classes)
        model.to(self._device, memory_format=torch.channels_last)
        if start and not start.endswith(SUFFIX):
            batches = itertools.islice(iterate(self._batches, 0, 0), _CALIBRATION_BATCHES)
            model.calibrate(self._input(batch).float() for batch in batches)
        return model

    def _make_anchors(self) -> tuple[Tensor, Tensor]:
        network = self.config.network
        boxes = torch.from_numpy(anchors(network).copy()).float()
        counts = torch.tensor([grid.anchor_count for grid in network.grids])
        rows = torch.tensor([grid.rows for grid in network.grids])
        sides = (1 / rows).repeat_interleave(counts)
        return boxes.to(self._device), sides.to(self._device)

    def _input(self, batch: Batch) -> Tensor:
        return as_input(batch.pictures, self._dtype, self._device)


def record_config(
    folder: Path, config: TrainingConfig | LandmarkTrainingConfig, *, goes_on: bool
) -> None:
    """Record a configuration; a run goes on under its own alone, or it could not be repeated.

    The schedule may change: its steps before the decay are the same for every length.

    Args:
        folder: Of the run.
        config: What it goes by.
        goes_on: Whether it goes on from a checkpoint.

    Raises:
        InvalidArgumentError: What it goes on from was of another configuration.
    """
    target = folder / CONFIG_NAME
    if goes_on and target.exists():
        # As it is read, since fields that came later are not in older files.
        recorded = type(config).from_dict(read_values(target))
        if dataclasses.replace(recorded, schedule=config.schedule) != config:
            raise InvalidArgumentError(f"{folder} holds a run of another configuration.")
    write_json(target, config.to_dict(), overwrite=True)


def check_folder(folder: Path, read: Callable[[Any], Any] = TrainingConfig.from_dict) -> None:
    """Make sure that a folder is empty of what a run writes, or holds a run to go on with.

    Args:
        folder: Where a run is to go.
        read: Makes a configuration of the recorded values.

    Raises:
        OutputError: It is neither.
    """
    there = [name for name in _OUTPUT_NAMES if os.path.lexists(folder / name)]
    if not there:
        return
    problem = ""
    try:
        read(read_values(folder / CONFIG_NAME))
    except (FaceMaskZooError, AttributeError, LookupError, TypeError, ValueError) as error:
        problem = f"but is not the folder of a run ({error})"
    else:
        if WEIGHTS_NAME in there and CHECKPOINT_NAME not in there:
            problem = f"but no {CHECKPOINT_NAME} to go on from"
    if problem:
        raise OutputError(
            f"{folder} holds {', '.join(there)}, {problem}. "
            "Name another folder, or ask to overwrite."
        )


def open_device(name: str) -> torch.device:
    """A device by name.

    Raises:
        DeviceError: It cannot be used.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"The device {name!r} cannot be used: {error}") from error
    return device
