"""Pipes and devices in the place of files: nothing waits for them, and none is replaced."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys

import pytest
from attacks.samples import WEIGHTS, make_sample

from facemask_zoo import Classifier, Detector, OutputError, WeightsError, cli, model_files
from facemask_zoo.files import MANIFEST_NAME, atomic_path, check_folder, check_target

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no such files")

_PATIENCE_SECONDS = 60


@pytest.fixture(autouse=True)
def alarm():
    """Ends a test that waits for a pipe."""

    def stop(*_: object) -> None:
        raise TimeoutError("it waits for a pipe")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_PATIENCE_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "pipe.onnx"
    os.mkfifo(path)
    return path


@pytest.fixture(params=["pipe", "device", "link"])
def special(request, tmp_path):
    path = tmp_path / "special.onnx"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "link":
        path.symlink_to("/dev/null")
    else:
        try:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes devices")
    return path


def test_weights_are_not_read_from_it(special):
    for read in (
        model_files.read,
        Detector.load,
        Classifier.load,
        lambda path: Detector.load(path, trust=True),
    ):
        with pytest.raises(WeightsError, match="no regular file"):
            read(special)


def test_it_is_not_converted(pipe, tmp_path, capsys):
    assert cli.main(["convert", str(pipe), str(tmp_path / "o.tflite")]) == 1
    assert "no regular file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize("kind", WEIGHTS)
def test_companions_are_not_read_from_it(kind, tmp_path):
    """What lies beside the weights is either left out or refused."""
    folder = tmp_path / "sample"
    folder.mkdir()
    sample = make_sample(kind, folder)
    companions = [path for path in sample.files if path != sample.path]
    for path in companions:
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        with contextlib.suppress(WeightsError):
            model_files.read(sample.path)
        path.unlink()
        path.write_bytes(content)
    model_files.read(sample.path)


def test_a_folder_is_not_checked_by_it(tmp_path):
    folder = tmp_path / "folder"
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        (temporary / "file").write_text("content")
    for name in ("file", MANIFEST_NAME):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(WeightsError, match="missing"):
            check_folder(folder)
        with pytest.raises(OutputError), atomic_path(folder, overwrite=True):
            pytest.fail("the block must not begin")


def test_it_is_not_replaced(special):
    before = os.lstat(special)
    for overwrite in (False, True):
        with pytest.raises(OutputError), atomic_path(special, overwrite=overwrite):
            pytest.fail("the block must not begin")
    assert os.lstat(special) == before


def test_it_is_not_replaced_by_what_is_converted(pipe, tmp_path, capsys):
    source = make_sample("onnx", tmp_path).path
    before = os.lstat(pipe)
    for words in ([str(source), str(pipe)], [str(source), "x.tflite", "--report", str(pipe)]):
        assert cli.main(["convert", *words, "--overwrite"]) == 1
        assert "no regular file" in capsys.readouterr().err
    assert os.lstat(pipe) == before


def test_it_may_be_written_to(special):
    check_target(special, overwrite=True, stream=True)
    with pytest.raises(OutputError, match="exists already"):
        check_target(special, overwrite=False, stream=True)
