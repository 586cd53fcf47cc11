"""Which anchor answers for which face: decided at every step from what the network predicts."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

_TINY = 1e-9


@dataclasses.dataclass(frozen=True)
class Faces:
    """The faces of a batch, all pictures in one list.

    Attributes:
        boxes: (M, 4) normalised corners.
        classes: (M,) class ids.
        pictures: (M,) index of the picture in the batch.
        ignored: (M,) true where the face neither has to be found nor counts as background.
        box_weights: (M,) how far the box is to be trusted, 0..1.
        partial: (M,) true where only two classes were told apart, so that the face may as well be
            an `incorrect` one.
    """

    boxes: Tensor
    classes: Tensor
    pictures: Tensor
    ignored: Tensor
    box_weights: Tensor
    partial: Tensor

    def where(self, mask: Tensor) -> Faces:
        """The faces for which the (M,) `mask` is true."""
        return Faces(*(getattr(self, f.name)[mask] for f in dataclasses.fields(self)))

    def to(self, device: torch.device) -> Faces:
        """The same faces on another device."""
        return Faces(*(getattr(self, f.name).to(device) for f in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class AssignmentConfig:
    """Rules of the assignment.

    Attributes:
        candidates: Anchors that may answer for one face.
        score_power: Exponent of the score in the alignment of an anchor with a face.
        overlap_power: Exponent of the overlap in it.
        size_factor: Anchors larger or smaller than the face by more than this, in width or
            height, never answer for it.
        reach: Anchors may lie this far from the face's centre, in cells, however small the face.
        full_overlap: Overlap from which on a box counts as perfect (target score 1).
    """

    candidates: int = 7
    score_power: float = 0.5
    overlap_power: float = 4.0
    size_factor: float = 3.0
    reach: float = 0.8
    full_overlap: float = 0.8


@dataclasses.dataclass(frozen=True)
class Assignment:
    """What every anchor of a batch is to answer.

    Attributes:
        face: (N, A) index into the faces, -1 for background.
        target: (N, A) score to reach for the class of the face, 0 for background.
        ignored: (N, A) true where the anchor must not count as background.
    """

    face: Tensor
    target: Tensor
    ignored: Tensor


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes that broadcast against each other.

    Args:
        first: (..., 4) corners.
        second: (..., 4) corners.

    Returns:
        (...) overlaps; 0 where both boxes are empty.
    """
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    union = _area(first) + _area(second) - intersection
    return intersection / union.clamp(min=_TINY)


@torch.no_grad()
def assign(
    scores: Tensor,
    boxes: Tensor,
    faces: Faces,
    anchors: Tensor,
    cells: Tensor,
    config: AssignmentConfig,
) -> Assignment:
    """Assign anchors to faces by how well score and box already fit (task alignment, TOOD).

    Args:
        scores: (N, A, C) predicted scores, 0..1.
        boxes: (N, A, 4) predicted corners.
        faces: The labelled faces.
        anchors: (A, 4) anchor corners.
        cells: (A,) side of the cell that each anchor belongs to, relative to the picture.
        config: The rules.
    """
    batch, count = scores.shape[:2]
    ignored = _ignored(faces.where(faces.ignored), anchors, cells, batch, config)
    wanted = torch.nonzero(~faces.ignored).flatten()
    face = torch.full((batch, count), -1, dtype=torch.long, device=scores.device)
    target = scores.new_zeros(batch, count)
    if not wanted.numel():
        return Assignment(face, target, ignored)
    chosen = faces.where(~faces.ignored)
    pairs = torch.nonzero(_near(chosen.boxes, anchors, cells, config), as_tuple=True)
    overlap, alignment = _alignment(scores, boxes, chosen, pairs, config)
    rows, columns, value = _best(alignment, overlap, config)
    pictures = chosen.pictures[rows]
    winners = _winners(pictures * count + columns, overlap[rows, columns])
    rows, columns, pictures = rows[winners], columns[winners], pictures[winners]
    face[pictures, columns] = wanted[rows]
    target[pictures, columns] = value[winners]
    return Assignment(face, target, ignored)


def _alignment(
    scores: Tensor,
    boxes: Tensor,
    faces: Faces,
    pairs: tuple[Tensor, Tensor],
    config: AssignmentConfig,
) -> tuple[Tensor, Tensor]:
    """(M, A) overlap and alignment of every face with every anchor, 0 for all but the `pairs`."""
    rows, columns = pairs
    pictures = faces.pictures[rows]
    overlap = overlaps(boxes[pictures, columns], faces.boxes[rows])
    score = scores[pictures, columns, faces.classes[rows]].clamp(min=1e-4)
    alignment = score**config.score_power * overlap**config.overlap_power
    empty = scores.new_zeros(len(faces.boxes), scores.shape[1])
    return empty.index_put(pairs, overlap), empty.index_put(pairs, alignment)


def _best(
    alignment: Tensor, overlap: Tensor, config: AssignmentConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and columns of the chosen pairs, and their target scores."""
    count = min(config.candidates, alignment.shape[1])
    top, columns = alignment.topk(count, dim=1)
    best_overlap = overlap.gather(1, columns).amax(1, keepdim=True)
    quality = (best_overlap / config.full_overlap).clamp(max=1)
    value = quality * top / top[:, :1].clamp(min=_TINY)
    used = top > _TINY
    rows = torch.arange(len(top), device=top.device)[:, None].expand_as(columns)
    return rows[used], columns[used], value[used]


def _winners(anchor_ids: Tensor, overlap: Tensor) -> Tensor:
    """Indices of the pairs that stay: where faces want the same anchor, the best overlap wins."""
    order = overlap.argsort(stable=True)
    order = order[anchor_ids[order].argsort(stable=True)]
    ids = anchor_ids[order]
    last = torch.ones_like(ids, dtype=torch.bool)
    last[:-1] = ids[1:] != ids[:-1]
    return order[last]


def _near(boxes: Tensor, anchors: Tensor, cells: Tensor, config: AssignmentConfig) -> Tensor:
    """(M, A) whether an anchor may answer for a face: close to it and of a similar size."""
    centre, size = _centre_and_size(boxes)
    anchor_centre, anchor_size = _centre_and_size(anchors)
    distance = (anchor_centre - centre[:, None]).abs()
    limit = torch.maximum(size[:, None] / 2, config.reach * cells[None, :, None])
    low, high = size / config.size_factor, size * config.size_factor
    similar = (anchor_size >= low[:, None]) & (anchor_size <= high[:, None])
    return ((distance <= limit) & similar).all(-1)


def _ignored(
    faces: Faces, anchors: Tensor, cells: Tensor, batch: int, config: AssignmentConfig
) -> Tensor:
    """(N, A) anchors whose centre lies on an ignored face."""
    result = torch.zeros(batch, len(anchors), dtype=torch.bool, device=anchors.device)
    if len(faces.boxes):
        centre, size = _centre_and_size(faces.boxes)
        distance = (_centre_and_size(anchors)[0] - centre[:, None]).abs()
        limit = torch.maximum(size[:, None] / 2, config.reach * cells[None, :, None])
        inside = (distance <= limit).all(-1)
        for picture, row in zip(faces.pictures.tolist(), inside, strict=True):
            result[picture] |= row
    return result


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
