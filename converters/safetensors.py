"""Safetensors: the canonical form, with the model card in its metadata."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.limits import MAX_TEXT_BYTES, read_bytes
from facemask_zoo.converters.recognition import card_from_tensors
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Model

CARD_KEY = "facemask_zoo.card"


def read(path: Path) -> Model:
    """Read canonical tensors; without an embedded card the network is AIZOO's by shape.

    Raises:
        WeightsError: The file is damaged or does not fit.
    """
    data = read_bytes(path)
    try:
        card_text = _metadata(data).get(CARD_KEY)
        tensors = safetensors.numpy.load(data)
    except WeightsError:
        raise
    except Exception as error:  # safetensors raises many unrelated types on damaged files
        raise WeightsError(f"{path}: not a whole safetensors file: {error}") from error
    card = ModelCard.from_json(card_text) if card_text else card_from_tensors(tensors, path.stem)
    return Model(card, tensors)


def write(model: Model, path: Path) -> None:
    """Write tensors and card; the same model gives the same bytes."""
    tensors = {
        name: np.ascontiguousarray(values, dtype=np.float32)
        for name, values in model.tensors.items()
    }
    metadata = {CARD_KEY: model.card.portable().to_json()}
    path.write_bytes(safetensors.numpy.save(tensors, metadata))


def _metadata(data: bytes) -> dict[str, str]:
    length = int.from_bytes(data[:8], "little")
    if length > MAX_TEXT_BYTES:
        raise WeightsError(f"The header claims {length} bytes; weights need {MAX_TEXT_BYTES}.")
    found = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return {str(key): str(value) for key, value in found.items()}
