"""Each framework with nothing but its own extra, in an environment of its own.

Every model of the zoo and a file of the user's own are run in each, on every interpreter named.
Takes minutes and gigabytes, so it is not part of ``make test``; run it with ``make standalone``.

Usage: python tests/standalone.py [FRAMEWORK ...] [--python PYTHON ...] [--model NAME ...]
           [--write docs/frameworks.md]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.benchmarks import environment, markdown
from facemask_zoo.cards import DETECTION, list_models
from facemask_zoo.store import open_weights

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "pictures" / "demo.jpg"
EXPECTED = ["mask", "no_mask"]
BASE = "base"
BASE_FRAMEWORK = "onnx"
OWN_FILE = "own.safetensors"
SCRIPT = "onnx_infer.py"
SECTION = "standalone"
PINNED_FOR = "3.11"
"""Version of Python for which constraints.txt is made; on others, the newest packages are tried."""
NOT_AVAILABLE = ("is not installed", "No matching distribution", "Could not find a version")
UNTRIED = "not tried"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one extra did on one interpreter.

    Attributes:
        python: Its version, such as ``3.11``.
        extra: Name of the extra, or ``BASE``.
        text: Words for the table.
        good: Whether all is well, or nothing can be had for that interpreter.
        megabytes: Size of the environment.
    """

    python: str
    extra: str
    text: str
    good: bool
    megabytes: int = 0


def main() -> int:
    """Try every framework (and the base install), and report what each found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frameworks", nargs="*", default=[BASE, *FRAMEWORKS])
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters")
    parser.add_argument("--model", nargs="+", default=[*list_models(DETECTION), OWN_FILE])
    parser.add_argument("--write", type=Path, help="page whose table gets what was found")
    args = parser.parse_args()
    outcomes = [
        try_alone(python, extra, args.model) for python in args.python for extra in args.frameworks
    ]
    if args.write:
        write_table(args.write, outcomes, args.model)
    return 0 if all(outcome.good for outcome in outcomes) else 1


def try_alone(python: str, extra: str, models: Sequence[str]) -> Outcome:
    """Install one extra, and detect with every model in an empty cache."""
    version = run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()
    with tempfile.TemporaryDirectory() as folder:
        try:
            place = build(Path(folder), python, version, extra)
        except subprocess.CalledProcessError as error:
            return said(Outcome(version, extra, *problem_of(error, "does not install", version)))
        size = size_of(place)
        shutil.copy(open_weights("zoo-260").fetch(), Path(folder) / OWN_FILE)
        framework = BASE_FRAMEWORK if extra == BASE else extra
        found = {model: try_model(model, framework, place, version) for model in models}
        if extra == BASE:
            found[SCRIPT] = try_script(place)
    texts = {text for text, _ in found.values()}
    if len(texts) > 1:  # name the models that do not do as they should
        text = "; ".join(f"{model}: {text}" for model, (text, good) in found.items() if not good)
    else:
        (text,) = texts
    return said(Outcome(version, extra, text, all(good for _, good in found.values()), size))


def build(folder: Path, python: str, version: str, extra: str) -> Path:
    """A virtual environment with the package and one extra."""
    place = folder / "venv"
    run([python, "-m", "venv", str(place)])
    target = str(ROOT) if extra == BASE else f"{ROOT}[{extra}]"
    pins = ["--constraint", str(ROOT / "constraints.txt")] if version == PINNED_FOR else []
    run([str(place / "bin" / "pip"), "install", "--quiet", *pins, target])
    return place


def try_model(model: str, framework: str, place: Path, version: str) -> tuple[str, bool]:
    """Detect in the demonstration picture; the bare and the masked face are to be found."""
    words = ["detect", str(PICTURE), "--json", "--model", model, "--framework", framework]
    try:
        output = run([str(place / "bin" / "facemask-zoo"), *words], cwd=place.parent)
    except subprocess.CalledProcessError as error:
        return problem_of(error, "fails", version)
    labels = sorted(face["label"] for face in json.loads(output)["detections"])
    return ("works", True) if labels == EXPECTED else (f"finds {', '.join(labels)}", False)


def try_script(place: Path) -> tuple[str, bool]:
    """Run one of AIZOO's command lines on the installed package."""
    words = ["-P", str(ROOT / SCRIPT), "--img-path", str(PICTURE)]
    try:
        rows = json.loads(run([str(place / "bin" / "python"), *words], cwd=place.parent))
    except subprocess.CalledProcessError as error:
        return problem_of(error, "fails")
    good = len(rows) == len(EXPECTED)
    return "works" if good else f"finds {len(rows)} faces", good


def problem_of(
    error: subprocess.CalledProcessError, what: str, version: str = PINNED_FOR
) -> tuple[str, bool]:
    """Words for the table; what cannot be had for a newer interpreter is nobody's fault."""
    text = error.stderr or error.stdout or ""
    if version != PINNED_FOR and any(phrase in text for phrase in NOT_AVAILABLE):
        return "not available", True
    sys.stderr.write(f"{text}\n")
    return what, False


def run(command: list[str], cwd: Path | None = None) -> str:
    """Run a command, with an empty cache in `cwd`, and return its standard output."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables["FACEMASK_ZOO_CACHE"] = f"{cwd}/cache"
    result = subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, text=True, check=True
    )
    return result.stdout


def size_of(folder: Path) -> int:
    """Megabytes on disk."""
    return sum(path.lstat().st_size for path in folder.rglob("*")) // 1_000_000


def said(outcome: Outcome) -> Outcome:
    """One line of the report."""
    facts = (outcome.python, outcome.extra.ljust(11), f"{outcome.megabytes} MB", outcome.text)
    sys.stdout.write(f"{'  '.join(facts)}\n")
    sys.stdout.flush()
    return outcome


def write_table(page: Path, outcomes: Sequence[Outcome], models: Sequence[str]) -> None:
    """Put what was found into the table of a page; what was not tried now stays as it was."""
    cells = read_cells(page)
    for outcome in outcomes:
        row = cells.setdefault(outcome.extra, {})
        row[outcome.python] = outcome.text
        if (outcome.megabytes and "Size" not in row) or outcome.python == PINNED_FOR:
            row["Size"] = f"{outcome.megabytes} MB"
    versions = sorted({key for row in cells.values() for key in row} - {"Size"}, key=as_numbers)
    header = ["Extra", *(f"Python {version}" for version in versions), "Size"]
    rows = [
        [
            "none" if extra == BASE else f"`{extra}`",
            *(cells[extra].get(key, UNTRIED) for key in (*versions, "Size")),
        ]
        for extra in (BASE, *FRAMEWORKS)
        if extra in cells
    ]
    tried = ", ".join(f"{each.extra} ({each.python})" for each in outcomes)
    foot = (
        f"The latest run tried {tried} with {', '.join(models)}; other cells are of earlier runs. "
        f"{environment.sentence()}. Made by `make standalone`."
    )
    markdown.replace_section(page, SECTION, f"{markdown.table(header, rows)}\n\n{foot}")


def read_cells(page: Path) -> dict[str, dict[str, str]]:
    """The table as it stands: extra, then version of Python (or ``Size``), then words."""
    lines = markdown.read_section(page, SECTION).splitlines()
    rows = [
        [cell.strip("` ") for cell in line.strip("|").split("|")] for line in lines if "|" in line
    ]
    if not rows:
        return {}
    keys = [title.removeprefix("Python ") for title in rows[0]]
    table = [dict(zip(keys, row, strict=True)) for row in rows[2:]]
    return {BASE if row["Extra"] == "none" else row["Extra"]: known(row) for row in table}


def known(row: dict[str, str]) -> dict[str, str]:
    """The cells of a row that were tried."""
    return {key: text for key, text in row.items() if key != "Extra" and text != UNTRIED}


def as_numbers(version: str) -> list[int]:
    """For sorting: 3.9 before 3.11."""
    return [int(part) for part in re.findall(r"\d+", version)]


if __name__ == "__main__":
    sys.exit(main())
