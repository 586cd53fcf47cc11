"""What `make release` builds: whole, listed with digests, and the same bytes every time."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile

import needs
import process
import pytest
from places import ROOT

from facemask_zoo.files import sha256_of

SCRIPT = ROOT / ".ci" / "release.py"
FORMATS = ("safetensors", "onnx", "ncnn", "mxnet")
IS_CHECKOUT = (ROOT / ".git").exists()


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    """Two of them, one after the other, of one model in formats that need no framework."""
    if not IS_CHECKOUT:
        pytest.skip("needs a git checkout")
    needs.package("build")
    folders = [tmp_path_factory.mktemp("releases") / "dist" for _ in range(2)]
    for folder in folders:
        words = ("--models", "zoo-260", "--formats", *FORMATS)
        result = process.run(SCRIPT, folder, *words)
        assert result.returncode == 0, result.stderr
    return folders


def test_two_builds_have_the_same_bytes(releases):
    first, second = ((folder / "SHA256SUMS").read_text() for folder in releases)
    assert first == second


def test_everything_is_listed_with_its_digest(releases):
    folder = releases[0]
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(sums) == files - {"SHA256SUMS"}
    assert all(sha256_of(folder / name) == digest for name, digest in sums.items())
    assert {name.split("/")[1] for name in sums if name.startswith("zoo-260/")} == set(FORMATS)
    assert {name.rpartition(".")[2] for name in sums if "/" not in name} == {"whl", "gz"}


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    result = process.run(SCRIPT, tmp_path)
    assert result.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_source_distribution_holds_what_is_committed(releases):
    """But for the links to folders beside the package, which nothing that is installed needs."""
    (path,) = releases[0].glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    command = ["git", "-C", ROOT, "ls-tree", "-r", "HEAD"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    links = "120000"
    rows = [line.split(maxsplit=3) for line in listed.splitlines()]
    committed = {name for mode, _, _, name in rows if mode != links}
    assert committed - held == {".gitignore"}
    for name in ("constraints.txt", "pytorch_infer.py", "docs/index.md", "tests/test_release.py"):
        assert name in held


def test_the_source_distribution_becomes_the_wheel(releases, tmp_path):
    (source,) = releases[0].glob("*.tar.gz")
    (wheel,) = releases[0].glob("*.whl")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path]
    subprocess.run([*command, "--no-build-isolation", source], check=True, timeout=300)
    (rebuilt,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(rebuilt) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())
