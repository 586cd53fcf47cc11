"""A row of four anchors, and faces to assign them to."""

from __future__ import annotations

import torch

from facemask_zoo.training.assignment import Faces

# Four anchors of side 0.2 in a row of cells of side 0.25.
ANCHORS = torch.tensor([[x - 0.1, 0.4, x + 0.1, 0.6] for x in (0.125, 0.375, 0.625, 0.875)])
CELLS = torch.full((4,), 0.25)


def make_faces(
    boxes: list, classes: list, ignored: list | None = None, pictures: list | None = None
):
    count = len(boxes)
    return Faces(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        classes=torch.tensor(classes, dtype=torch.long),
        pictures=torch.tensor(pictures or [0] * count, dtype=torch.long),
        ignored=torch.tensor(ignored or [False] * count, dtype=torch.bool),
        box_weights=torch.ones(count),
        partial=torch.zeros(count, dtype=torch.bool),
    )
