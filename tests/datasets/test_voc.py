import pytest

from facemask_zoo.datasets import check, read
from facemask_zoo.errors import DatasetError

OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
    "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def write_voc(path, filename, *objects):
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(OBJECT.format(*values) for values in objects)
    path.write_text(f"<annotation><filename>{filename}</filename>{body}</annotation>")


def test_aizoo_files_without_size_and_with_xml_as_filename(tmp_path, picture):
    picture(tmp_path / "test_1.jpg", (60, 50))
    write_voc(
        tmp_path / "test_1.xml",
        "test_1.xml",
        ("face_mask", 0, 10, 11, 20, 22),
        ("face", 1, 30, 30, 40, 45),
    )
    dataset = read(tmp_path)
    (found,) = dataset.pictures
    assert found.path == tmp_path / "test_1.jpg"
    assert found.size == (60, 50)
    assert found.boxes.tolist() == [[10, 11, 20, 22], [30, 30, 40, 45]]
    assert found.labels == ["mask", "no_mask"]
    assert found.ignored.tolist() == [False, True]
    assert not found.three_class
    assert dataset.problems == ()


def test_the_layout_of_voc(tmp_path, picture):
    picture(tmp_path / "JPEGImages" / "7.png")
    write_voc(tmp_path / "Annotations" / "7.xml", "7.png", ("incorrect_mask", 0, 1, 1, 9, 9))
    (found,) = read(tmp_path).pictures
    assert found.path == tmp_path / "JPEGImages" / "7.png"
    assert found.labels == ["incorrect"]
    assert found.three_class


def test_the_xml_files_own_name_helps_when_filename_is_wrong(tmp_path, picture):
    picture(tmp_path / "pictures" / "7.png")
    write_voc(tmp_path / "xml" / "7.xml", "C:\\me\\IMG 1234.JPG", ("face", 0, 1, 1, 9, 9))
    write_voc(tmp_path / "xml" / "8.xml", "", ("face", 0, 1, 1, 9, 9))
    dataset = read(tmp_path / "xml", tmp_path / "pictures")
    assert [found.path.name for found in dataset.pictures] == ["7.png"]
    assert [problem.kind for problem in dataset.problems] == ["missing picture"]


def test_a_filename_cannot_lead_out_of_the_folder(tmp_path, picture):
    picture(tmp_path / "secret.png")
    write_voc(tmp_path / "set" / "a.xml", "../secret.png", ("face", 0, 1, 1, 9, 9))
    assert read(tmp_path / "set").pictures == ()


def test_bad_objects_are_listed(tmp_path, picture):
    picture(tmp_path / "a.jpg")
    objects = [("hand", 0, 1, 1, 9, 9), ("face", 0, "", 1, 9, 9), ("face", 0, 9, 9, 1, 1)]
    write_voc(tmp_path / "a.xml", "a.jpg", *objects, ("face", 0, 1, 1, 9, 9))
    report = check(read(tmp_path))
    assert report.counts == {"unknown category": 1, "malformed box": 1, "box without area": 1}
    assert report.faces["no_mask"] == 1


BILLION_LAUGHS = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY l0 "lol">{}]><annotation><filename>&l9;</filename></annotation>""".format(
    "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
)
EXTERNAL = """<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>
<annotation><filename>&x;</filename></annotation>"""


@pytest.mark.parametrize(
    "content",
    [
        BILLION_LAUGHS,
        EXTERNAL,
        "<!DOCTYPE annotation SYSTEM 'http://localhost/x.dtd'><annotation/>",
        "<annotation><object></annotation>",
        "<html/>",
        "<?xml version='1.0' encoding='nonsense'?><annotation/>",
        "",
        "\0\1\2",
    ],
)
def test_hostile_xml_is_skipped_and_listed(tmp_path, picture, content):
    picture(tmp_path / "good.jpg")
    write_voc(tmp_path / "good.xml", "good.jpg", ("face", 0, 1, 1, 9, 9))
    (tmp_path / "bad.xml").write_text(content)
    dataset = read(tmp_path)
    assert [found.path.name for found in dataset.pictures] == ["good.jpg"]
    assert [problem.kind for problem in dataset.problems] == ["unreadable annotation"]


def test_very_deep_xml_ends_in_a_result(tmp_path, picture):
    picture(tmp_path / "a.jpg")
    depth = 200_000
    (tmp_path / "a.xml").write_text(
        f"<annotation>{'<part>' * depth}{'</part>' * depth}</annotation>"
    )
    assert read(tmp_path).pictures[0].faces == ()


def test_a_folder_without_xml_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"\*\.xml"):
        read(tmp_path, kind="voc")
