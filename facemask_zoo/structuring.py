"""Dataclasses from the values of JSON and TOML: nothing is guessed, and nothing ignored."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

from facemask_zoo.errors import InvalidArgumentError, UnknownNameError

Structured = TypeVar("Structured")


def structure(values: object, kind: type[Structured], where: str, **ready: object) -> Structured:
    """Make a dataclass, and those within it.

    Fields may be numbers, texts, other dataclasses, tuples of one type, mappings, ``Any``, a type
    or None, and a type or a tuple.

    Args:
        values: A dict, as JSON and TOML have it.
        kind: The dataclass.
        where: What the values are called in errors.
        ready: Fields that are there already.

    Raises:
        InvalidArgumentError: A value is missing or of another type, or a dataclass refuses it.
        UnknownNameError: There is no such field.
    """
    _check(values, Mapping, "a table", where)
    assert isinstance(values, Mapping)
    hints = _hints(typing.cast(Hashable, kind))
    for name in values:
        if name not in hints or name in ready:
            raise UnknownNameError.among(f"field of {where}", name, hints)
    fields = {name: _value(each, hints[name], f"{where}.{name}") for name, each in values.items()}
    try:
        return kind(**fields, **ready)
    except TypeError as error:
        raise InvalidArgumentError(f"{where}: {error}") from error


@functools.cache
def _hints(kind: Hashable) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}  # type: ignore[arg-type]


def _value(value: Any, kind: Any, where: str) -> Any:
    """A value of the annotated type `kind`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        return _one_of(value, arguments, where)
    if dataclasses.is_dataclass(kind):
        return structure(value, typing.cast(type, kind), where)
    if origin is tuple:
        _check(value, (list, tuple), "a list", where)
        return tuple(_value(v, arguments[0], f"{where}[{i}]") for i, v in enumerate(value))
    if origin is Mapping:
        _check(value, Mapping, "a table", where)
        return {key: _value(v, arguments[1], f"{where}.{key}") for key, v in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is not Any:
        _check(value, kind, kind.__name__, where)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgumentError(f"{where}: expected a finite number, but got {value}.")
    return value


def _one_of(value: Any, kinds: tuple[Any, ...], where: str) -> Any:
    """A type or None, or a type or a tuple: what the value looks like decides."""
    if value is None and type(None) in kinds:
        return None
    tuples = [kind for kind in kinds if typing.get_origin(kind) is tuple]
    if tuples and isinstance(value, list | tuple):
        return _value(value, tuples[0], where)
    return _value(value, kinds[0], where)


def _check(value: object, kind: Any, what: str, where: str) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InvalidArgumentError(f"{where}: expected {what}, but got {value!r:.100}.")
