"""Checks that configurations share."""

from __future__ import annotations

from collections.abc import Sequence

from facemask_zoo.errors import InvalidArgumentError

MAX_CLASSES = 4096
_MAX_NUMBER = 1e6


def check_integer(what: str, value: object, low: int, high: int) -> None:
    """See that a value is an integer in a range.

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
