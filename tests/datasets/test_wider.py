"""WIDER FACE, as text and as Matlab files."""

from __future__ import annotations

import needs
import numpy as np
import pytest

from facemask_zoo.datasets import check, read
from facemask_zoo.errors import DatasetError

scipy_io = needs.module("scipy.io")

FIRST, EMPTY, LAST = (
    "0--Parade/0_Parade_marchingband_1_849",
    "0--Parade/0_Parade_Parade_0_452",
    "1--Handshaking/1_Handshaking_2",
)
# x y w h, blur, expression, illumination, invalid, occlusion, pose
FACES = {
    FIRST: [[1, 2, 10, 12, 2, 0, 0, 0, 1, 0], [20, 2, 3, 4, 0, 0, 0, 1, 0, 1]],
    EMPTY: [],
    LAST: [[5, 6, 20, 20, 0, 0, 0, 0, 0, 0]],
}
_FLAGS = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")


def save_text(path):
    lines = []
    for name, rows in FACES.items():
        lines += [f"{name}.jpg", str(len(rows))]
        lines += [" ".join(map(str, row)) + " " for row in rows or [[0] * 10]]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def column(values):
    array = np.empty((len(values), 1), object)
    for index, value in enumerate(values):
        array[index, 0] = value
    return array


def save_matlab(path):
    """As the set does: cells of events, in them cells of files, in them matrices."""
    events = sorted({name.partition("/")[0] for name in FACES})
    names = [[name for name in FACES if name.startswith(event)] for event in events]
    content = {
        "event_list": column(events),
        "file_list": column([column([n.partition("/")[2] for n in some]) for some in names]),
    }
    columns = {"face_bbx_list": slice(0, 4)}
    columns |= {f"{flag}_label_list": slice(4 + n, 5 + n) for n, flag in enumerate(_FLAGS)}
    for name, part in columns.items():
        matrices = [
            column([np.array(FACES[n], float).reshape(-1, 10)[:, part] for n in some])
            for some in names
        ]
        content[name] = column(matrices)
    scipy_io.savemat(path, content)


@pytest.fixture
def wider(tmp_path, picture):
    save_text(tmp_path / "wider_face_split" / "wider_face_train_bbx_gt.txt")
    for name in FACES:
        picture(tmp_path / "WIDER_train" / "images" / f"{name}.jpg")
    return tmp_path


def test_the_text(wider):
    dataset = read(wider)
    assert dataset.problems == ()
    first, empty, last = dataset.pictures
    assert first.path == wider / "WIDER_train" / "images" / f"{FIRST}.jpg"
    assert first.boxes.tolist() == [[1, 2, 11, 14], [20, 2, 23, 6]]
    assert first.ignored.tolist() == [False, True]
    assert first.faces[0].attributes == {"blur": "2", "occlusion": "1"}
    assert first.faces[1].attributes == {"pose": "1"}
    assert (first.labels, first.three_class) == (["no_mask"] * 2, False)
    assert empty.faces == ()
    assert last.boxes.tolist() == [[5, 6, 25, 26]]


def test_the_matlab_file_says_the_same(wider):
    path = wider / "wider_face_split" / "wider_face_train.mat"
    save_matlab(path)
    assert set(read(path).pictures) == set(read(wider).pictures)
    assert read(path).problems == ()


def test_bad_lines_are_reported_and_the_others_read(wider):
    path = wider / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    text = path.read_text().replace("20 2 3 4 0", "20 2 x 4 0").replace("5 6 20 20 0", "5 6 20")
    path.write_text(f"1 2 3 4\n{text}nowhere.jpg\n3\n1 1 5 5\n../../../etc/x.jpg\n1\n1 1 5 5\n")
    report = check(read(wider))
    assert report.counts == {
        "face without a picture": 1,
        "malformed box": 1,
        "malformed line": 1,
        "count differs": 1,
        "missing picture": 1,
        "unsafe file name": 1,
    }
    assert report.dataset.face_count == 1


def test_other_files_are_refused(tmp_path):
    (tmp_path / "wider_face_val_bbx_gt.txt").write_text("nothing")
    with pytest.raises(DatasetError, match="WIDER"):
        read(tmp_path)
    scipy_io.savemat(tmp_path / "wider_face_val.mat", {"event_list": np.eye(2)})
    with pytest.raises(DatasetError, match="WIDER"):
        read(tmp_path / "wider_face_val.mat")
