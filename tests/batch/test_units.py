"""How sources are cut, and what is read from them."""

from __future__ import annotations

import tarfile

import needs
import pytest

from facemask_zoo import ImageError, InvalidArgumentError
from facemask_zoo.batch import units
from facemask_zoo.batch.records import read
from facemask_zoo.batch.units import FILES, PARQUET, TAR, Unit, plan


def records(*sources, **options):
    return [
        record
        for unit in plan([str(source) for source in sources], **options)
        for record in read(unit)
    ]


def write_parquet(path, columns, **options):
    arrow = needs.module("pyarrow")
    needs.module("pyarrow.parquet").write_table(arrow.table(columns), path, **options)
    return path


def test_a_folder_is_read_with_all_below_it_in_the_order_of_names(tmp_path, picture, write_tar):
    for name in ("b.jpg", "a.JPG", "notes.txt", "deeper/c.png", ".hidden/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture(0))
    write_tar(tmp_path / "deeper" / "e.tar", {"f.jpg": picture(1)})
    found = list(plan([str(tmp_path)]))
    assert [unit.kind for unit in found] == [FILES, TAR]
    names = [str(path) for unit in found for path in unit.paths]
    expected = ("a.JPG", "b.jpg", "deeper/c.png", "deeper/e.tar")
    assert names == [str(tmp_path / name) for name in expected]
    assert [unit.number for unit in found] == [0, 1]


def test_a_folder_is_cut_into_units(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "_FILES_PER_UNIT", 3)
    for number in range(7):
        (tmp_path / f"{number}.jpg").touch()
    found = list(plan([str(tmp_path / "*.jpg")]))
    assert [len(unit.paths) for unit in found] == [3, 3, 1]
    assert [Unit.from_json(unit.to_json()) for unit in found] == found


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz"])
def test_a_tar_gives_its_pictures(suffix, tmp_path, picture, write_tar):
    members = {"one.jpg": picture(1), "one.json": b"{}", "folder/two.png": picture(2)}
    mode = f"w:{suffix.partition('.')[2]}"
    path = write_tar(tmp_path / f"shard.{suffix}", members, mode)
    found = records(path)
    assert [(each.source, each.key) for each in found] == [
        (str(path), "one.jpg"),
        (str(path), "folder/two.png"),
    ]
    assert [each.content for each in found] == [picture(1), picture(2)]


def test_links_in_a_tar_lead_nowhere(tmp_path, picture, write_tar):
    path = write_tar(tmp_path / "shard.tar", {"one.jpg": picture(1)})
    with tarfile.open(path, "a") as tar:
        for name, kind in (("link.jpg", tarfile.SYMTYPE), ("hard.jpg", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    assert [each.key for each in records(path)] == ["one.jpg"]


def test_a_large_tar_is_cut_and_read_once(tmp_path, picture, write_tar, monkeypatch):
    names = [f"{number}{'x' * 120}.jpg" for number in range(20)]  # longer than a header holds
    path = write_tar(tmp_path / "s.tar", {name: picture(i) for i, name in enumerate(names)})
    monkeypatch.setattr(units, "_TAR_BYTES_PER_UNIT", 20_000)
    found = list(plan([str(path)]))
    assert len(found) > 2
    keys = [record.key for unit in found for record in read(unit)]
    assert keys == names
    assert records(path)[7].content == picture(7)


def test_a_tar_cut_in_half_gives_what_it_has_and_an_error(tmp_path, picture, write_tar):
    whole = write_tar(tmp_path / "s.tar", {f"{i}.jpg": picture(i) for i in range(10)}).read_bytes()
    half = tmp_path / "half.tar"
    for size in (len(whole) // 2, 512 * 10, 100, 0):
        half.write_bytes(whole[:size])
        *good, last = records(half)
        assert last.error, size
        assert last.source == str(half)
        assert [each.content for each in good] == [picture(i) for i in range(len(good))]


def test_a_tar_cut_between_two_members_is_noticed(tmp_path, picture, write_tar):
    path = write_tar(tmp_path / "s.tar", {f"{i}.jpg": picture(i) for i in range(4)})
    with tarfile.open(path) as tar:
        offset = tar.getmembers()[2].offset
    path.write_bytes(path.read_bytes()[:offset])
    *good, last = records(path)
    assert [each.key for each in good] == ["0.jpg", "1.jpg"]
    assert "cut off" in last.error


@pytest.mark.parametrize("as_struct", [False, True])
def test_parquet_gives_its_pictures(as_struct, tmp_path, picture, monkeypatch):
    monkeypatch.setattr(units, "_ROWS_PER_UNIT", 4)
    contents = [picture(number) for number in range(10)]
    values = [{"bytes": data, "path": None} for data in contents] if as_struct else contents
    names = [f"n{number}" for number in range(10)]
    path = tmp_path / "p.parquet"
    write_parquet(path, {"image": values, "name": names}, row_group_size=2)
    assert [unit.kind for unit in plan([str(path)])] == [PARQUET] * 3
    by_row = records(path)
    assert [each.key for each in by_row] == [str(number) for number in range(10)]
    assert [each.content for each in by_row] == contents
    assert [each.key for each in records(path, key="name")] == names


def test_a_row_without_a_picture_is_an_error_of_its_own(tmp_path, picture):
    path = write_parquet(tmp_path / "p.parquet", {"image": [picture(0), None, picture(2)]})
    assert [each.error is None for each in records(path)] == [True, False, True]


@pytest.mark.parametrize(("column", "key"), [("picture", None), ("image", "name")])
def test_a_missing_column_is_told_at_the_start(column, key, tmp_path, picture):
    path = write_parquet(tmp_path / "p.parquet", {"image": [picture(0)], "other": [1]})
    with pytest.raises(InvalidArgumentError, match="but got image, other"):
        list(plan([str(path)], column=column, key=key))


def test_a_column_of_something_else_is_an_error(tmp_path):
    path = write_parquet(tmp_path / "p.parquet", {"image": [1, 2]})
    (only,) = records(path)
    assert "expected bytes" in only.error


def test_a_damaged_parquet_file_is_an_error_of_its_own(tmp_path, picture):
    whole = write_parquet(tmp_path / "p.parquet", {"image": [picture(0)]}).read_bytes()
    (tmp_path / "p.parquet").write_bytes(whole[: len(whole) // 2])
    (only,) = records(tmp_path / "p.parquet")
    assert only.error


def test_sources_without_pictures_are_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    for source in ("", "notes.txt", "nothing", "*.jpg"):
        with pytest.raises(ImageError):
            list(plan([str(tmp_path / source)]))
