"""What was found in one picture."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import InvalidArgumentError

if TYPE_CHECKING:
    from facemask_zoo.images import ImageSource


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """Faces in one picture, best score first.

    Attributes:
        boxes: (N, 4) float32, xyxy pixels inside the picture.
        scores: (N,) float32, 0..1.
        class_ids: (N,) int64, indices into `classes`.
        classes: Labels that the model knows.
        image_size: Width and height of the picture, in pixels.
        source: Where the picture came from, if it was read from a file or stream.
        frame: Number of the frame within a video, from 0; None for a picture.

    Raises:
        InvalidArgumentError: The arrays do not fit together.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    source: str | None = None
    frame: int | None = None

    def __post_init__(self) -> None:
        count = len(self.scores)
        expected = ((count, 4), (count,), (count,))
        found = (self.boxes.shape, self.scores.shape, self.class_ids.shape)
        if found != expected:
            raise InvalidArgumentError(
                f"boxes, scores, class_ids: expected shapes {expected}, but got {found}."
            )
        if count and not 0 <= self.class_ids.min() <= self.class_ids.max() < len(self.classes):
            raise InvalidArgumentError(
                f"class_ids: expected 0..{len(self.classes) - 1}, but got {self.class_ids}."
            )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> Detections:
        """A subset, by mask, slice or list of indices, like a NumPy array."""
        index = [index] if isinstance(index, int | np.integer) else index
        return dataclasses.replace(
            self,
            boxes=self.boxes[index],
            scores=self.scores[index],
            class_ids=self.class_ids[index],
        )

    @property
    def labels(self) -> list[str]:
        """Label of each face: ``"mask"``, ``"no_mask"`` or ``"incorrect"``."""
        return [self.classes[index] for index in self.class_ids]

    def to_dict(self) -> dict[str, Any]:
        """JSON values: the picture's size, and label, class id, score and box of each face."""
        result: dict[str, Any] = {}
        if self.source is not None:
            result["source"] = self.source
        if self.frame is not None:
            result["frame"] = self.frame
        result["image_size"] = list(self.image_size)
        result["detections"] = [
            {
                "label": label,
                "class_id": int(class_id),
                "score": round(float(score), 6),
                "box": [round(float(value), 3) for value in box],
            }
            for label, class_id, score, box in zip(
                self.labels, self.class_ids, self.scores, self.boxes, strict=True
            )
        ]
        return result

    def to_json(self) -> str:
        """One line of JSON with the values of :meth:`to_dict`."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_rows(self) -> list[list[float]]:
        """AIZOO's result rows: ``[class_id, conf, xmin, ymin, xmax, ymax]``, whole pixels."""
        return [
            [int(class_id), float(score), *(int(value) for value in box)]
            for class_id, score, box in zip(self.class_ids, self.scores, self.boxes, strict=True)
        ]

    def annotate(self, image: ImageSource) -> NDArray[np.uint8]:
        """Draw boxes and labels on a copy of the picture.

        Args:
            image: The picture, in any form that :func:`facemask_zoo.images.load_image` takes.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            ImageError: The picture cannot be read.
            InvalidArgumentError: It does not have the size that was searched.
        """
        from facemask_zoo.annotate import annotate

        return annotate(image, self)
