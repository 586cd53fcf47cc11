"""The landmarker: 68 points and the pose of the head, for each face of a picture."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemask_zoo import exports
from facemask_zoo.arguments import check_count
from facemask_zoo.backends import Options
from facemask_zoo.cards import DEFAULT_LANDMARKS, LANDMARKS
from facemask_zoo.detections import Detections
from facemask_zoo.errors import WeightsError
from facemask_zoo.images import MAX_PIXELS, ImageSource, load_image
from facemask_zoo.session import AUTO, Session, open_session
from facemask_zoo.store import Weights
from facemask_zoo.tasks import landmarks
from facemask_zoo.tasks.landmarks import Square

BATCH_SIZE = 32
"""Faces that are handed to the framework at once."""


@dataclasses.dataclass(frozen=True, eq=False)
class FaceLandmarks:
    """Landmarks of some faces, in the order of their boxes.

    Attributes:
        points: (N, 68, 2) float32 x and y in pixels of the picture, in iBUG's order; some may lie
            outside it.
        poses: (N, 3) float32 yaw, pitch and roll in degrees, as the viewer sees the head: to the
            right of the picture, upwards, clockwise.
    """

    points: NDArray[np.float32]
    poses: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.points)

    def to_dict(self) -> dict[str, Any]:
        """The results as JSON values."""
        rows = zip(self.points.tolist(), self.poses.tolist(), strict=True)
        return {"faces": [{exports.LANDMARKS: points, exports.POSE: pose} for points, pose in rows]}

    def to_json(self) -> str:
        """The results as one line of JSON."""
        return json.dumps(self.to_dict())


@dataclasses.dataclass(frozen=True)
class Landmarker:
    """Finds landmarks in faces. Make one with :meth:`load`.

    Attributes:
        session: The network on its framework.
        max_pixels: Larger pictures are refused before they are decoded.
    """

    session: Session
    max_pixels: int = MAX_PIXELS

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] = DEFAULT_LANDMARKS,
        *,
        framework: str = AUTO,
        device: str = "cpu",
        precision: str = "fp32",
        trust: bool = False,
        threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> Landmarker:
        """Load a landmark network on a framework.

        Args:
            model: A name of :func:`list_models`, or the path of a weights file.
            framework: A name of :func:`list_frameworks`, or ``"auto"``.
            device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
            precision: ``"fp32"``, or ``"fp16"`` where the framework offers it.
            trust: Run a file as it is; the framework's own parser sees it unchecked.
            threads: CPU threads; None leaves it to the framework.
            max_pixels: Largest width x height of a picture.

        Raises:
            WeightsError: The network finds no landmarks, or the file is damaged.
            InvalidArgumentError: An argument is of the wrong type.
            FaceMaskZooError: As :meth:`Detector.load`.
        """
        check_count("max_pixels", max_pixels)
        options = Options(device=device, precision=precision, threads=threads)
        session = open_session(
            model, framework=framework, options=options, trust=trust, check=_check_landmarks
        )
        return cls(session, max_pixels)

    def detect(self, image: ImageSource, boxes: ArrayLike | Detections) -> FaceLandmarks:
        """Find the landmarks of the faces in one picture.

        Args:
            image: In any form that :meth:`Detector.detect` takes.
            boxes: (N, 4) corners x1, y1, x2, y2 in pixels of the faces, from forehead to chin; or
                what a detector found in the picture.

        Returns:
            One row for each box; none where there is no box.

        Raises:
            ImageError: The picture cannot be read.
            InvalidArgumentError: A box is not finite, has no area, or lies outside the picture.
        """
        pixels = load_image(image, self.max_pixels)
        given = boxes.boxes if isinstance(boxes, Detections) else boxes
        height, width = pixels.shape[:2]
        corners = landmarks.check_boxes(given, (width, height))
        squares = [Square.around(box) for box in corners]
        parts = [
            self._read(pixels, squares[start : start + BATCH_SIZE])
            for start in range(0, len(squares), BATCH_SIZE)
        ]
        count = self.session.graph.output_shapes[landmarks.POINTS_NAME][0]
        points = [np.empty((0, count, 2), np.float32), *(points for points, _ in parts)]
        poses = [np.empty((0, landmarks.ANGLES), np.float32), *(poses for _, poses in parts)]
        return FaceLandmarks(np.concatenate(points), np.concatenate(poses))

    def add_to(self, detections: Detections, image: ImageSource | None = None) -> Detections:
        """The same result with ``attributes["landmarks"]`` and ``attributes["pose"]``.

        Args:
            detections: What a detector found.
            image: The picture; by default `detections.source` is read once more.

        Raises:
            ImageError: The picture cannot be read.
            InvalidArgumentError: There is no picture, or it is not the one that was searched.
        """
        pixels = detections.pixels(image)
        found = self.detect(pixels, detections)
        own = {exports.LANDMARKS: found.points, exports.POSE: found.poses}
        return dataclasses.replace(detections, attributes={**detections.attributes, **own})

    def _read(
        self, pixels: NDArray[np.uint8], squares: Sequence[Square]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        _, size, _ = self.session.graph.input_shape
        prepare = self.session.card.preprocessing
        batch = np.stack([prepare(square.cut(pixels, size), size, size) for square in squares])
        outputs = self.session.backend.forward(batch)
        if not all(np.isfinite(values).all() for values in outputs.values()):
            raise WeightsError("The network gives numbers that are not finite.")
        return landmarks.read(outputs, squares)


def _check_landmarks(weights: Weights) -> None:
    if weights.card.task != LANDMARKS:
        raise WeightsError(f"{weights.card.name!r} finds no landmarks.")
    landmarks.check_graph(weights.graph)
