"""No group stands in two parts; the shares come out; the seed repeats it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemask_zoo.datasets import LABELS, Dataset, Face, Picture, split
from facemask_zoo.datasets.similarity import Pair
from facemask_zoo.errors import InvalidArgumentError

SHARES = {"train": 0.7, "val": 0.2, "test": 0.1}


def make(groups: list[int]) -> Dataset:
    """A picture for each entry; of group N, or of none for 0. Each tenth face is incorrect."""
    pictures = []
    for number, group in enumerate(groups):
        label = "incorrect" if number % 10 == 0 else LABELS[number % 2]
        faces = (Face((0, 0, 9, 9), label),)
        name = f"g{group}" if group else ""
        pictures.append(Picture(Path(f"in/{number}.jpg"), (10, 10), faces, group=name))
    return Dataset(Path("in"), tuple(pictures))


def names(dataset: Dataset) -> list[str]:
    return [picture.path.name for picture in dataset.pictures]


@given(st.lists(st.integers(0, 12), min_size=40, max_size=150), st.integers(0, 5))
def test_no_group_is_in_two_parts_and_no_picture_is_lost(groups, seed):
    dataset = make([*groups, *[0] * 20])
    parts = split(dataset, SHARES, seed=seed)
    found = [name for part in parts.values() for name in names(part)]
    assert sorted(found) == sorted(names(dataset))
    homes: dict[str, set[str]] = {}
    for name, part in parts.items():
        for picture in part.pictures:
            homes.setdefault(picture.group or picture.path.name, set()).add(name)
    assert all(len(home) == 1 for home in homes.values())


def test_every_part_gets_its_share_of_each_class():
    parts = split(make([0] * 1000), SHARES)
    assert {name: len(part) for name, part in parts.items()} == pytest.approx(
        {"train": 700, "val": 200, "test": 100}, abs=8
    )
    counts = Counter(picture.labels[0] for picture in parts["test"].pictures)
    assert counts["incorrect"] == pytest.approx(10, abs=3)


def test_a_group_that_is_too_large_for_a_part_goes_elsewhere():
    parts = split(make([1] * 50 + [0] * 50), {"train": 0.8, "val": 0.2})
    assert {picture.group for picture in parts["val"].pictures} == {""}
    assert len(parts["val"]) == pytest.approx(20, abs=4)


def test_the_seed_repeats_a_split_and_another_changes_it():
    dataset = make([0] * 100)
    first = split(dataset, SHARES, seed=3)
    assert {n: names(p) for n, p in first.items()} == {
        n: names(p) for n, p in split(dataset, SHARES, seed=3).items()
    }
    assert names(first["val"]) != names(split(dataset, SHARES, seed=4)["val"])


def test_pictures_that_look_alike_stay_together():
    dataset = make([0] * 60)
    pairs = [
        Pair(a, b, 2) for a, b in zip(dataset.pictures[:30], dataset.pictures[1:31], strict=True)
    ]
    for seed in range(5):
        parts = split(dataset, SHARES, seed=seed, alike=pairs)
        chained = {picture.path.name for picture in dataset.pictures[:31]}
        assert sum(bool(chained & set(names(part))) for part in parts.values()) == 1


@pytest.mark.parametrize("shares", [{}, {"a": 0.0}, {"a": -1.0, "b": 2.0}, {"a": float("nan")}])
def test_shares_are_checked(shares):
    with pytest.raises(InvalidArgumentError, match="positive"):
        split(make([0] * 10), shares)


def test_a_part_that_remains_empty_is_refused():
    with pytest.raises(InvalidArgumentError, match="no group"):
        split(make([1] * 10), {"train": 0.5, "val": 0.5})
