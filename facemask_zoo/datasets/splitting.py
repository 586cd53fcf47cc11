"""Parts of a data set, such that no group of pictures stands in two of them."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from facemask_zoo.datasets.similarity import Pair
from facemask_zoo.datasets.types import Dataset, Picture
from facemask_zoo.errors import InvalidArgumentError

_Unit = list[Picture]


def split(
    dataset: Dataset, shares: Mapping[str, float], *, seed: int = 0, alike: Iterable[Pair] = ()
) -> dict[str, Dataset]:
    """Divide a data set by group, at random but the same way for one seed.

    Pictures of one group, pictures with the same file, and pictures that are given as alike stay
    together. Groups go, the largest first, to where most is missing of their labels, so that
    every part gets its share of each class as well as groups allow.

    Args:
        dataset: What to divide.
        shares: Share of each part, by name; they are scaled to a sum of 1.
        seed: Of the order in which groups of one size are dealt.
        alike: Near-duplicates, see :func:`facemask_zoo.datasets.similarity.find_pairs`.

    Returns:
        The parts by name, their pictures in the order of the data set.

    Raises:
        InvalidArgumentError: A share is no positive number, or a part remains empty.
    """
    total = sum(shares.values())
    if not shares or not all(math.isfinite(s) and s > 0 for s in shares.values()):
        raise InvalidArgumentError(f"shares: expected positive numbers, but got {dict(shares)}.")
    units = _units(dataset.pictures, alike)
    units.sort(key=lambda unit: (-len(unit), _rank(unit, seed)))
    whole = _weigh(dataset.pictures)
    due = {name: _scaled(whole, share / total) for name, share in shares.items()}
    left = {name: dict(counts) for name, counts in due.items()}
    chosen: dict[int, str] = {}
    for unit in units:
        weight = _weigh(unit)
        name = max(shares, key=lambda part: _lack(weight, left[part], due[part], whole))
        for kind, count in weight.items():
            left[name][kind] -= count
        chosen.update((id(picture), name) for picture in unit)
    return _parts(dataset, shares, chosen)


def _parts(dataset: Dataset, names: Iterable[str], chosen: Mapping[int, str]) -> dict[str, Dataset]:
    parts = {}
    for name in names:
        kept = tuple(picture for picture in dataset.pictures if chosen[id(picture)] == name)
        if not kept:
            raise InvalidArgumentError(f"{name}: no group of pictures is left for this part.")
        parts[name] = dataclasses.replace(dataset, pictures=kept, problems=())
    return parts


def _units(pictures: Sequence[Picture], alike: Iterable[Pair]) -> list[_Unit]:
    """Pictures that must stay together."""
    parents: dict[str, str] = {}

    def find(key: str) -> str:
        while parents.setdefault(key, key) != key:
            parents[key] = key = parents[parents[key]]
        return key

    for picture in pictures:
        if picture.group:
            parents[find(_file(picture))] = find(f"group {picture.group}")
    for pair in alike:
        parents[find(_file(pair.first))] = find(_file(pair.second))
    units: dict[str, _Unit] = defaultdict(list)
    for picture in pictures:
        units[find(_file(picture))].append(picture)
    return list(units.values())


def _file(picture: Picture) -> str:
    return f"file {picture.path}"


def _rank(unit: _Unit, seed: int) -> str:
    """A place in the order, by what the unit is called and not where it lies."""
    picture = unit[0]
    name = picture.group or "/".join(Path(picture.path).parts[-2:])
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _weigh(pictures: Iterable[Picture]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for picture in pictures:
        counts["pictures"] += 1
        counts.update(face.label for face in picture.faces if not face.ignore)
    return counts


def _scaled(counts: Mapping[str, int], share: float) -> dict[str, float]:
    return {kind: count * share for kind, count in counts.items()}


def _lack(
    weight: Mapping[str, int],
    left: Mapping[str, float],
    due: Mapping[str, float],
    whole: Mapping[str, int],
) -> float:
    """Which share of what is due a part would still lack with a unit of this weight.

    Rare labels count as much as frequent ones.
    """
    return sum(
        count / whole[kind] * (left[kind] - count) / due[kind] for kind, count in weight.items()
    )
