"""Safetensors: the canonical form, with graph and model card in its metadata."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import safetensors.numpy

from facemask_zoo.converters.formats import CARD_KEY, GRAPH_KEY
from facemask_zoo.converters.formats.importing import LooseTensors
from facemask_zoo.converters.limits import MAX_TEXT_BYTES, read_bytes
from facemask_zoo.errors import WeightsError
from facemask_zoo.graph import text
from facemask_zoo.graph.program import Program


def read(path: Path) -> Program | LooseTensors:
    """Read tensors, with the graph if the file has one.

    Raises:
        WeightsError: The file is damaged, or its tensors do not fit its graph.
    """
    data = read_bytes(path)
    try:
        metadata = _metadata(data)
        tensors = safetensors.numpy.load(data)
    except WeightsError:
        raise
    except Exception as error:  # safetensors raises many unrelated types on damaged files
        raise WeightsError(f"{path}: not a whole safetensors file: {error}") from error
    card = metadata.get(CARD_KEY, "")
    if GRAPH_KEY not in metadata:
        return LooseTensors(tensors, card)
    return Program(text.from_json(metadata[GRAPH_KEY]), tensors, card)


def write(program: Program, path: Path) -> None:
    """Write tensors, graph and card; the same program gives the same bytes."""
    tensors = {
        name: np.ascontiguousarray(values, dtype=np.float32)
        for name, values in program.tensors.items()
    }
    metadata = {GRAPH_KEY: text.to_json(program.graph)}
    if program.card:
        metadata[CARD_KEY] = program.card
    path.write_bytes(_ordered(safetensors.numpy.save(tensors, metadata)))


def _ordered(data: bytes) -> bytes:
    """The file with its metadata in order: the library writes it in that of a hash map."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text_bytes = json.dumps(header, separators=(",", ":")).encode()
    text_bytes += b" " * (-len(text_bytes) % 8)
    return len(text_bytes).to_bytes(8, "little") + text_bytes + data[end:]


def _metadata(data: bytes) -> dict[str, str]:
    length = int.from_bytes(data[:8], "little")
    if length > MAX_TEXT_BYTES:
        raise WeightsError(f"The header claims {length} bytes; weights need {MAX_TEXT_BYTES}.")
    found = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return {str(key): str(value) for key, value in found.items()}
