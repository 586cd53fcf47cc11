"""No framework is passed over in silence by a run that was told to require all of them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import needs
import pytest
from places import ROOT

TESTS = ROOT / "tests"
BY_ITS_OWN_HAND = ("importorskip", "find_spec")
"""What skips, or finds out that it should, without asking `needs`."""


@pytest.fixture(params=[needs.module, needs.package, needs.framework])
def absent(request, monkeypatch):
    """Asks for something that is not installed."""
    monkeypatch.setattr(needs, "_required", False)
    monkeypatch.setitem(sys.modules, "ncnn", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    return lambda: request.param("ncnn")


def test_what_is_missing_skips(absent):
    with pytest.raises(pytest.skip.Exception, match=r"ncnn.* not installed"):
        absent()


def test_what_is_missing_fails_where_all_is_required(absent):
    needs.require_all(True)
    with pytest.raises(pytest.fail.Exception, match=needs.OPTION):
        absent()


def test_a_package_that_does_not_import_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(needs, "_required", True)
    (tmp_path / "broken_package.py").write_text("import no_such_package_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(pytest.fail.Exception, match="does not import"):
        needs.module("broken_package")


def calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node


def skips_by_itself(call: ast.Call) -> bool:
    """Modules of Python itself may be absent from a system, whatever is installed."""
    (name, *_) = call.args or [None]
    own = isinstance(name, ast.Constant) and name.value in sys.stdlib_module_names
    return call.func.attr in BY_ITS_OWN_HAND and not own


def test_no_test_skips_by_itself_what_is_not_installed():
    paths = [path for path in TESTS.rglob("*.py") if path.name != "needs.py"]
    assert len(paths) > 50
    found = [
        f"{path.relative_to(TESTS)}:{call.lineno}"
        for path in paths
        for call in calls(path)
        if skips_by_itself(call)
    ]
    assert not found, f"Ask tests/needs.py instead: {', '.join(found)}"
