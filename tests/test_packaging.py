"""What an installation holds."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest
from places import ROOT


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_only_the_package_appears_in_site_packages(names):
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"facemask_zoo"}


def test_every_module_and_card_is_installed(names):
    parts = {"facemask_zoo": "facemask_zoo", "converters": "facemask_zoo/converters"}
    parts |= {"weights": "facemask_zoo/weights", "benchmarks": "facemask_zoo/benchmarks"}
    listed = subprocess.run(
        ["git", "ls-files", *parts], cwd=ROOT, capture_output=True, text=True, check=False
    )
    files = [line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]
    assert len(files) > 30
    for file in files:
        folder, rest = file.split("/", 1)
        assert f"{parts[folder]}/{rest}" in names


def test_the_types_are_announced(names):
    assert "facemask_zoo/py.typed" in names


def test_the_package_imports_no_framework():
    program = """
import sys
import facemask_zoo, facemask_zoo.cli
heavy = {"torch", "tensorflow", "keras", "mxnet", "cv2", "onnxruntime", "onnx", "av"}
print(sorted(heavy & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
