"""MaskedFace-Net, CelebA+masks and CASIA+masks, by their folders and names."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from facemask_zoo.datasets import read
from facemask_zoo.errors import DatasetError


def write(path, size=(64, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 80, 70)).save(path)


NAMES = {
    "CMFD/41000/41192_Mask.jpg": "mask",
    "IMFD/37000/37460_Mask_Nose_Mouth.jpg": "incorrect",
    "IMFD/47000/47855_Mask_Mouth_Chin.jpg": "incorrect",
    "IMFD/12000/12345_Mask_Chin.jpg": "incorrect",
}


@pytest.fixture
def net(tmp_path):
    for name in NAMES:
        write(tmp_path / name)
    return tmp_path


def by_name(dataset):
    return {each.path.relative_to(dataset.path).as_posix(): each for each in dataset.pictures}


def test_masked_face_net_is_known_by_its_folders(net):
    found = by_name(read(net))
    assert {name: each.labels[0] for name, each in found.items()} == NAMES
    for each in found.values():
        assert each.faces[0].box == (0, 0, 64, 64)
        assert each.three_class


def test_names_that_do_not_fit_are_reported(net):
    for name in (
        "CMFD/41000/41193.jpg",
        "CMFD/41000/41194_Mask_Chin.jpg",
        "IMFD/1/5_Mask_Eyes.jpg",
    ):
        write(net / name)
    (net / "IMFD/37000/37461_Mask_Chin.jpg").write_bytes(b"cut off")
    dataset = read(net)
    assert len(dataset) == len(NAMES)
    assert sorted(each.kind for each in dataset.problems) == [
        "corrupt picture",
        *["unknown file name"] * 3,
    ]


def test_what_a_kill_left_behind_is_not_read(net):
    write(net / "CMFD/41000/.partial-x7/41195_Mask.jpg")
    assert len(read(net)) == len(NAMES)


def test_bare_faces_share_the_group_of_their_masked_ones(net):
    write(net / "images1024x1024/41000/41192.png")
    found = by_name(read(net))
    bare = found["images1024x1024/41000/41192.png"]
    assert bare.labels == ["no_mask"]
    assert bare.group == found["CMFD/41000/41192_Mask.jpg"].group == "41192"


def test_boxes_come_from_ffhqs_landmarks(net):
    points = [[400 + 10 * (n % 17), 500 + 20 * (n // 17) + n % 3] for n in range(68)]
    content = {"41192": {"image": {"face_landmarks": points}}}
    (net / "ffhq-dataset-v2.json").write_text(json.dumps(content))
    found = by_name(read(net))
    x1, y1, x2, y2 = found["CMFD/41000/41192_Mask.jpg"].faces[0].box
    assert (x1, x2) == pytest.approx((400 / 16, 560 / 16), abs=1)
    assert 0 <= y1 < y2 <= 64
    assert found["IMFD/12000/12345_Mask_Chin.jpg"].faces[0].box == (0, 0, 64, 64)


def test_damaged_metadata_is_refused(net):
    (net / "ffhq-dataset-v2.json").write_text("{")
    with pytest.raises(DatasetError, match="FFHQ"):
        read(net)


def test_celeba_pairs_pictures_by_number(tmp_path):
    for name in ("masked_celeba/000001.jpg", "img_celeba/000001.jpg", "img_celeba/000002.jpg"):
        write(tmp_path / name)
    found = by_name(read(tmp_path))
    assert found["masked_celeba/000001.jpg"].labels == ["mask"]
    assert found["img_celeba/000001.jpg"].labels == ["no_mask"]
    assert {each.group for each in found.values()} == {"000001", "000002"}
    assert not any(each.three_class for each in found.values())


@pytest.mark.parametrize("folder", ["masked_CASIA-WebFace", "masked_casia"])
def test_casia_groups_by_identity(tmp_path, folder):
    for name in (f"{folder}/0000045/001.jpg", f"{folder}/0000045/002.jpg", "casia/0000099/001.jpg"):
        write(tmp_path / name)
    dataset = read(tmp_path)
    assert sorted(each.group for each in dataset.pictures) == ["0000045", "0000045", "0000099"]


@pytest.mark.parametrize("kind", ["masked-face-net", "celeba-masks", "casia-masks"])
def test_a_folder_without_theirs_is_refused(tmp_path, kind):
    with pytest.raises(DatasetError, match="expected a folder"):
        read(tmp_path, kind=kind)
