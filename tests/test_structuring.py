"""Plain values become dataclasses, or an error that says where they do not fit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pytest

from facemask_zoo.errors import InvalidArgumentError, UnknownNameError
from facemask_zoo.structuring import structure


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    size: int | tuple[int, int] = 3
    spare: Part | None = None
    named: Mapping[str, Part] = dataclasses.field(default_factory=dict)
    open: bool = False
    more: Any = None

    def __post_init__(self) -> None:
        if self.size == 13:
            raise InvalidArgumentError("size: expected another number.")


GOOD = {
    "parts": [{"name": "a"}, {"name": "b", "weight": 2}],
    "size": [4, 5],
    "spare": {"name": "c", "weight": 0.5},
    "named": {"d": {"name": "d"}},
    "open": True,
    "more": {"any": ["thing", None]},
}


def test_what_fits_becomes_the_dataclass():
    made = structure(GOOD, Whole, "whole")
    assert made.parts == (Part("a"), Part("b", 2.0))
    assert (made.size, made.spare, made.named["d"]) == ((4, 5), Part("c", 0.5), Part("d"))
    assert structure({"parts": []}, Whole, "whole", more=7) == Whole((), more=7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sise": 3}, "field of whole 'sise'. Did you mean 'size'"),
        ({"parts": [{"name": "a", "with": 3}]}, r"field of whole\.parts\[0\] 'with'"),
        ({"parts": [{"name": "a"}, {}]}, r"whole\.parts\[1\]: .*'name'"),
        ({"parts": "ab"}, r"whole\.parts: expected a list, but got 'ab'"),
        ({"parts": [{"name": 3}]}, r"whole\.parts\[0\]\.name: expected str, but got 3"),
        ({"size": 3.0}, r"whole\.size: expected int"),
        ({"size": True}, r"whole\.size: expected int"),
        ({"size": [1, "2"]}, r"whole\.size\[1\]: expected int"),
        ({"spare": 7}, r"whole\.spare: expected a table"),
        ({"named": []}, r"whole\.named: expected a table"),
        ({"named": {"d": {"name": "d", "weight": "1"}}}, r"named\.d\.weight: expected float"),
        ({"named": {"d": {"name": "d", "weight": math.nan}}}, r"d\.weight: expected a finite"),
        ({"open": 1}, r"whole\.open: expected bool"),
        ({"size": 13}, "^size: expected another number"),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(change, message):
    with pytest.raises((InvalidArgumentError, UnknownNameError), match=message):
        structure({**GOOD, **change}, Whole, "whole")


@pytest.mark.parametrize("values", [None, [], "parts", 3])
def test_only_a_table_becomes_a_dataclass(values):
    with pytest.raises(InvalidArgumentError, match="whole: expected a table"):
        structure(values, Whole, "whole")
