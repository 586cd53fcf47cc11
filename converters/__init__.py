"""Weights in and out of every format: the table of formats, and reading and writing with it.

``formats`` holds one file per format. Conversion with proof runs frameworks, and so is imported by
itself, from ``facemask_zoo.converters.conversion``.
"""

from __future__ import annotations

from facemask_zoo.converters.formats.registry import (
    FORMATS,
    Format,
    find_format,
    format_for,
    format_of,
)
from facemask_zoo.model_files import read, read_card, source_files, staged, write

__all__ = [
    "FORMATS",
    "Format",
    "find_format",
    "format_for",
    "format_of",
    "read",
    "read_card",
    "source_files",
    "staged",
    "write",
]
