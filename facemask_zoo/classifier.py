"""The classifier: what is in a crop, by any network that gives one score for each class."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.architectures.pyramid import InputSize
from facemask_zoo.arguments import check_count, label_tuple
from facemask_zoo.backends import Options
from facemask_zoo.errors import InvalidArgumentError, WeightsError
from facemask_zoo.images import MAX_PIXELS, ImageSource, is_one_picture, load_image
from facemask_zoo.on_error import OnError, check_on_error, handled
from facemask_zoo.session import AUTO, Session, open_session
from facemask_zoo.tasks import classification
from facemask_zoo.tasks.preprocessing import Preprocessing, find_preprocessing

BATCH_SIZE = 32
"""Crops that are handed to the framework at once."""


@dataclasses.dataclass(frozen=True, eq=False)
class Classifications:
    """What a classifier says of some crops, in their order.

    Attributes:
        probabilities: (N, C) float32, 0..1.
        classes: (C,) labels of the columns.
    """

    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.probabilities)

    @property
    def class_ids(self) -> NDArray[np.int64]:
        """(N,) the most probable class of each crop."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @property
    def scores(self) -> NDArray[np.float32]:
        """(N,) its probability."""
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def labels(self) -> list[str]:
        """Its label, for each crop."""
        return [self.classes[index] for index in self.class_ids]

    def to_dict(self) -> dict[str, Any]:
        """The results as JSON values."""
        rows = zip(self.labels, self.scores.tolist(), self.probabilities.tolist(), strict=True)
        return {
            "classes": list(self.classes),
            "crops": [
                {"label": label, "score": score, "probabilities": each}
                for label, score, each in rows
            ],
        }

    def to_json(self) -> str:
        """The results as one line of JSON."""
        return json.dumps(self.to_dict())


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Says what crops show. Make one with :meth:`load`.

    Attributes:
        session: The network on its framework.
        classes: Labels that it tells apart.
        preprocessing: What is done to a crop first.
        max_pixels: Larger pictures are refused before they are decoded.
    """

    session: Session
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    max_pixels: int = MAX_PIXELS

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str],
        *,
        framework: str = AUTO,
        device: str = "cpu",
        precision: str = "fp32",
        trust: bool = False,
        threads: int | None = None,
        labels: Sequence[str] | None = None,
        preprocessing: str | Preprocessing | None = None,
        input_size: InputSize | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> Classifier:
        """Load a classifier on a framework.

        Args:
            model: A name of :func:`list_models`, or the path of a file in any format that the zoo
                reads, whoever made it: its graph says what it is.
            framework: A name of :func:`list_frameworks`, or ``"auto"``.
            device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
            precision: ``"fp32"``, or ``"fp16"`` where the framework offers it.
            trust: Run a file as it is; the framework's own parser sees it unchecked.
            threads: CPU threads; None leaves it to the framework.
            labels: Labels of the classes, in the order of the network's output; those of the card
                if None. A file without a card only numbers them.
            preprocessing: A name of ``tasks.preprocessing.PREPROCESSING`` (``"0..1"``, ``"-1..1"``,
                ``"imagenet"`` and others), or a :class:`Preprocessing`; the card's if None.
            input_size: Side of the network's input in pixels, or (height, width), for files that
                leave it open.
            max_pixels: Largest width x height of a picture.

        Raises:
            WeightsError: The network is no classifier, or the file is damaged.
            InvalidArgumentError: There are more or fewer labels than classes; or an argument is of
                the wrong type.
            FaceMaskZooError: As :meth:`Detector.load`.
        """
        check_count("max_pixels", max_pixels)
        given = None if labels is None else label_tuple("labels", labels)
        chosen = None if preprocessing is None else find_preprocessing(preprocessing)
        options = Options(device=device, precision=precision, threads=threads)
        session = open_session(
            model,
            framework=framework,
            options=options,
            trust=trust,
            input_size=input_size,
            check=lambda weights: classification.class_count(weights.graph),
        )
        count = classification.class_count(session.graph)
        classes = session.card.classes if given is None else given
        if len(classes) != count:
            raise InvalidArgumentError(
                f"labels: expected {count}, one for each class, but got {list(classes)}."
            )
        return cls(session, classes, chosen or session.card.preprocessing, max_pixels)

    @property
    def input_shape(self) -> tuple[int, int]:
        """Height and width of the network's input, in pixels."""
        _, height, width = self.session.graph.input_shape
        return height, width

    def classify(
        self, crops: ImageSource | Iterable[ImageSource], *, on_error: OnError = "raise"
    ) -> Classifications:
        """Say what crops show.

        Args:
            crops: One picture or many, in any form that :meth:`Detector.detect` takes; each is
                resized to the network's input as a whole.
            on_error: What to do about a picture that cannot be read, see
                :meth:`Detector.detect_batch`.

        Returns:
            One row for each crop that could be read, in order.

        Raises:
            ImageError: A picture cannot be read.
        """
        check_on_error(on_error)
        many = [crops] if is_one_picture(crops) else crops
        batches = self._batches(many, on_error)  # type: ignore[arg-type]
        parts = [self._probabilities(batch) for batch in batches]
        empty = np.empty((0, len(self.classes)), np.float32)
        return Classifications(np.concatenate([empty, *parts]), self.classes)

    def _batches(
        self, crops: Iterable[ImageSource], on_error: OnError
    ) -> Iterator[NDArray[np.float32]]:
        """Inputs, several at a time, in memory that the next ones overwrite."""
        buffer, count = self.session.backend.buffer(BATCH_SIZE), 0
        for crop in crops:
            with handled(crop, on_error):
                self.preprocessing.place(load_image(crop, self.max_pixels), buffer[count])
                count += 1
            if count == BATCH_SIZE:
                yield buffer
                count = 0
        if count:
            yield buffer[:count]

    def _probabilities(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        (outputs,) = self.session.backend.forward(batch).values()
        if not np.isfinite(outputs).all():
            raise WeightsError("The network gives numbers that are not finite.")
        return np.asarray(classification.probabilities(self.session.graph, outputs), np.float32)
