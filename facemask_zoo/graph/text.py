"""Graphs as JSON text, for files that hold tensors alone."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

from facemask_zoo.errors import WeightsError
from facemask_zoo.graph.graph import MAX_OPERATIONS, Graph
from facemask_zoo.graph.operations import OPERATIONS, Operation

_MAX_TEXT = 2 * 1024 * 1024
_MAX_LIST = 64


def to_json(graph: Graph) -> str:
    """The graph as JSON text; :func:`from_json` reads it back."""
    values = {
        "input": graph.input,
        "input_shape": graph.input_shape,
        "operations": [
            {"kind": operation.kind, **dataclasses.asdict(operation)}
            for operation in graph.operations
        ],
        "outputs": graph.outputs,
    }
    return json.dumps(values, separators=(",", ":"))


def from_json(text: str | bytes) -> Graph:
    """Read what :func:`to_json` wrote.

    Raises:
        WeightsError: The text is no graph, or a graph that exceeds a limit.
    """
    if len(text) > _MAX_TEXT:
        raise WeightsError(f"The graph is a text of over {_MAX_TEXT} bytes.")
    try:
        values = json.loads(text)
        operations = values["operations"]
        if len(operations) > MAX_OPERATIONS:
            raise WeightsError(f"The graph has more than {MAX_OPERATIONS} operations.")
        return Graph(
            _typed(values["input"], str, "input"),
            _typed(values["input_shape"], tuple[int, ...], "input_shape"),
            tuple(_operation(dict(each)) for each in operations),
            _typed(values["outputs"], tuple[str, ...], "outputs"),
        )
    except WeightsError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"Not a graph: {error!r}.") from error


def _operation(values: dict[str, Any]) -> Operation:
    kind = OPERATIONS.get(str(values.pop("kind")))
    if kind is None:
        raise WeightsError("Not a graph: it holds an operation of an unknown kind.")
    hints = typing.get_type_hints(kind)
    fields = {name: _typed(value, hints[name], name) for name, value in values.items()}
    return kind(**fields)


def _typed(value: Any, kind: Any, name: str) -> Any:
    """The value as the annotated type, which JSON knows as number, text or list."""
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        long_enough = inner[-1] is Ellipsis or len(value) == len(inner)
        if not isinstance(value, list) or len(value) > _longest(inner[0]) or not long_enough:
            raise WeightsError(f"Not a graph: {name} is {value!r:.100}.")
        return tuple(_typed(each, inner[0], name) for each in value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise WeightsError(f"Not a graph: {name} is {value!r:.100}.")
    return value


def _longest(inner: Any) -> int:
    return MAX_OPERATIONS if inner is str else _MAX_LIST
