"""Model cards: what a model is, where its weights come from, and under which licence."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from facemask_zoo import architectures
from facemask_zoo.architectures import Architecture, DetectorNetwork
from facemask_zoo.arguments import look_up
from facemask_zoo.errors import FaceMaskZooError, UnknownNameError, WeightsError
from facemask_zoo.ssd import Network
from facemask_zoo.ssd.boxes import NMS_KINDS
from facemask_zoo.ssd.postprocess import CONF
from facemask_zoo.structuring import structure
from facemask_zoo.tasks.preprocessing import PREPROCESSING, Preprocessing

DEFAULT_MODEL = "zoo-260"
DEFAULT_LANDMARKS = "landmarks-64"

DETECTION, CLASSIFICATION, LANDMARKS, NO_TASK = "detection", "classification", "landmarks", ""
TASKS = (DETECTION, CLASSIFICATION, LANDMARKS, NO_TASK)

_DEFAULT_ARCHITECTURE = "ssd"
"""Of cards that name none, which are older than any other."""
_NO_ARCHITECTURE = ""
_PLAIN = "0..1"

_MAX_JSON = 1024 * 1024
MAX_NAME_LENGTH = 200


@dataclasses.dataclass(frozen=True)
class File:
    """A file that is checked before it is used.

    Attributes:
        name: File name, or the path below ``weights/`` for a file that ships.
        sha256: Hexadecimal digest of its content.
        size: Bytes.
        url: Where it is published; empty for a file that ships.
    """

    name: str
    sha256: str
    size: int
    url: str = ""


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """One model of the zoo.

    Attributes:
        name: Name in :func:`list_models`.
        summary: One sentence.
        architecture: The computation; None for a network whose graph is in its file alone.
        task: What it is for, one of ``TASKS``.
        labels: What it tells apart, where no architecture says it.
        preprocessing: What is done to a picture first.
        license: SPDX name of the licence of the weights.
        tensors_sha256: Digest of the canonical tensors (see ``Model.digest``); empty if unknown.
        source: Published file from which the canonical tensors are made, if they do not ship.
        files: Files that ship, by format; the first of a list is the one to open.
        conf: Recommended score threshold.
        nms: Kind of non-maximum suppression that suits it, one of ``ssd.boxes.NMS_KINDS``.
        details: Everything else worth knowing: training data, figures, intended use, limits.
    """

    name: str
    summary: str
    architecture: Architecture | None
    license: str = ""
    tensors_sha256: str = ""
    source: File | None = None
    files: Mapping[str, tuple[File, ...]] = dataclasses.field(default_factory=dict)
    conf: float = CONF
    nms: str = "standard"
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    task: str = DETECTION
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing = PREPROCESSING[_PLAIN]

    @property
    def network(self) -> Network:
        """The single-shot detector.

        Raises:
            WeightsError: It is of another architecture.
        """
        if not isinstance(self.architecture, Network):
            raise WeightsError(f"{self.name!r} is no single-shot detector.")
        return self.architecture

    @property
    def detector(self) -> DetectorNetwork:
        """The detector, of whatever architecture.

        Raises:
            WeightsError: It is something else.
        """
        if not isinstance(self.architecture, DetectorNetwork):
            raise WeightsError(f"{self.name!r} is no detector that the zoo can decode.")
        return self.architecture

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels of the scores."""
        return self.architecture.classes if self.architecture else self.labels

    def to_dict(self) -> dict[str, Any]:
        """The card as JSON values; :meth:`from_dict` reads it back."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) or field.default is dataclasses.MISSING
        }
        kind = architectures.name_of(self.architecture) if self.architecture else _NO_ARCHITECTURE
        values.pop("architecture", None)
        if kind != _DEFAULT_ARCHITECTURE:
            values["architecture"] = kind
        if self.architecture:
            values["network"] = self.architecture.to_dict()
        if self.task != DETECTION:
            values["task"] = self.task
        else:
            del values["task"]
        values.pop("preprocessing")
        if self.preprocessing != PREPROCESSING[_PLAIN]:
            values["preprocessing"] = dataclasses.asdict(self.preprocessing)
        if self.source:
            values["source"] = dataclasses.asdict(self.source)
        values["files"] = {
            kind: [dataclasses.asdict(file) for file in files] for kind, files in self.files.items()
        }
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelCard:
        """Read a card from JSON values.

        Raises:
            WeightsError: A field is missing, unknown, or of the wrong type.
        """
        try:
            fields = dict(values)
            kind = fields.pop("architecture", _DEFAULT_ARCHITECTURE)
            architecture = (
                None
                if kind == _NO_ARCHITECTURE
                else architectures.from_dict(kind, fields.pop("network", None))
            )
            card = structure(fields, cls, "card", architecture=architecture)
            _check_texts(card)
        except (FaceMaskZooError, TypeError, ValueError) as error:
            raise WeightsError(f"Not a model card: {str(error).rstrip('.')}.") from error
        return card

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelCard:
        """Read a card from JSON text.

        Raises:
            WeightsError: The text is not JSON, or not a card.
        """
        if not isinstance(text, str | bytes) or len(text) > _MAX_JSON:
            raise WeightsError(f"Not a model card: expected a text of up to {_MAX_JSON} bytes.")
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise WeightsError(f"Not a model card: {error}.") from error
        if not isinstance(values, dict):
            raise WeightsError(f"Not a model card: expected an object, but got {type(values)}.")
        return cls.from_dict(values)

    def to_json(self, indent: int | None = None) -> str:
        """The card as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, sort_keys=indent is None)

    def portable(self) -> ModelCard:
        """The card to embed in a file: without the places where this project keeps its copies."""
        return dataclasses.replace(self, tensors_sha256="", source=None, files={}, details={})


def _check_texts(card: ModelCard) -> None:
    if card.task not in TASKS:
        raise UnknownNameError.among("task", card.task, TASKS)
    if card.task == DETECTION and card.architecture is None:
        raise WeightsError("a detector needs an architecture, which says where its anchors lie")
    if not 0 < len(card.name) <= MAX_NAME_LENGTH or not card.name.isprintable():
        what = f"a name of up to {MAX_NAME_LENGTH} letters"
        raise WeightsError(f"expected {what}, but got {card.name!r:.100}")
    if not 0 <= card.conf <= 1:
        raise WeightsError(f"conf: expected a number from 0 to 1, but got {card.conf!r}")
    if card.nms not in NMS_KINDS:
        raise UnknownNameError.among("nms", card.nms, NMS_KINDS)


def list_models(task: str | None = None) -> list[str]:
    """Names of the models, sorted.

    Args:
        task: ``"detection"``, ``"classification"`` or ``"landmarks"``; all if None.

    Raises:
        UnknownNameError: There is no such task.
    """
    if task is not None and task not in TASKS:
        raise UnknownNameError.among("task", task, TASKS)
    return sorted(name for name, card in _cards().items() if task in (None, card.task))


def load_card(name: str) -> ModelCard:
    """The card of a model.

    Args:
        name: A name of :func:`list_models`.

    Raises:
        UnknownNameError: There is no such model.
    """
    return look_up("model", name, _cards())


def weights_folder() -> Path:
    """The folder with the cards and the files that ship."""
    return Path(str(resources.files("facemask_zoo.weights")))


@functools.cache
def _cards() -> dict[str, ModelCard]:
    paths = sorted(weights_folder().glob("*.json"))
    return {card.name: card for card in map(ModelCard.from_json, map(Path.read_bytes, paths))}
