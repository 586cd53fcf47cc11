"""Drawn crowds: pictures of faces of all sizes, bare, masked, or masked with the nose left out.

Only uniform numbers are drawn, and each picture from a seed of its own: the pictures are the same
on every machine and in every version of NumPy.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from facemask_zoo.images import save_image

LABELS = ("mask", "no_mask", "incorrect")
SIZE = 224
SOURCES = ("jolignier1750", "macwinwin498", "elsewhere")
"""Of which the recorded configurations know two, and weigh them differently."""

_CELLS = 3
_COVERED_FROM = {"mask": 0.45, "incorrect": 0.68, "no_mask": 1.0}


def write_crowds(folder: Path, count: int) -> Path:
    """Write pictures and a COCO file; returns the path of the latter."""
    images, annotations = [], []
    for index in range(count):
        image, faces = draw_crowd(index)
        save_image(image, folder / f"{index}.png")
        facts = {"source": SOURCES[index % len(SOURCES)], "three_class": index % 4 != 0}
        images.append({"id": index, "file_name": f"{index}.png", **facts})
        for label, box in faces:
            entry = {"image_id": index, "category_id": LABELS.index(label) + 1, "bbox": box}
            annotations.append({"id": len(annotations), **entry})
    categories = [{"id": index + 1, "name": label} for index, label in enumerate(LABELS)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "crowds.json").write_text(json.dumps(content))
    return folder / "crowds.json"


def draw_crowd(seed: int) -> tuple[np.ndarray, list[tuple[str, list[float]]]]:
    """A picture, and label and x, y, width, height of each face in it."""
    rng = np.random.Generator(np.random.PCG64(seed))
    shade = np.linspace(rng.random() * 90, 90 + rng.random() * 90, SIZE)
    image = np.repeat(shade[:, None, None], SIZE, axis=1) + rng.random((SIZE, SIZE, 3)) * 50
    faces, cell = [], SIZE // _CELLS
    for row, column in np.ndindex(_CELLS, _CELLS):
        present, share, x, y, kind = rng.random(5)
        if present < 0.5:
            continue
        width = int(10 + share * (cell - 30))
        height = int(width * 1.25)
        left = column * cell + int(x * (cell - width))
        top = row * cell + int(y * max(0, cell - height))
        height = min(height, SIZE - top)
        label = LABELS[int(kind * len(LABELS))]
        paint_face(image[top : top + height, left : left + width], label, rng.random())
        faces.append((label, [float(value) for value in (left, top, width, height)]))
    return image.astype(np.uint8), faces


def paint_face(patch: np.ndarray, label: str, tone: float) -> None:
    """Paint an oval with eyes and a mouth, and the mask over them, into (H, W, 3) pixels."""
    height, width = patch.shape[:2]
    y = ((np.arange(height) + 0.5) / height)[:, None]
    x = ((np.arange(width) + 0.5) / width)[None, :]
    oval = (2 * x - 1) ** 2 + (2 * y - 1) ** 2 < 1
    patch[oval] = np.array([235, 190, 160]) * (0.5 + tone / 2)
    for eye in (0.32, 0.68):
        patch[(x - eye) ** 2 + (y - 0.38) ** 2 < 0.07**2] = 25
    patch[(np.abs(x - 0.5) < 0.2) & (np.abs(y - 0.75) < 0.04)] = (150, 50, 60)
    patch[oval & (y > _COVERED_FROM[label])] = (120, 170, 225)
