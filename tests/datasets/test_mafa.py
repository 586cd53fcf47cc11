"""MAFA's labels, as its Matlab files and as text."""

from __future__ import annotations

import needs
import numpy as np
import pytest

from facemask_zoo.datasets import check, read
from facemask_zoo.errors import DatasetError

scipy_io = needs.module("scipy.io")

NONE = [-1, -1, -1, -1]
# x y w h, eyes, occluder, type, degree, gender, race, pose, glasses
TRAIN = {
    "train_00000001.jpg": [
        [5, 6, 10, 12, 8, 9, 12, 9, 1, 5, 8, 6, 1, 3, 1, 1, 4, *NONE],
        [20, 6, 10, 12, 22, 9, 26, 9, 1, 5, 8, 6, 3, 2, 2, 1, 3, *NONE],
    ],
    "train_00000002.jpg": [[1, 2, 30, 20, 9, 9, 20, 9, 3, 9, 20, 9, 2, 1, 1, 1, 1, *NONE]],
}
# x y w h, kind, occluder, type, degree, gender, race, pose, glasses
TEST = {
    "test_00000001.jpg": [
        [5, 6, 10, 12, 1, 1, 5, 8, 6, 1, 3, 1, 1, 4, *NONE],
        [20, 6, 10, 12, 2, *NONE, -1, -1, 1, 1, 3, *NONE],
        [1, 1, 3, 3, 3, *NONE, -1, -1, -1, -1, -1, *NONE],
    ]
}


def save_matlab(path, variable, field, faces):
    """As MAFA does: a row of structs, of which each has a name and a matrix."""
    kinds = [("orgImgName", object), (field, object), ("label", object)]
    table = np.zeros((1, len(faces)), kinds)
    for index, (name, rows) in enumerate(faces.items()):
        table[0, index] = ("add_1.jpg", name, np.array(rows, np.int16))
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy_io.savemat(path, {variable: table})


def save_text(path, faces):
    lines = [" ".join([name, *map(str, row)]) for name, rows in faces.items() for row in rows]
    path.write_text("\n".join(lines) + "\n")


def save_listed_text(path, faces):
    lines = []
    for name, rows in faces.items():
        lines += [f"# {name}", *(", ".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def mafa(tmp_path, picture):
    """Both parts, laid out as they come."""
    save_matlab(tmp_path / "MAFA-Label-Train/LabelTrainAll.mat", "label_train", "imgName", TRAIN)
    save_matlab(tmp_path / "MAFA-Label-Test/LabelTestAll.mat", "LabelTest", "name", TEST)
    for part, names in (("train", TRAIN), ("test", TEST)):
        for name in names:
            picture(tmp_path / f"{part}-images" / "images" / name)
    return tmp_path


def test_the_training_labels(mafa):
    dataset = read(mafa)
    assert dataset.problems == ()
    first, second = dataset.pictures
    assert first.path == mafa / "train-images/images/train_00000001.jpg"
    assert first.boxes.tolist() == [[5, 6, 15, 18], [20, 6, 30, 18]]
    assert first.labels == ["mask", "no_mask"]
    assert first.faces[0].attributes == {
        "occluder": "simple",
        "pose": "right-frontal",
        "occlusion": "3",
    }
    assert first.faces[1].attributes["occluder"] == "body"
    assert second.labels == ["mask"]
    assert not first.three_class


def test_the_testing_labels(mafa):
    (found,) = read(mafa / "MAFA-Label-Test" / "LabelTestAll.mat").pictures
    assert found.labels == ["mask", "no_mask", "mask"]
    assert found.ignored.tolist() == [False, False, True]
    assert found.faces[2].attributes == {}


@pytest.mark.parametrize("save", [save_text, save_listed_text])
def test_text_says_the_same(mafa, save):
    matlab = read(mafa)
    path = mafa / "train.txt"
    save(path, TRAIN)
    text = read(path, mafa / "train-images" / "images", kind="mafa")
    assert text.pictures == matlab.pictures
    assert text.problems == ()


def test_bad_lines_are_reported_and_the_others_read(mafa):
    path = mafa / "train.txt"
    save_text(path, TRAIN)
    lines = path.read_text().splitlines()
    lines += ["1 2 3", "train_00000001.jpg 1 2 3", f"train_00000001.jpg {'x ' * 21}"]
    path.write_text("\n".join([*lines[3:4], *lines[:3], *lines[4:], "missing.jpg " + "1 " * 21]))
    report = check(read(path, mafa / "train-images" / "images", kind="mafa"))
    assert report.counts == {
        "malformed line": 1,
        "malformed box": 1,
        "missing picture": 1,
        "face without a picture": 1,
    }
    assert report.dataset.face_count == 3


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0", b"\x00" * 300, b"\x89HDF\r\n\x1a\n" * 9])
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "LabelTrainAll.mat").write_bytes(content)
    with pytest.raises(DatasetError, match="Matlab"):
        read(tmp_path)


def test_cut_and_altered_files_end_in_our_error_or_in_a_result(mafa):
    path = mafa / "MAFA-Label-Train" / "LabelTrainAll.mat"
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole[: random.integers(100, len(whole))])
        damaged[random.integers(len(damaged))] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
        try:
            read(path)
        except DatasetError:
            continue


def test_other_matlab_files_are_refused(tmp_path):
    scipy_io.savemat(tmp_path / "LabelTrainAll.mat", {"label_train": np.eye(3)})
    with pytest.raises(DatasetError, match="MAFA"):
        read(tmp_path)
