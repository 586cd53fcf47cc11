"""Pictures of rectangular toy faces: a skin-coloured box, with or without a blue mask."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from facemask_zoo.images import save_image
from facemask_zoo.ssd import Level, Network, Stage
from facemask_zoo.training.augment import AugmentConfig
from facemask_zoo.training.config import ScheduleConfig, TrainingConfig
from facemask_zoo.training.photographs import DataConfig

LABELS = ("mask", "no_mask", "incorrect")
NETWORK = Network(
    input_size=64,
    classes=LABELS,
    stages=(Stage(8, pool=False), Stage(12), Stage(16), Stage(16), Stage(16)),
    levels=(
        Level(3, (0.2, 0.3), (0.8,), 12, 12),
        Level(4, (0.4, 0.6), (0.8,), 12, 12),
    ),
)


def draw_toy(rng: np.random.Generator, size: int = 96) -> tuple[np.ndarray, list[tuple]]:
    """A picture of one to three toy faces that do not overlap, and (label, x, y, w, h) of each."""
    image = rng.integers(60, 120, (size, size, 3)).astype(np.uint8)
    faces = []
    columns = np.array_split(np.arange(size), rng.integers(1, 4))
    for column in columns:
        width = int(rng.integers(16, min(40, len(column) - 2)))
        height = int(width * 1.25)
        x = int(column[0] + rng.integers(0, len(column) - width))
        y = int(rng.integers(0, size - height))
        label = LABELS[rng.integers(2)]
        image[y : y + height, x : x + width] = (230, 190, 150)
        image[y + height // 4 : y + height // 3, x + 2 : x + width - 2] = 20
        if label == "mask":
            image[y + height // 2 : y + height, x : x + width] = (90, 160, 240)
        faces.append((label, x, y, width, height))
    return image, faces


def write_toys(folder: Path, count: int, seed: int = 0) -> Path:
    """Write pictures and a COCO file; returns the path of the latter."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for index in range(count):
        image, faces = draw_toy(rng)
        name = f"{index}.png"
        save_image(image, folder / name)
        images.append({"id": index, "file_name": name, "width": 96, "height": 96})
        for label, *box in faces:
            category = LABELS.index(label) + 1
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": index,
                    "category_id": category,
                    "bbox": [float(value) for value in box],
                }
            )
    categories = [{"id": index + 1, "name": label} for index, label in enumerate(LABELS)]
    path = folder / "toys.json"
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return path


def toy_config(annotations: Path, steps: int = 4, **changes: object) -> TrainingConfig:
    """A configuration that trains in seconds."""
    values: dict = {
        "name": "toy",
        "summary": "Finds toy faces.",
        "network": NETWORK,
        "data": DataConfig(str(annotations), str(annotations.parent)),
        "schedule": ScheduleConfig(
            steps=steps,
            batch_size=8,
            learning_rate=5e-3,
            warmup=10,
            decay=steps // 2,
            ema_decay=0.9,
        ),
        "augment": AugmentConfig(min_face=2.0, face_sizes=(10.0, 40.0)),
        "partial_class": "incorrect",
        "seed": 5,
    }
    return TrainingConfig(**{**values, **changes})
