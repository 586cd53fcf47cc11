"""Better boxes and hard negatives beside the annotations."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from training.toys import LABELS, toy_config, write_toys

from facemask_zoo.errors import DatasetError
from facemask_zoo.training.augment import AugmentConfig, draw_view
from facemask_zoo.training.data import Batches
from facemask_zoo.training.photographs import DataConfig, SourceRules, load_photographs


@pytest.fixture
def two_sources(tmp_path):
    """COCO file of four toy pictures of two sources, and its content."""
    path = write_toys(tmp_path, 4)
    content = json.loads(path.read_text())
    for index, image in enumerate(content["images"]):
        image["source"] = "noisy" if index % 2 else "clean"
    path.write_text(json.dumps(content))
    return path, content


def write(path, values):
    path.write_text(json.dumps(values))
    return str(path)


def test_consensus_boxes_replace_those_of_the_chosen_sources(two_sources, tmp_path):
    path, content = two_sources
    every = {str(entry["id"]): [1.0, 2.0, 30.0, 40.0] for entry in content["annotations"]}
    other = {"train": every, "val": {key: [5.0, 5.0, 5.0, 5.0] for key in every}}
    data = DataConfig(
        str(path),
        str(tmp_path),
        consensus=write(tmp_path / "boxes", other),
        sources={"noisy": SourceRules(consensus=True), "clean": SourceRules()},
    )
    plain = load_photographs(DataConfig(str(path), str(tmp_path)), LABELS)
    for index, (photo, before) in enumerate(
        zip(load_photographs(data, LABELS), plain, strict=True)
    ):
        expected = before.faces.boxes if index % 2 == 0 else [[1, 2, 31, 42]] * len(before.faces)
        np.testing.assert_allclose(photo.faces.boxes, expected)
        np.testing.assert_array_equal(photo.faces.classes, before.faces.classes)


def test_an_annotation_without_a_consensus_box_keeps_its_own(two_sources, tmp_path):
    path, _ = two_sources
    data = DataConfig(
        str(path),
        str(tmp_path),
        consensus=write(tmp_path / "boxes", {"train": {}}),
        sources={"noisy": SourceRules(consensus=True)},
    )
    plain = load_photographs(DataConfig(str(path), str(tmp_path)), LABELS)
    for photo, before in zip(load_photographs(data, LABELS), plain, strict=True):
        np.testing.assert_array_equal(photo.faces.boxes, before.faces.boxes)


def test_pictures_with_hard_negatives_are_drawn_around_them(two_sources, tmp_path):
    path, _ = two_sources
    entries = [
        {"part": "train", "file_name": "1.png", "bbox": [4, 6, 10, 10]},
        {"part": "train", "file_name": "1.png", "bbox": [50, 60, 10, 12]},
        {"part": "val", "file_name": "2.png", "bbox": [4, 6, 10, 10]},
        {"part": "train", "file_name": "elsewhere.png", "bbox": [4, 6, 10, 10]},
    ]
    data = DataConfig(
        str(path),
        str(tmp_path),
        hard_negatives=write(tmp_path / "hard", entries),
        hard_negative_weight=0.7,
    )
    photographs = load_photographs(data, LABELS)
    assert len(photographs) == 5
    added = photographs[-1]
    np.testing.assert_array_equal(added.focus, [[4, 6, 14, 16], [50, 60, 60, 72]])
    assert added.weight == 0.7
    assert added.image is photographs[1].image
    np.testing.assert_array_equal(added.faces.boxes, photographs[1].faces.boxes)
    assert [photo.focus for photo in photographs[:4]] == [None] * 4


def test_a_view_around_a_box_shows_it_in_the_size_drawn():
    """A white box of 10 pixels on black becomes one of 40, whatever the chances say."""
    image = np.zeros((200, 200, 3), np.uint8)
    image[80:90, 120:130] = 255
    photo = load_empty()
    config = AugmentConfig(
        face_sizes=(40.0, 40.0), max_zoom=9, whole=1.0, stretch=1.0, rotation=0, keep_aspect=True
    )
    focus = np.array([[120.0, 80.0, 130.0, 90.0]])
    for seed in range(10):
        rng = np.random.default_rng(seed)
        view, _ = draw_view(image, photo, (160, 160), config, rng, focus)
        white = (view == 255).all(axis=2).sum()
        assert 0.8 * 40**2 < white <= 1.1 * 40**2 or touches_border(view)


def touches_border(view: np.ndarray) -> bool:
    edge = np.concatenate([view[0], view[-1], view[:, 0], view[:, -1]])
    return bool((edge == 255).all(axis=1).any())


def load_empty():
    from facemask_zoo.training.augment import Labelled

    return Labelled(
        np.zeros((0, 4)),
        np.zeros(0, np.int64),
        np.zeros(0, np.bool_),
        np.zeros(0, np.float32),
        np.zeros(0, np.bool_),
    )


def test_views_without_a_focus_are_those_of_before(photographs, toys):
    config = toy_config(toys)
    batches = Batches(photographs, 64, 4, config.augment, 3, 2)
    first = batches[0].pictures
    assert (first == Batches(photographs, 64, 4, config.augment, 3, 2)[0].pictures).all()


@pytest.mark.parametrize("count", [0, 2, 3, 9])
def test_the_last_negatives_are_left_for_measuring(count, toys, tmp_path):
    for index in range(3):
        shutil.copy(toys.parent / "0.png", tmp_path / f"{index}.png")
    (tmp_path / "2.png").write_bytes((toys.parent / "1.png").read_bytes())
    data = DataConfig(str(toys), negatives=str(tmp_path), held_out_negatives=count)
    found = load_photographs(data, LABELS)
    assert len(found) == 24 + max(0, 3 - count)
    if count:
        last = load_photographs(DataConfig(str(toys)), LABELS)[1].image
        assert not any((photo.image == last).all() for photo in found[24:])


def test_an_aspect_ratio_is_kept():
    image = np.zeros((100, 300, 3), np.uint8)
    image[40:60, 140:160] = 255
    config = AugmentConfig(whole=1.0, stretch=1.0, rotation=0, keep_aspect=True, max_zoom_out=1.0)
    for seed in range(5):
        view, _ = draw_view(image, load_empty(), (96, 96), config, np.random.default_rng(seed))
        rows, columns = np.nonzero((view > 200).all(axis=2) & (view.sum(axis=2) > 740))
        if len(rows) and not touches_border(view):
            assert abs(np.ptp(rows) - np.ptp(columns)) <= 1


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("hard_negatives", "{"),
        ("hard_negatives", "{}"),
        ("hard_negatives", "[3]"),
        ("hard_negatives", '[{"file_name": "a", "bbox": [1, 2, 3]}]'),
        ("hard_negatives", '[{"file_name": "a", "bbox": [1, 2, 0, 4]}]'),
        ("hard_negatives", '[{"file_name": "a", "bbox": [1, 2, NaN, 4]}]'),
        ("consensus", "[]"),
        ("consensus", '{"val": {}}'),
        ("consensus", '{"train": {"1": "box"}}'),
        ("consensus", None),
    ],
)
def test_other_files_are_refused(field, content, toys, tmp_path):
    path = tmp_path / "file.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DatasetError, match=r"file\.json"):
        load_photographs(DataConfig(str(toys), **{field: str(path)}), LABELS)
