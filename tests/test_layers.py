"""Imports point one way, and the tool that says so notices where they do not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import needs
import pytest
from places import ROOT


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    needs.package("importlinter")
    program = (
        "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path) -> Path:
    shutil.copytree(ROOT / "facemask_zoo", tmp_path / "facemask_zoo")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_package_keeps_its_layers(checkout):
    result = lint(checkout)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("graph/graph.py", "facemask_zoo.detector"),
        ("backends/base.py", "facemask_zoo.images"),
        ("store.py", "facemask_zoo.session"),
        ("detector.py", "facemask_zoo.converters.conversion"),
        ("files.py", "facemask_zoo.images"),
        ("converters/limits.py", "facemask_zoo.converters.formats"),
    ],
)
def test_an_import_that_points_the_wrong_way_is_found(module, imported, checkout):
    path = checkout / "facemask_zoo" / module
    path.write_text(path.read_text() + f"\nimport {imported}\n")
    result = lint(checkout)
    assert result.returncode == 1
    assert "BROKEN" in result.stdout


def test_a_module_without_a_layer_is_found(checkout):
    (checkout / "facemask_zoo" / "stray.py").write_text('"""A module that no layer names."""\n')
    result = lint(checkout)
    assert result.returncode == 1
    assert "facemask_zoo.stray" in result.stdout
