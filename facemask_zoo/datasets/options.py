"""Options that every command has which reads labelled pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from facemask_zoo.datasets.labels import LABELS
from facemask_zoo.datasets.reading import FORMATS
from facemask_zoo.errors import InvalidArgumentError


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """``--format`` and ``--label``."""
    parser.add_argument(
        "--format", default="auto", choices=("auto", *FORMATS), help="of the data (%(default)s)"
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME=LABEL",
        help=f"what a category of the data means: {', '.join(LABELS)}",
    )


def read_labels(pairs: Sequence[str]) -> dict[str, str]:
    """Labels by category name, as ``--label`` gives them.

    Raises:
        InvalidArgumentError: One is not of the form ``NAME=LABEL``.
    """
    return dict(split_pair("--label", "NAME=LABEL", pair, last=True) for pair in pairs)


def split_pair(option: str, form: str, text: str, *, last: bool = False) -> tuple[str, str]:
    """The two sides of the first (or last) ``=`` in the value of an option.

    Raises:
        InvalidArgumentError: One of them is missing.
    """
    left, separator, right = text.rpartition("=") if last else text.partition("=")
    if not (left and separator and right):
        raise InvalidArgumentError(f"{option}: expected {form}, but got {text!r}.")
    return left, right
