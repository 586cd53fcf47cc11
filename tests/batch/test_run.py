"""One table of results, whatever happens on the way."""

from __future__ import annotations

import json
import os
import resource
import shutil

import filelock
import needs
import pytest

from facemask_zoo import Detector, FaceMaskZooError, ImageError, OutputError
from facemask_zoo.batch import staging
from facemask_zoo.batch.run import run
from facemask_zoo.batch.staging import staging_folder


class CutOffError(Exception):
    pass


def cut_off_after(parts):
    """A report that ends the run, as a kill would, when so many parts are written."""
    calls = []

    def report(progress):
        calls.append(progress)
        if len(calls) == parts:
            raise CutOffError

    return report


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out" / "results.parquet"


@pytest.fixture
def half_done(shards, target, here, loading):
    with pytest.raises(CutOffError):
        run([shards], target, here, loading=loading, report=cut_off_after(5))
    assert not target.exists()
    here.numbers.clear()
    return target


def test_a_row_says_what_the_detector_does(shards, target, here, loading, rows, picture):
    summary = run([shards], target, here, loading=loading)
    found = rows(target)
    assert (summary.rows, summary.errors) == (len(found), 1) == (49, 1)
    result = Detector.load(**loading).detect(picture(2))
    row = found[2]
    assert (row["source"], row["key"]) == (str(shards / "shard-000000.tar"), "002.jpg")
    assert (row["width"], row["height"]) == result.image_size
    assert [face["label"] for face in row["faces"]] == result.labels
    assert [face["score"] for face in row["faces"]] == result.scores.tolist()
    corners = [[face[name] for name in ("xmin", "ymin", "xmax", "ymax")] for face in row["faces"]]
    assert corners == result.boxes.tolist()
    assert corners
    assert row["error"] is None


def test_a_bad_picture_is_a_row_with_its_error(shards, target, here, loading, rows):
    run([shards], target, here, loading=loading)
    (bad,) = [row for row in rows(target) if row["error"]]
    assert bad["key"] == "damaged.jpg"
    assert "damaged" in bad["error"]
    assert (bad["width"], bad["faces"]) == (None, None)


def test_files_tars_and_parquet_give_the_same_faces(
    shards, target, here, loading, rows, picture, tmp_path, write_tar
):
    arrow, parquet = needs.module("pyarrow"), needs.module("pyarrow.parquet")
    contents = [picture(number) for number in range(6)]
    names = [f"{number}.jpg" for number in range(6)]
    (tmp_path / "files").mkdir()
    for name, content in zip(names, contents, strict=True):
        (tmp_path / "files" / name).write_bytes(content)
    write_tar(tmp_path / "s.tar", dict(zip(names, contents, strict=True)))
    parquet.write_table(arrow.table({"image": contents}), tmp_path / "p.parquet")
    sources = [tmp_path / name for name in ("files", "s.tar", "p.parquet")]
    run(sources, target, here, loading=loading)
    faces = [row["faces"] for row in rows(target)]
    assert faces[:6] == faces[6:12] == faces[12:]


def test_a_run_that_was_cut_off_goes_on(half_done, shards, here, loading, rows, tmp_path):
    assert len(list(staging_folder(half_done).glob("part-*"))) == 5
    run([shards], half_done, here, loading=loading)
    assert here.numbers == [5, 6, 7, 8, 9, 10, 11]
    once = tmp_path / "once.parquet"
    run([shards], once, here, loading=loading)
    assert rows(half_done) == rows(once)
    assert not staging_folder(half_done).exists()


def test_what_was_half_written_is_done_again(half_done, shards, here, loading, rows, tmp_path):
    folder = staging_folder(half_done)
    part = folder / "part-00000002.parquet"
    part.write_bytes(part.read_bytes()[:50])  # as after a power cut
    (folder / "part-00000007.parquet.tmp").write_bytes(b"PAR1")
    (folder / "joined.parquet").write_bytes(b"PAR1")
    run([shards], half_done, here, loading=loading)
    assert here.numbers == [2, 5, 6, 7, 8, 9, 10, 11]
    assert not folder.exists()
    assert len(rows(half_done)) == 49


def test_a_run_that_was_killed_while_it_tidied_up_is_finished(
    shards, target, here, loading, rows, tmp_path, monkeypatch
):
    """At any step of it, the same call ends well."""
    monkeypatch.setattr(staging.Staging, "remove", lambda _: None)
    run([shards], target, here, loading=loading)
    monkeypatch.undo()
    found, folder = rows(target), staging_folder(target)
    here.numbers.clear()
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    deleted = sorted(path.name for path in kept.iterdir() if path.name.startswith("part-"))
    deleted += ["joined.parquet", "plan.jsonl"]
    for number in (0, 4, len(deleted) - 1, len(deleted)):
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        for name in deleted[:number]:
            (folder / name).unlink(missing_ok=True)
        run([shards], target, here, loading=loading)
        assert rows(target) == found
        assert here.numbers == []
        assert not folder.exists()


def test_large_pictures_are_searched_in_windows(tmp_path, target, here, loading, rows, picture):
    content = picture(1, 300)
    (tmp_path / "large.jpg").write_bytes(content)
    loading = {**loading, "conf": 0.1}
    run([tmp_path / "large.jpg"], target, here, loading={**loading, "tiles": 97})
    (row,) = rows(target)
    detector = Detector.load(**loading)
    result = detector.detect(content, tiles=97)
    assert len(result) != len(detector.detect(content))
    assert [face["score"] for face in row["faces"]] == result.scores.tolist()
    with pytest.raises(FaceMaskZooError, match="at least 49 pixels"):
        run([tmp_path / "large.jpg"], tmp_path / "b", here, loading={**loading, "tiles": 48})


@pytest.mark.parametrize("change", ["model", "conf", "sources", "tiles"])
def test_parts_of_another_run_are_refused(change, half_done, shards, here, loading, tmp_path):
    sources, changed = [shards], dict(loading)
    if change == "model":
        changed["model"] = "zoo-260"
    elif change == "conf":
        changed["conf"] = 0.5
    elif change == "tiles":
        changed["tiles"] = 97
    else:
        sources = [shards / "shard-000000.tar"]
    with pytest.raises(OutputError, match=f"other settings.*{change}"):
        run(sources, half_done, here, loading=changed)
    run([shards], half_done, here, loading=loading)


def test_a_folder_of_someone_else_is_left_alone(shards, target, here, loading):
    folder = staging_folder(target)
    folder.mkdir(parents=True)
    (folder / "part-00000000.parquet").write_bytes(b"mine")
    with pytest.raises(OutputError, match="part-00000000"):
        run([shards], target, here, loading=loading)
    assert [path.name for path in folder.iterdir()] == ["part-00000000.parquet"]


def test_an_existing_target_is_only_replaced_on_request(shards, target, here, loading, rows):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        run([shards], target, here, loading=loading)
    assert target.read_bytes() == b"mine"
    assert os.listdir(target.parent) == [target.name]
    run([shards], target, here, loading=loading, overwrite=True)
    assert len(rows(target)) == 49


def test_a_target_that_comes_up_meanwhile_is_kept_and_so_are_the_parts(
    shards, target, here, loading, rows
):
    with pytest.raises(OutputError, match="exists already"):
        run([shards], target, here, loading=loading, report=lambda _: target.write_bytes(b"mine"))
    assert target.read_bytes() == b"mine"
    target.unlink()
    here.numbers.clear()
    run([shards], target, here, loading=loading)
    assert here.numbers == []
    assert len(rows(target)) == 49


def test_two_runs_do_not_write_the_same_file(half_done, shards, here, loading):
    with (
        filelock.FileLock(staging_folder(half_done) / "lock"),
        pytest.raises(OutputError, match="Another run"),
    ):
        run([shards], half_done, here, loading=loading)


def test_results_may_lie_among_the_pictures(tmp_path, picture, here, loading, rows):
    (tmp_path / "one.jpg").write_bytes(picture(1))
    target = tmp_path / "results.parquet"
    run([tmp_path], target, here, loading=loading)
    run([tmp_path], target, here, loading=loading, overwrite=True)
    assert [row["source"] for row in rows(target)] == [str(tmp_path / "one.jpg")]


def test_a_source_is_never_the_target(shards, here, loading):
    shard = shards / "shard-000000.tar"
    before = shard.read_bytes()
    with pytest.raises(OutputError, match="is a source"):
        run([shard], shard, here, loading=loading, overwrite=True)
    assert shard.read_bytes() == before


def test_nothing_is_left_where_a_run_cannot_begin(tmp_path, target, here, loading, write_tar):
    (tmp_path / "empty").mkdir()
    write_tar(tmp_path / "none.tar", {"notes.txt": b"no picture"})
    for source in ("empty", "none.tar"):
        with pytest.raises(ImageError, match="no pictures"):
            run([tmp_path / source], target, here, loading=loading)
        assert not list(target.parent.iterdir())


def test_a_full_disk_leaves_no_half_of_a_file(shards, target, here, loading, rows):
    """Whichever write is the one that fails, the same call goes on when there is room."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (100, 2000, 9000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            with pytest.raises(OutputError, match=r"Cannot write.*goes on"):
                run([shards], target, here, loading=loading)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not target.exists()
    run([shards], target, here, loading=loading)
    assert len(rows(target)) == 49


def test_rows_are_joined_in_bounded_memory(shards, target, here, loading, monkeypatch, rows):
    monkeypatch.setattr(staging, "ROWS_PER_GROUP", 10)
    run([shards], target, here, loading=loading)
    metadata = needs.module("pyarrow.parquet").read_metadata(target)
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert max(groups) <= 13
    assert sum(groups) == 49
    facts = json.loads(metadata.metadata[b"facemask_zoo"])
    assert facts["framework"] == "onnx"
    assert facts["sources"] == [str(shards)]
