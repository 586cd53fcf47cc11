"""The code blocks of README and the documentation, and what is to be done with each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from places import ROOT

DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(DOCS.rglob("*.md")),
]

NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
NEEDS = re.compile(r"<!-- needs: (.+) -->")

FORMATS_HEADING = "The formats, and how to load them"
"""Of docs/converting.md; tests/test_docs.py runs what stands below it, on every format's file."""


class Block(NamedTuple):
    """One fenced block.

    Attributes:
        page: File that it stands in.
        line: Number of its first line of code.
        language: What it is said to be; empty if nothing is said.
        code: Its text.
        not_run: Why it is not run, if the page says so.
        needs: What it needs that users may not have, if the page says so.
        is_fenced: Whether it is fenced, and not only indented.
        heading: The last heading of the second level before it.
    """

    page: Path
    line: int
    language: str
    code: str
    not_run: str
    needs: str
    is_fenced: bool
    heading: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_run_elsewhere(self) -> bool:
        return self.page.name == "converting.md" and self.heading == FORMATS_HEADING


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    found, heading, comment = [], "", ""
    tokens = MarkdownIt("commonmark").parse(page.read_text())
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and token.tag == "h2":
            heading = following.content
        if token.type in ("fence", "code_block"):
            found.append(_block(page, token, comment, heading))
        comment = token.content if token.type == "html_block" else ""
    return found


def _block(page: Path, token, comment: str, heading: str) -> Block:
    not_run, needs = NOT_RUN.search(comment), NEEDS.search(comment)
    is_fenced = token.type == "fence"
    return Block(
        page,
        token.map[0] + 1 + is_fenced,
        token.info.strip(),
        token.content,
        not_run[1] if not_run else "",
        needs[1] if needs else "",
        is_fenced,
        heading,
    )
