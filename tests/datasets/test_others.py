from pathlib import Path

import pytest
from PIL import Image

from facemask_zoo.datasets import check, read, read_negatives
from facemask_zoo.errors import DatasetError

SHARED = Path(__file__).parents[3] / "shared" / "data"


def test_csv_rows_become_pictures(tmp_path, picture):
    picture(tmp_path / "images" / "1.jpg")
    (tmp_path / "faces.csv").write_text(
        "class,x,y,w,h,image\nmasked,1,2,10,5,1.jpg\nnot_masked,3,4,5,6,1.jpg\nface,1,1,1,1,2.jpg\n"
    )
    dataset = read(tmp_path)
    (found,) = dataset.pictures
    assert found.boxes.tolist() == [[1, 2, 11, 7], [3, 4, 8, 10]]
    assert found.labels == ["mask", "no_mask"]
    assert [problem.kind for problem in dataset.problems] == ["missing picture"]
    assert read(tmp_path / "faces.csv").pictures == dataset.pictures


def test_csv_with_dataroots_columns(tmp_path, picture):
    picture(tmp_path / "raw" / "1.jpg")
    path = tmp_path / "test_validation_metadata.csv"
    path.write_text("class,x,y,w,h,raw_img_dir\nmasked,1,2,10,5,data/raw_images/1.jpg\n")
    assert read(path, tmp_path / "raw").pictures[0].labels == ["mask"]


@pytest.mark.parametrize("content", ["", "class,x,y\n", "a\0b\n", "x" * 200_000])
def test_csv_without_the_columns_is_refused(tmp_path, content):
    (tmp_path / "faces.csv").write_text(content)
    with pytest.raises(DatasetError, match=r"faces\.csv"):
        read(tmp_path)


def test_rows_that_are_too_short_are_listed(tmp_path, picture):
    picture(tmp_path / "images" / "1.jpg")
    (tmp_path / "faces.csv").write_text("image,class,x,y,w,h\n1.jpg,masked,1,2\n\n1.jpg\n")
    report = check(read(tmp_path))
    assert report.counts == {"malformed box": 2}


def test_a_picture_on_its_side_is_measured_upright(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "images" / "1.jpg", (40, 30), exif=exif)
    (tmp_path / "faces.csv").write_text("class,x,y,w,h,image\nmasked,1,31,10,5,1.jpg\n")
    report = check(read(tmp_path))
    assert report.dataset.pictures[0].size == (30, 40)
    assert report.problems == ()


def test_negatives_are_pictures_without_faces(tmp_path, picture):
    picture(tmp_path / "deep" / "a.jpg")
    (tmp_path / "b.jpg").write_text("no picture")
    dataset = read_negatives(tmp_path)
    assert [found.faces for found in dataset.pictures] == [()]
    assert [problem.kind for problem in dataset.problems] == ["corrupt picture"]
    with pytest.raises(DatasetError, match="expected pictures"):
        read_negatives(tmp_path / "deep" / "nothing")


def test_the_format_is_recognised_or_refused(tmp_path):
    with pytest.raises(DatasetError, match="COCO"):
        read(tmp_path)
    (tmp_path / "a.tar").write_text("")
    with pytest.raises(DatasetError, match="COCO"):
        read(tmp_path / "a.tar")


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_the_data_at_hand_is_sound():
    val = check(read(SHARED / "detection" / "val.json"), decode=False)
    assert val.problems == ()
    assert val.faces == {"mask": 583, "no_mask": 335, "incorrect": 40, "ignored": 0}
    assert len(val.dataset.from_sources(["jolignier1750", "chienyld678"])) == 171
    two_stage = check(read(SHARED / "two_stage"), decode=False)
    assert two_stage.problems == ()
    assert (len(two_stage.dataset), two_stage.dataset.face_count) == (151, 301)
