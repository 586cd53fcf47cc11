"""The package on other versions of Python, NumPy and the frameworks: ``make test-matrix``.

Every session leaves what its tests said in ``out/matrix``, from which ``tests/matrix.py`` makes the
tables of docs/frameworks.md.
"""

from __future__ import annotations

import json
from pathlib import Path

import nox

from facemask_zoo.backends import FRAMEWORKS

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv"

PYTHONS = ("3.11", "3.12", "3.13")
NUMPYS = {"1.26": "numpy>=1.26,<2", "2": "numpy>=2"}
LAST_PYTHON_OF_NUMPY_1 = "3.12"
EDGES = {"oldest": "lowest-direct", "newest": "highest"}
TOOLS = ("hypothesis>=6.100", "pytest>=8", "setuptools>=77")
RESULTS = Path("out/matrix")
LIST_PACKAGES = (
    "import json; from importlib.metadata import distributions as all; "
    "print(json.dumps({d.name.lower(): d.version for d in all()}))"
)

WITHOUT_FRAMEWORKS = (
    "tests/architectures",
    "tests/graph",
    "tests/ssd",
    "tests/tasks",
    "tests/test_cards.py",
    "tests/test_cli.py",
    "tests/test_detections.py",
    "tests/test_detector.py",
    "tests/test_images.py",
    "tests/test_store.py",
    "tests/test_streaming.py",
)
WITH_A_FRAMEWORK = (
    "tests/test_backends.py",
    "tests/test_classifier.py",
    "tests/test_detector.py",
)


@nox.session(python=PYTHONS)
@nox.parametrize("numpy", list(NUMPYS))
def base(session: nox.Session, numpy: str) -> None:
    """The base install, on an interpreter and a major version of NumPy."""
    assert isinstance(session.python, str)
    if numpy.startswith("1") and session.python > LAST_PYTHON_OF_NUMPY_1:
        session.skip(f"NumPy {numpy} is not made for Python {session.python}.")
    session.install(".", NUMPYS[numpy], *TOOLS)
    check(session, {"kind": "base", "numpy": numpy}, WITHOUT_FRAMEWORKS)


@nox.session(python=PYTHONS[0])
@nox.parametrize("edge", list(EDGES))
@nox.parametrize("framework", list(FRAMEWORKS))
def framework(session: nox.Session, framework: str, edge: str) -> None:
    """A framework with its extra alone, in the oldest and newest versions that the extra allows."""
    session.install("--resolution", EDGES[edge], f".[{framework}]", *TOOLS)
    check(session, {"kind": "framework", "framework": framework, "edge": edge}, WITH_A_FRAMEWORK)


def check(session: nox.Session, about: dict[str, str], tests: tuple[str, ...]) -> None:
    """Run tests, and write down what was installed and how they ended."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    name = "-".join([str(session.python), *about.values()])
    listed = session.run("python", "-c", LIST_PACKAGES, silent=True)
    record = {**about, "python": session.python, "packages": json.loads(str(listed))}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1))
    report = RESULTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    session.run("pytest", "-q", f"--junitxml={report}", *tests, *session.posargs)
