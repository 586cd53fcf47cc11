"""What every worker does, whichever engine it belongs to: a unit in, a part out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.batch.parts import Part, Row
from facemask_zoo.batch.records import Record, read
from facemask_zoo.batch.units import Unit
from facemask_zoo.cards import list_models, load_card
from facemask_zoo.detections import Detections
from facemask_zoo.detector import BATCH_SIZE, Detector
from facemask_zoo.errors import FaceMaskZooError, ImageError
from facemask_zoo.files import sha256_of
from facemask_zoo.images import load_image
from facemask_zoo.store import open_weights

_PIXELS_AT_ONCE = 1 << 24
"""Pictures wait for each other until there are so many pixels: memory stays bounded."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A model, and how it runs.

    Attributes:
        loading: Arguments of :meth:`Detector.load`.
    """

    loading: Mapping[str, Any]

    def detector(self) -> Detector:
        """Load the model.

        Raises:
            FaceMaskZooError: It cannot be loaded.
        """
        return Detector.load(**self.loading)

    def facts(self) -> dict[str, Any]:
        """All that the rows depend on, apart from the pictures, as JSON values.

        This loads the model, and so is called where the workers are. What goes wrong is returned
        as ``"problem"``, since not every exception can travel.
        """
        try:
            detector = self.detector()
            digest = _digest(self.loading["model"], trust=self.loading.get("trust", False))
        except FaceMaskZooError as error:
            return {"problem": str(error)}
        return {
            "model": detector.card.name,
            "weights": digest,
            "framework": detector.framework,
            "precision": self.loading.get("precision", "fp32"),
            "conf": detector.conf,
            "iou": detector.iou,
            "nms": detector.nms,
            "max_pixels": detector.max_pixels,
            "tiles": detector.tiles,
        }

    def on(self, framework: str) -> Job:
        """The same job on a certain framework, so that no worker takes another."""
        return Job({**self.loading, "framework": framework})


def _digest(model: str, *, trust: bool) -> str:
    if model in list_models():
        return load_card(model).tensors_sha256
    weights = open_weights(model, trust=trust)
    return weights.content.digest if weights.content else sha256_of(weights.fetch())


def work(detector: Detector, unit: Unit) -> Part:
    """Find the faces in all pictures of a unit.

    Args:
        detector: What to run.
        unit: What to read.
    """
    return Part.of(unit.number, _rows(detector, unit))


@dataclasses.dataclass(frozen=True)
class _Waiting:
    record: Record
    image: NDArray[np.uint8] | None
    error: str | None


def _rows(detector: Detector, unit: Unit) -> Iterator[Row]:
    waiting: list[_Waiting] = []
    pixels = 0
    for record in read(unit):
        waiting.append(_loaded(record, detector.max_pixels))
        image = waiting[-1].image
        pixels += 0 if image is None else image.shape[0] * image.shape[1]
        if len(waiting) >= BATCH_SIZE or pixels >= _PIXELS_AT_ONCE:
            yield from _detected(detector, waiting)
            waiting, pixels = [], 0
    yield from _detected(detector, waiting)


def _loaded(record: Record, max_pixels: int) -> _Waiting:
    if record.content is None:
        return _Waiting(record, None, record.error or "")
    try:
        return _Waiting(record, load_image(record.content, max_pixels), None)
    except (ImageError, MemoryError) as error:
        return _Waiting(record, None, str(error) or type(error).__name__)
    except FaceMaskZooError as error:  # its reader is not installed here
        return _Waiting(record, None, str(error))


def _detected(detector: Detector, waiting: list[_Waiting]) -> Iterator[Row]:
    images = [each.image for each in waiting if each.image is not None]
    results = iter(detector.detect_batch(images))
    for each in waiting:
        result: Detections | None = None if each.image is None else next(results)
        yield Row(each.record.source, each.record.key, result, each.error)
