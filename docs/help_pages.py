"""What MkDocs does to the pages: help of commands goes in, Sphinx's roles go out.

What a command prints for ``--help`` stands where a page has ``<!-- help: COMMAND -->``.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
from typing import Any

# Rich and argparse look at these when they are imported or asked.
os.environ.update(COLUMNS="88", TERMINAL_WIDTH="88", NO_COLOR="1")

from facemask_zoo import cli

_PLACE = re.compile(r"<!-- help: (.+?) -->")
_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):(?=<code>)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with the text of each page."""
    return _PLACE.sub(lambda place: f"```text\n{_help(place[1])}\n```", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Called by MkDocs with the page as HTML; docstrings name things as Sphinx does."""
    return _ROLE.sub("", html)


def _help(command: str) -> str:
    """What a command prints for ``--help``."""
    words = shlex.split(command)[1:]
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        cli.app([*words, "--help"], prog_name="facemask-zoo")
    return printed.getvalue().strip()
