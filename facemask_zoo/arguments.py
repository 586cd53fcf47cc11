"""Checks of what callers hand over: each names the argument, what was expected, and what came."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from facemask_zoo.errors import InvalidArgumentError, UnknownNameError

MAX_CLASSES = 4096
_MAX_NUMBER = 1e6

Value = TypeVar("Value")


def check_number(what: str, value: object, low: float, high: float = math.inf) -> float:
    """See that a value is a finite number in a range.

    Returns:
        It, as a plain number.

    Raises:
        InvalidArgumentError: It is not.
    """
    if not _is_number(value) or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type, operator]
        limits = f"from {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
        raise InvalidArgumentError(f"{what}: expected a number {limits}, but got {value!r:.100}.")
    return float(value)  # type: ignore[arg-type]


def check_count(what: str, value: object, low: int = 1) -> None:
    """See that a value is an integer of any kind, NumPy's included, and not too small.

    Raises:
        InvalidArgumentError: It is not.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low:  # type: ignore[operator]
        expected = "a positive int" if low == 1 else f"an int from {low}"
        raise InvalidArgumentError(f"{what}: expected {expected}, but got {value!r:.100}.")


def check_integer(what: str, value: object, low: int, high: int) -> None:
    """See that a value of a configuration is a plain integer in a range.

    Raises:
        InvalidArgumentError: It is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidArgumentError(
            f"{what}: expected an integer from {low} to {high}, but got {value!r:.100}."
        )


def check_numbers(what: str, values: Sequence[object]) -> None:
    """See that there are values, and that all are positive numbers.

    Raises:
        InvalidArgumentError: They are not.
    """
    good = all(isinstance(v, int | float) and 0 < v < _MAX_NUMBER for v in values)
    if not values or not good:
        raise InvalidArgumentError(f"{what}: expected positive numbers, but got {values!r:.100}.")


def check_labels(labels: Sequence[object]) -> None:
    """See that there are labels, as texts, and not too many.

    Raises:
        InvalidArgumentError: They are not.
    """
    if not labels or not all(isinstance(label, str) for label in labels):
        raise InvalidArgumentError(f"classes: expected labels, but got {labels!r:.100}.")
    check_integer("number of classes", len(labels), 1, MAX_CLASSES)


def check_kind(what: str, value: object, kind: type) -> None:
    """See that a value is of a type.

    Raises:
        InvalidArgumentError: It is not.
    """
    if not isinstance(value, kind):
        raise InvalidArgumentError(f"{what}: expected {kind.__name__}, but got {value!r:.100}.")


def path_text(what: str, value: object) -> str:
    """A path (or a name in its place) as text.

    Raises:
        InvalidArgumentError: It is neither a text nor a path.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or "\0" in text:
        raise InvalidArgumentError(f"{what}: expected a name or path, but got {value!r:.100}.")
    return text


def label_tuple(what: str, values: object) -> tuple[str, ...]:
    """Several labels; one text is not taken for its letters.

    Raises:
        InvalidArgumentError: They are no texts, or not several.
    """
    labels = tuple(values) if isinstance(values, Sequence | np.ndarray) else None
    if isinstance(values, str) or labels is None or not all(isinstance(v, str) for v in labels):
        raise InvalidArgumentError(f"{what}: expected several labels, but got {values!r:.100}.")
    return labels


def look_up(kind: str, name: object, table: Mapping[str, Value], *also: str) -> Value:
    """The entry of a table.

    Args:
        kind: What is looked up, for example ``"model"``.
        name: What the caller asked for.
        table: What there is.
        also: Other names that the caller may use, for the error.

    Raises:
        UnknownNameError: There is no such entry.
    """
    if not isinstance(name, str) or name not in table:
        raise UnknownNameError.among(kind, name, [*also, *table])
    return table[name]


def _is_number(value: object) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and not isinstance(value, bool)
