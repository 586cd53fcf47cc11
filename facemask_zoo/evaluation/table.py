"""Rows of values as aligned text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ABSENT = "-"
"""Stands for a value that there is not."""


def cell(value: object) -> str:
    """A value for people: fractions with three digits, nothing as a dash."""
    if value is None:
        return ABSENT
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def render(rows: Sequence[Mapping[str, object]]) -> str:
    """A table with one line per row, under the names of all columns in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, *([cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if index else text.ljust(width)
            for index, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
