"""FMLD: VOC files for pictures that lie elsewhere."""

from __future__ import annotations

import pytest

from facemask_zoo.datasets import read
from facemask_zoo.errors import DatasetError

OBJECT = (
    "<object><name>{}</name><gender>{}</gender><ethnicity>{}</ethnicity><pose>{}</pose>"
    "<truncated>0</truncated><difficult>{}</difficult><bndbox><xmin>1</xmin><ymin>2</ymin>"
    "<xmax>11</xmax><ymax>14</ymax></bndbox></object>"
)
FACES = (
    ("masked_face", "female", "asian", "front", 0),
    ("unmasked_face", "Unspecified", "unspecified", "turned_sideways", 1),
    ("incorrectly_masked_face", "male", "black", "front", 0),
    ("invalid_face", "unspecified", "unspecified", "unspecified", 0),
)


def annotate(path, filename, database="MAFA"):
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = "".join(OBJECT.format(*face) for face in FACES)
    path.write_text(
        f"<annotation><folder>train</folder><filename>{filename}</filename>"
        f"<source><database>{database}</database></source>{objects}</annotation>"
    )


@pytest.fixture
def fmld(tmp_path, picture):
    annotate(tmp_path / "FMLD_annotations/train/train_00000001.xml", "train_00000001.jpg")
    name = "0_Parade_marchingband_1_20"
    annotate(tmp_path / f"FMLD_annotations/test/{name}.xml", f"{name}.jpg", "WIDER")
    picture(tmp_path / "MAFA/train-images/images/train_00000001.jpg")
    picture(tmp_path / f"WIDER_val/images/0--Parade/{name}.jpg")
    return tmp_path


def test_pictures_are_found_wherever_they_lie(fmld):
    dataset = read(fmld)
    assert dataset.problems == ()
    assert [each.source for each in dataset.pictures] == ["WIDER", "MAFA"]
    found = dataset.pictures[1]
    assert found.labels == ["mask", "no_mask", "incorrect", "no_mask"]
    assert found.ignored.tolist() == [False, True, False, True]
    assert found.three_class
    assert [face.attributes for face in found.faces] == [
        {"gender": "female", "ethnicity": "asian", "pose": "front"},
        {"pose": "turned_sideways"},
        {"gender": "male", "ethnicity": "black", "pose": "front"},
        {},
    ]
    assert read(fmld / "FMLD_annotations", fmld).pictures == dataset.pictures


def test_doubled_and_missing_pictures_are_reported(fmld, picture):
    picture(fmld / "copy" / "train_00000001.jpg")
    (fmld / "FMLD_annotations/train/cut.xml").write_text("<annotation>")
    annotate(fmld / "FMLD_annotations/train/train_00000009.xml", "train_00000009.jpg")
    dataset = read(fmld)
    assert len(dataset) == 1
    assert sorted(each.kind for each in dataset.problems) == [
        "doubled picture",
        "missing picture",
        "unreadable annotation",
    ]


def test_a_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="FMLD"):
        read(tmp_path, kind="fmld")
