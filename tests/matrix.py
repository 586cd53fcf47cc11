"""Tables of what the sessions of ``noxfile.py`` found, for docs/frameworks.md.

Usage: python tests/matrix.py [--results out/matrix] [--write docs/frameworks.md]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import defusedxml.ElementTree as ElementTree

from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.benchmarks import environment, markdown

SECTION = "versions"
UNTRIED = "not tried"
OTHERS = ("onnxruntime", "onnx", "pillow")


@dataclasses.dataclass(frozen=True)
class Cell:
    """What one session found.

    Attributes:
        about: What the session was of, the interpreter included.
        packages: Version of each package that was installed.
        passed: Tests that passed.
        failed: Tests that did not, errors included; None if the tests did not run to their end.
    """

    about: dict[str, str]
    packages: dict[str, str]
    passed: int
    failed: int | None

    @property
    def outcome(self) -> str:
        """Words for a cell of the table."""
        if self.failed is None:
            return "no result"
        return f"{self.passed} pass" + (f", {self.failed} fail" if self.failed else "")


def main() -> int:
    """Write the tables; 1 if a session failed, or none ran."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("out/matrix"))
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    cells = [read(path) for path in sorted(args.results.glob("*.json"))]
    text = "\n\n".join([interpreters(cells), frameworks(cells), foot()])
    sys.stdout.write(text + "\n")
    if args.write:
        markdown.replace_section(args.write, SECTION, text)
    return 0 if cells and not any(cell.failed != 0 for cell in cells) else 1


def read(path: Path) -> Cell:
    """A session's result from its two files."""
    about = json.loads(path.read_text())
    packages = about.pop("packages")
    report = path.with_suffix(".xml")
    if not report.exists():
        return Cell(about, packages, 0, None)
    suite = ElementTree.parse(report).getroot().find("testsuite")
    tests, skipped, *bad = (
        int(suite.get(key)) for key in ("tests", "skipped", "failures", "errors")
    )
    return Cell(about, packages, tests - skipped - sum(bad), sum(bad))


def interpreters(cells: Sequence[Cell]) -> str:
    """The base install by interpreter and NumPy."""
    rows = [
        (
            cell.about["python"],
            *(cell.packages[name] for name in ("numpy", *OTHERS)),
            cell.outcome,
        )
        for cell in cells
        if cell.about["kind"] == "base"
    ]
    return markdown.table(("Python", "NumPy", *OTHERS, "Tests of the base install"), rows)


def frameworks(cells: Sequence[Cell]) -> str:
    """Every framework in its oldest and newest version."""
    found = {(cell.about.get("framework"), cell.about.get("edge")): cell for cell in cells}
    rows = []
    for name in FRAMEWORKS:
        row = [f"`{name}`"]
        for edge in ("oldest", "newest"):
            cell = found.get((name, edge))
            row += [version(cell, name), cell.outcome] if cell else [UNTRIED, ""]
        rows.append(tuple(row))
    return markdown.table(("Framework", "Oldest", "Its tests", "Newest", "Its tests"), rows)


def version(cell: Cell, framework: str) -> str:
    """Version of a framework in a session, and of NumPy."""
    names = FRAMEWORKS[framework].distributions
    own = next((cell.packages[name] for name in names if name in cell.packages), "none")
    return f"{own} (NumPy {cell.packages['numpy']})"


def foot() -> str:
    """Where and how it was measured."""
    return f"{environment.sentence()}. Made by `make test-matrix`."


if __name__ == "__main__":
    sys.exit(main())
