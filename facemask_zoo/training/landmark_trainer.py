"""The training of a landmark network."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from facemask_zoo.cards import LANDMARKS, ModelCard
from facemask_zoo.datasets.face_crops import FaceCrops
from facemask_zoo.datasets.landmarks import eye_distance
from facemask_zoo.errors import DatasetError, InvalidArgumentError
from facemask_zoo.model import Model
from facemask_zoo.model_files import write
from facemask_zoo.training.checkpoint import load_checkpoint, save_checkpoint
from facemask_zoo.training.landmark_batches import FaceBatch, FaceBatches
from facemask_zoo.training.landmark_config import LandmarkLossConfig, LandmarkTrainingConfig
from facemask_zoo.training.model import TrainableGraph
from facemask_zoo.training.optimise import Descending, Descent
from facemask_zoo.training.trainer import (
    CHECKPOINT_NAME,
    PRECISIONS,
    WEIGHTS_NAME,
    check_folder,
    open_device,
    record_config,
)

logger = logging.getLogger(__name__)

LOG_NAME = "landmarks.csv"
FIELDS = ("step", "learning_rate", "loss", "bare", "masked", "degrees", "seconds")


@dataclasses.dataclass(frozen=True)
class Errors:
    """Mean errors on faces that are held out.

    Attributes:
        bare: Distance of the points, in distances of the eyes.
        masked: The same on masked copies.
        degrees: Mean absolute error of the angles, on bare faces.
    """

    bare: float
    masked: float
    degrees: float


class LandmarkTrainer(Descending):
    """Trains one landmark network; everything it writes lies in one folder.

    Args:
        config: What to do.
        crops: What to learn from.
        folder: Where checkpoint, log and weights go.
        device: ``"cpu"`` or ``"cuda"``.
        precision: ``"bf16"`` (autocast) or ``"fp32"``.
        overwrite: Begin anew, whatever the folder holds, and replace the files of the same names.

    Attributes:
        model: The network as it is trained.

    Raises:
        OutputError: The folder holds files that this run would replace and could not go on from.
        DeviceError: The device is not there.
        DatasetError: No face is left to learn from.
    """

    def __init__(
        self,
        config: LandmarkTrainingConfig,
        crops: FaceCrops,
        folder: Path,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        overwrite: bool = False,
    ) -> None:
        if not overwrite:
            check_folder(folder, LandmarkTrainingConfig.from_dict)
        self.config = config
        self.folder = folder
        self._overwrite = overwrite
        self._device = open_device(device)
        self._dtype = PRECISIONS[precision]
        self._fingerprint = hashlib.sha256(crops.points.tobytes()).hexdigest()
        held_out = choose_groups(crops, config.data.held_out)
        if held_out.all():
            raise DatasetError("All faces are held out: none is left to learn from.")
        self._batches = self._draw(crops[~held_out])
        self._held_out = self._draw(crops[held_out])
        torch.manual_seed(config.seed)
        self.model = TrainableGraph(config.network.graph, (), branches=False)
        self._start_at_the_mean()
        self.model.to(self._device, memory_format=torch.channels_last)
        self._descent = Descent(self.model, config.schedule)

    def run(self, log_every: int = 100) -> None:
        """Train to the end, from the checkpoint in the folder if there is one.

        Args:
            log_every: Steps between checkpoints and rows of the log.

        Raises:
            InvalidArgumentError: The checkpoint is of other data or another configuration.
            WeightsError: The checkpoint is damaged, or training has diverged.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        checkpoint = self.folder / CHECKPOINT_NAME
        if checkpoint.exists() and not self._overwrite:
            self._go_on(load_checkpoint(checkpoint))
        else:
            if self._overwrite:
                self.save()  # first of all, lest a later call go on from what was there
            record_config(self.folder, self.config, goes_on=False)
            (self.folder / LOG_NAME).write_text(",".join(FIELDS) + "\n")
        steps, start, losses = self.config.schedule.end, time.monotonic(), []
        for step in tqdm(range(self.step, steps), initial=self.step, total=steps, unit="step"):
            losses.append(self.train_step(self._batches[step]))
            if self.step % log_every == 0 or self.step == steps:
                self._log(float(np.mean(losses)), time.monotonic() - start)
                losses.clear()
                self.save()

    def train_step(self, batch: FaceBatch) -> float:
        """One step of gradient descent.

        Returns:
            The loss before the step.
        """
        self.model.train()
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            points, pose = self.model(self._input(batch))
        loss = landmark_loss(points.float().cpu(), pose.float().cpu(), batch, self.config.loss)
        self._descent.take(loss)
        return float(loss.detach())

    @torch.no_grad()
    def errors(self) -> Errors:
        """Errors of the averaged weights on the faces that are held out; NaN if there are none."""
        found: dict[bool, tuple[float, float]] = {}
        for masked in (False, True):
            distances, degrees = [torch.empty(0)], [torch.empty(0, 3)]
            for batch in self._held_out.plain(masked):
                points, pose = self.average.model(self._input(batch))
                distances.append(_distances(points.cpu(), batch.points))
                degrees.append(torch.rad2deg((pose.cpu() - batch.poses).abs()))
            found[masked] = (float(torch.cat(distances).mean()), float(torch.cat(degrees).mean()))
        return Errors(found[False][0], found[True][0], found[False][1])

    def trained(self) -> Model:
        """The averaged weights as a model that every framework can run."""
        config = self.config
        card = ModelCard(config.name, config.summary, config.network, task=LANDMARKS)
        return Model(card, self.average.model.export())

    def save(self) -> None:
        """Write the checkpoint and the averaged weights in canonical form."""
        state = {**self._descent.state(), "data": self._fingerprint}
        save_checkpoint(self.folder / CHECKPOINT_NAME, state)
        write(self.trained(), self.folder / WEIGHTS_NAME, "safetensors", overwrite=True)

    def _go_on(self, state: dict[str, Any]) -> None:
        if state["data"] != self._fingerprint:
            raise InvalidArgumentError(f"{self.folder} holds a run on other faces.")
        record_config(self.folder, self.config, goes_on=True)
        self._descent.restore(state)
        logger.info("Going on from step %d of %s.", self.step, self.folder)

    def _log(self, loss: float, seconds: float) -> None:
        errors = self.errors()
        row = (self.step, self.rate, loss, errors.bare, errors.masked, errors.degrees, seconds)
        with (self.folder / LOG_NAME).open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([f"{value:.6g}" for value in row])

    def _draw(self, crops: FaceCrops) -> FaceBatches:
        config = self.config
        return FaceBatches(
            crops,
            config.network.input_size,
            config.schedule.batch_size,
            config.augment,
            config.data.margin,
            config.seed,
        )

    def _input(self, batch: FaceBatch) -> Tensor:
        return batch.images.to(self._device, memory_format=torch.channels_last)

    @torch.no_grad()
    def _start_at_the_mean(self) -> None:
        """The mean face as the first answer, so that the first steps need not find it."""
        points = torch.cat([batch.points for batch in self._batches.plain(False)]).mean(dim=0)
        head = self.model.get_submodule("points_head")
        assert isinstance(head, torch.nn.Conv2d)
        assert head.bias is not None
        head.bias.copy_(points.reshape(-1))


def landmark_loss(
    points: Tensor, pose: Tensor, batch: FaceBatch, config: LandmarkLossConfig
) -> Tensor:
    """How far points and pose are off: smooth L1, points in distances of the eyes.

    Args:
        points: (N, 68, 2) what the network says.
        pose: (N, 3) likewise, in radians.
        batch: What it should say.
        config: Weights.
    """
    left, right = batch.points[:, 36], batch.points[:, 45]
    eyes = (right - left).norm(dim=1).clamp(min=config.least_eyes)[:, None, None]
    off = functional.smooth_l1_loss(points / eyes, batch.points / eyes, beta=config.knee)
    return off + config.pose * functional.smooth_l1_loss(pose, batch.poses, beta=config.knee)


def choose_groups(crops: FaceCrops, share: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(N,) whether each face is held out: whole groups of pictures, chosen by their name."""
    limit = int(share * 2**32)
    digests = (hashlib.sha256(str(name).encode()).digest() for name in crops.groups)
    return np.array([int.from_bytes(digest[:4], "big") < limit for digest in digests], np.bool_)


def _distances(found: Tensor, expected: Tensor) -> Tensor:
    """(N,) mean distance of the points, in distances of the eyes."""
    apart = (found - expected).norm(dim=2).mean(dim=1)
    return apart / torch.from_numpy(eye_distance(expected.numpy()))
