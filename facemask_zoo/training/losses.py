"""What is minimised: classification against quality targets, and generalised IoU of the boxes."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

from facemask_zoo.training.assignment import Assignment, Faces

_TINY = 1e-9


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the parts of the loss.

    Attributes:
        background_weight: Weight of an anchor without a face.
        background_power: The loss of such an anchor is weighted by its score to this power, so
            that the few that look like faces count and the many easy ones do not (focal).
        class_weights: Weight of a face by its class, in the order of the classes; empty for 1.
        box_weight: Weight of the boxes against the scores.
    """

    background_weight: float = 1.0
    background_power: float = 2.0
    class_weights: tuple[float, ...] = ()
    box_weight: float = 2.0


@dataclasses.dataclass(frozen=True)
class Losses:
    """Parts of the loss, each a scalar tensor."""

    scores: Tensor
    boxes: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.scores + self.boxes

    def detach(self) -> Losses:
        """The same values without their gradients."""
        return Losses(self.scores.detach(), self.boxes.detach())


def decode(loc: Tensor, anchors: Tensor, variances: tuple[float, ...]) -> Tensor:
    """:func:`facemask_zoo.ssd.decode` for tensors that carry gradients.

    Args:
        loc: (..., A, 4) raw network output.
        anchors: (A, 4) normalised corners.
        variances: Scales of the four offsets.

    Returns:
        (..., A, 4) normalised corners.
    """
    size = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, 2:] + anchors[:, :2]) / 2
    scaled = loc * loc.new_tensor(variances)
    box_centre = scaled[..., :2] * size + centre
    half = scaled[..., 2:].clamp(max=4).exp() * size / 2
    return torch.cat([box_centre - half, box_centre + half], dim=-1)


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU (Rezatofighi et al. 2019), row by row.

    Args:
        first: (K, 4) corners.
        second: (K, 4) corners.

    Returns:
        (K,) values from -1 (far apart) to 1 (equal).
    """
    low = torch.maximum(first[:, :2], second[:, :2])
    high = torch.minimum(first[:, 2:], second[:, 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    union = sum((box[:, 2:] - box[:, :2]).prod(-1) for box in (first, second)) - intersection
    hull_low = torch.minimum(first[:, :2], second[:, :2])
    hull_high = torch.maximum(first[:, 2:], second[:, 2:])
    hull = (hull_high - hull_low).prod(-1).clamp(min=_TINY)
    return intersection / union.clamp(min=_TINY) - (hull - union) / hull


def detection_loss(
    logits: Tensor,
    boxes: Tensor,
    faces: Faces,
    assignment: Assignment,
    config: LossConfig,
    partial_class: int | None,
) -> Losses:
    """The loss of a batch.

    Args:
        logits: (N, A, C) scores before the sigmoid.
        boxes: (N, A, 4) decoded corners.
        faces: The labelled faces.
        assignment: Which anchor answers for which.
        config: The weights.
        partial_class: Index of the class that faces with partial labels may also have.
    """
    positive = assignment.face >= 0
    owner = assignment.face[positive]
    target = assignment.target[positive]
    class_weight = _class_weights(config, faces.classes)[owner]
    total = (target * class_weight).sum().clamp(min=1.0)
    background = _background_loss(logits, ~positive & ~assignment.ignored, config)
    foreground = _foreground_loss(logits[positive], faces, owner, target, partial_class)
    scores = (background + (foreground * class_weight[:, None]).sum()) / total
    distance = 1 - generalised_iou(boxes[positive], faces.boxes[owner])
    weight = target * class_weight * faces.box_weights[owner]
    return Losses(scores, config.box_weight * (distance * weight).sum() / total)


def _background_loss(logits: Tensor, background: Tensor, config: LossConfig) -> Tensor:
    """The loss of the anchors that the (N, A) mask `background` names."""
    # A factor, not an index: the gradient of an index into nearly all rows is slow.
    weight = logits.detach().sigmoid() ** config.background_power * background[..., None]
    return config.background_weight * (weight * functional.softplus(logits)).sum()


def _foreground_loss(
    logits: Tensor, faces: Faces, owner: Tensor, target: Tensor, partial_class: int | None
) -> Tensor:
    """(K, C) cross-entropy of the anchors with a face; 0 where the label says nothing."""
    classes = functional.one_hot(faces.classes[owner], logits.shape[1]).to(logits.dtype)
    loss = functional.binary_cross_entropy_with_logits(
        logits, classes * target[:, None], reduction="none"
    )
    if partial_class is None:
        return loss
    unknown = torch.zeros_like(classes)
    unknown[:, partial_class] = faces.partial[owner].to(logits.dtype)
    return loss * (1 - unknown)


def _class_weights(config: LossConfig, classes: Tensor) -> Tensor:
    if not config.class_weights:
        return torch.ones_like(classes, dtype=torch.float32)
    return torch.tensor(config.class_weights, device=classes.device)[classes]
