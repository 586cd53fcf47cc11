"""Options that several commands have."""

from __future__ import annotations

import argparse

TILES_METAVAR = "PIXELS"
TILES_HELP = (
    "also search windows of that side, for faces that are small in large pictures; takes as many "
    "times longer as there are windows"
)


def add_tiles_option(group: argparse._ActionsContainer) -> None:
    """``--tiles``, in a command that :mod:`argparse` reads."""
    group.add_argument("--tiles", type=int, metavar=TILES_METAVAR, help=TILES_HELP)
