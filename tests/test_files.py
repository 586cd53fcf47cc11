"""What is written is whole or absent, and takes the place of nothing that is anyone else's."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from facemask_zoo import (
    Classifier,
    Detector,
    FaceMaskZooError,
    Landmarker,
    OutputError,
    WeightsError,
    datasets,
)
from facemask_zoo.converters.conversion import convert
from facemask_zoo.files import (
    MANIFEST_NAME,
    Sources,
    atomic_path,
    check_file,
    check_folder,
    sha256_of,
)
from facemask_zoo.images import load_image
from facemask_zoo.training.config import find_config

ROOT_USER = hasattr(os, "geteuid") and os.geteuid() == 0


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_folder(path: Path, text: str = "content", *, overwrite: bool = False) -> None:
    with atomic_path(path, overwrite=overwrite) as temporary:
        (temporary / "below" / "empty").mkdir(parents=True)
        (temporary / "below" / "file").write_text(text)


def test_a_file_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "new" / "file"
    with atomic_path(target) as temporary:
        temporary.write_text("content")
        assert not target.exists()
    assert target.read_text() == "content"
    assert names_in(target.parent) == ["file"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_error_leaves_nothing(tmp_path, kind):
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "target") as temporary:
        if kind == "folder":
            temporary.mkdir()
        (temporary / "file" if kind == "folder" else temporary).write_text("half")
        raise KeyboardInterrupt
    assert names_in(tmp_path) == []


def test_an_error_leaves_the_target_as_it_was(tmp_path):
    (tmp_path / "file").write_text("before")
    write_folder(tmp_path / "folder")
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "file", overwrite=True) as path:
        path.write_text(str(1 / 0))
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "folder", overwrite=True) as path:
        path.mkdir()
        raise ZeroDivisionError
    assert names_in(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "before"
    assert (tmp_path / "folder" / "below" / "file").read_text() == "content"


def test_a_file_is_replaced_on_request_alone(tmp_path):
    target = tmp_path / "file"
    target.write_text("before")
    with pytest.raises(OutputError, match="exists already"), atomic_path(target):
        pytest.fail("the block must not begin")
    assert target.read_text() == "before"
    with atomic_path(target, overwrite=True) as temporary:
        temporary.write_text("after")
    assert target.read_text() == "after"
    assert names_in(tmp_path) == ["file"]


def test_what_comes_up_in_the_meantime_stays(tmp_path):
    target = tmp_path / "file"
    with pytest.raises(OutputError), atomic_path(target) as temporary:
        temporary.write_text("ours")
        target.write_text("theirs")
    assert target.read_text() == "theirs"
    assert names_in(tmp_path) == ["file"]


def test_a_folder_of_ours_is_replaced_on_request(tmp_path):
    write_folder(tmp_path / "folder", "before")
    with pytest.raises(OutputError, match="exists already"):
        write_folder(tmp_path / "folder", "after")
    write_folder(tmp_path / "folder", "after", overwrite=True)
    assert (tmp_path / "folder" / "below" / "file").read_text() == "after"
    assert (tmp_path / "folder" / "below" / "empty").is_dir()
    assert names_in(tmp_path) == ["folder"]


def add_file(folder: Path) -> None:
    (folder / "below" / "photo.jpg").write_text("mine")


def add_link(folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent)


def alter(folder: Path) -> None:
    (folder / "below" / "file").write_text("edited")


def remove(folder: Path) -> None:
    (folder / "below" / "file").unlink()


def remove_manifest(folder: Path) -> None:
    (folder / MANIFEST_NAME).unlink()


def damage_manifest(folder: Path) -> None:
    (folder / MANIFEST_NAME).write_text("[" * 100_000)


def empty_manifest(folder: Path) -> None:
    (folder / MANIFEST_NAME).write_text('{"files": {}}')


@pytest.mark.parametrize(
    "change",
    [add_file, add_link, alter, remove, remove_manifest, damage_manifest, empty_manifest],
)
def test_a_folder_that_anyone_else_has_used_stays(tmp_path, change):
    folder = tmp_path / "folder"
    write_folder(folder)
    change(folder)
    before = {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}
    for overwrite in (False, True):
        with pytest.raises(OutputError):
            write_folder(folder, "after", overwrite=overwrite)
    assert {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")} == before
    assert names_in(tmp_path) == ["folder"]


@pytest.mark.parametrize("files", [(), ("photo.jpg",)])
def test_a_users_folder_stays(tmp_path, files):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in files:
        (folder / name).write_text("mine")
    with pytest.raises(OutputError, match="not replaced"):
        write_folder(folder, overwrite=True)
    assert names_in(folder) == list(files)


def test_a_file_that_came_into_a_folder_in_the_meantime_stays(tmp_path):
    write_folder(tmp_path / "folder")
    with pytest.raises(OutputError), atomic_path(tmp_path / "folder", overwrite=True) as temporary:
        temporary.mkdir()
        add_file(tmp_path / "folder")
    assert (tmp_path / "folder" / "below" / "photo.jpg").read_text() == "mine"


def test_neither_kind_takes_the_place_of_the_other(tmp_path):
    write_folder(tmp_path / "album.jpg")
    (tmp_path / "notes").write_text("mine")
    with (
        pytest.raises(OutputError, match="is a folder"),
        atomic_path(tmp_path / "album.jpg", overwrite=True) as path,
    ):
        path.write_text("picture")
    with pytest.raises(OutputError, match="is a file"):
        write_folder(tmp_path / "notes", overwrite=True)
    check_folder(tmp_path / "album.jpg")
    assert (tmp_path / "notes").read_text() == "mine"


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("link", "dangling"):
        with pytest.raises(OutputError), atomic_path(tmp_path / name):
            pytest.fail("the block must not begin")
        with atomic_path(tmp_path / name, overwrite=True) as temporary:
            temporary.write_text("new")
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_text() == "new"
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_a_link_to_a_folder_stays(tmp_path):
    write_folder(tmp_path / "folder")
    (tmp_path / "link").symlink_to("folder")
    with pytest.raises(OutputError, match="link"):
        write_folder(tmp_path / "link", "after", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    check_folder(tmp_path / "folder")


def test_the_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    flushed = []
    fsync = os.fsync

    def spy(handle):
        flushed.append((os.fstat(handle).st_ino, (tmp_path / "folder").exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", spy)
    write_folder(tmp_path / "folder")
    files = [tmp_path / "folder" / "below" / "file", tmp_path / "folder" / MANIFEST_NAME]
    before = {number for number, there in flushed if not there}
    assert before == {file.stat().st_ino for file in files}
    assert flushed[-1] == (tmp_path.stat().st_ino, True)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are of another kind")
@pytest.mark.parametrize(
    ("umask", "file", "folder"), [("022", 0o644, 0o755), ("027", 0o640, 0o750)]
)
def test_permissions_are_those_of_new_files(tmp_path, umask, file, folder):
    """In a process of its own, since the umask is the whole process's."""
    program = f"""
import os, pathlib, tempfile
from facemask_zoo.files import atomic_path
os.umask(0o{umask})
target = pathlib.Path({str(tmp_path)!r})
with atomic_path(target / "file") as path:
    handle, name = tempfile.mkstemp(dir=path.parent)
    os.close(handle)
    os.rename(name, path)
with atomic_path(target / "folder") as path:
    os.rename(tempfile.mkdtemp(dir=path.parent), path)
    (path / "below").mkdir(0o700)
    (path / "below" / "file").write_text("content")
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    modes = {
        path.relative_to(tmp_path).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in tmp_path.rglob("*")
    }
    assert modes == {
        "file": file,
        "folder": folder,
        f"folder/{MANIFEST_NAME}": file,
        "folder/below": folder,
        "folder/below/file": file,
    }


def test_a_target_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    below = tmp_path / "file" / "below" / "target"
    with pytest.raises(OutputError, match="file is a file: expected a folder"), atomic_path(below):
        pytest.fail("the block must not begin")


def test_the_manifest_lists_every_file(tmp_path):
    write_folder(tmp_path / "folder")
    values = json.loads((tmp_path / "folder" / MANIFEST_NAME).read_text())
    assert values == {"files": {"below/file": sha256_of(tmp_path / "folder" / "below" / "file")}}


def test_a_file_is_checked(tmp_path):
    path = tmp_path / "file"
    path.write_text("content")
    digest = sha256_of(path)
    check_file(path, digest, 7)
    with pytest.raises(WeightsError, match="expected 8 bytes"):
        check_file(path, digest, 8)
    with pytest.raises(WeightsError, match="altered"):
        check_file(path, digest[::-1], 7)
    with pytest.raises(WeightsError, match="missing"):
        check_file(tmp_path / "absent", digest, 7)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(WeightsError, match="Cannot read"):
        check_file(tmp_path / "loop", digest, 7)


def test_a_source_is_known_by_any_of_its_names(tmp_path, monkeypatch):
    source = tmp_path / "a.jpg"
    source.write_text("mine")
    (tmp_path / "b.jpg").write_text("another")
    (tmp_path / "link.jpg").symlink_to(source)
    os.link(source, tmp_path / "hard.jpg")
    monkeypatch.chdir(tmp_path)
    sources = Sources(["a.jpg", "missing.jpg", "rtsp://camera", "nul\0l"])
    for name in ("a.jpg", "link.jpg", "hard.jpg", tmp_path / "below" / ".." / "a.jpg"):
        if ".." in str(name):
            (tmp_path / "below").mkdir()
        with pytest.raises(OutputError, match="is a source"):
            sources.check(Path(name))
    sources.check(Path("b.jpg"))
    sources.check(Path("missing.jpg"))


@pytest.mark.skipif(ROOT_USER, reason="everything is readable to root")
def test_an_unreadable_file_is_called_so():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_text("content")
        digest = sha256_of(path)
        path.chmod(0)
        with pytest.raises(WeightsError, match="Cannot read"):
            check_file(path, digest, 7)


@pytest.mark.parametrize(
    "use",
    [
        lambda name: Detector.load(f"{name}.onnx"),
        lambda name: Detector.load(f"{name}@640"),
        Classifier.load,
        Landmarker.load,
        lambda name: convert(name, "target.onnx"),
        lambda name: convert("zoo-260", f"{name}.onnx"),
        load_image,
        lambda name: list(Detector.load(framework="onnx").stream(f"{name}.mp4")),
        lambda name: list(Detector.load(framework="onnx").stream(name)),
        datasets.read,
        lambda name: find_config(name),
    ],
)
def test_a_name_that_is_too_long_is_that_of_nothing(use):
    with pytest.raises(FaceMaskZooError):
        use("x" * 300)
