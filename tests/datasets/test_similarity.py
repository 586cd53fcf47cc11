"""Copies by their bytes, near-duplicates by perceptual hash."""

from __future__ import annotations

import needs
import numpy as np
import pytest
from PIL import Image, ImageFilter

from facemask_zoo.datasets import read_negatives
from facemask_zoo.datasets.similarity import find_copies, find_pairs, hash_pictures

needs.package("imagehash")


def scene(seed: int) -> Image.Image:
    """A smooth picture that no other seed resembles."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    return small.resize((160, 120), Image.Resampling.BICUBIC)


@pytest.fixture
def scenes(tmp_path):
    for seed in range(12):
        scene(seed).save(tmp_path / f"{seed:02}.png")
    return tmp_path


def near(image: Image.Image, how: str) -> Image.Image:
    if how == "smaller":
        return image.resize((80, 60))
    if how == "brighter":
        return image.point(lambda value: min(value + 20, 255))
    return image.filter(ImageFilter.GaussianBlur(1))


@pytest.mark.parametrize("how", ["smaller", "brighter", "blurred"])
def test_near_duplicates_are_found_and_others_are_not(scenes, tmp_path, how):
    near(scene(5), how).save(tmp_path / "99.jpg", quality=60)
    problems = []
    pairs = [*find_pairs(*hash_pictures(read_negatives(scenes).pictures, problems))]
    assert [(p.first.path.stem, p.second.path.stem) for p in pairs] == [("05", "99")]
    assert problems == []


def test_two_sets_are_compared(scenes, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    near(scene(3), "smaller").save(other / "a.jpg")
    scene(77).save(other / "b.png")
    own = hash_pictures(read_negatives(scenes).pictures, [])
    theirs = hash_pictures(read_negatives(other).pictures, [])
    pairs = [*find_pairs(*own, *theirs)]
    assert [(p.first.path.stem, p.second.path.stem) for p in pairs] == [("03", "a")]


def test_damaged_pictures_are_reported(scenes):
    dataset = read_negatives(scenes)
    (scenes / "04.png").write_bytes((scenes / "04.png").read_bytes()[:200])
    problems = []
    pictures, bits = hash_pictures(dataset.pictures, problems)
    assert (len(pictures), bits.shape) == (11, (11, 64))
    assert [problem.kind for problem in problems] == ["corrupt picture"]


def test_copies_are_found_whatever_their_name(scenes):
    (scenes / "z.png").write_bytes((scenes / "07.png").read_bytes())
    (problem,) = find_copies(read_negatives(scenes))
    assert problem.place.endswith("z.png")
    assert "07.png" in problem.detail
