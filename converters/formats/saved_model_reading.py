"""TensorFlow's SavedModel folder, read without TensorFlow: its functions and variables are frozen.

A SavedModel is a program: a graph whose nodes call functions, which call others, and which read
variables. Here the calls of one signature are replaced by what the functions hold, and the
variables by their values; the rest is a frozen graph. Which variable has which value is what the
function says that restores them. Nothing is run.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.converters.formats import CARD_KEY, tensorflow
from facemask_zoo.converters.formats.importing import damage_reported
from facemask_zoo.converters.formats.tensor_bundle import TensorBundle
from facemask_zoo.converters.limits import MAX_TEXT_BYTES, Computed, read_bytes
from facemask_zoo.converters.protobuf_schema import load, parse
from facemask_zoo.converters.signatures import SAVED_MODEL_FILE
from facemask_zoo.errors import UnsupportedOperationError, WeightsError
from facemask_zoo.graph.program import Program

SERVING = "serving_default"
# SavedModel's own place for files that TensorFlow shall leave alone.
EXTRAS = "assets.extra"
CARD_FILE = f"{CARD_KEY}.json"

_SCHEMA = load("tensorflow")
_VARIABLES = Path("variables", "variables")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_READS = "ReadVariableOp"
_HANDLE = "VarHandleOp"
_ASSIGNS = "AssignVariableOp"
_RESTORES = "RestoreV2"
# Results of a normalisation that come after its first, as functions name them.
_LATER_RESULTS = {"batch_mean": 1, "batch_variance": 2}
_MAX_NODES = 50_000
_MAX_DEPTH = 40

Place = tuple[str, int]
"""A node of the whole program, and the number of its result."""


def read(path: Path) -> Program:
    """Read the network behind a signature, ``serving_default`` if there is one.

    Args:
        path: The folder.

    Raises:
        WeightsError: A file of it is missing or damaged, or it is no network of floats.
        UnsupportedOperationError: It does more than graphs can.
    """
    with damage_reported(path, "SavedModel"):
        saved = parse(_SCHEMA["SavedModel"], read_bytes(path / SAVED_MODEL_FILE))
        meta, signature = _signature(saved)
        whole = _Inlined(meta.graph_def)
        frozen = _Frozen(whole, _Variables(whole, path / _VARIABLES))
        definition = frozen.definition(signature)
        return tensorflow.read_definition(definition, _card_text(path))


def _card_text(path: Path) -> str:
    place = path / EXTRAS / CARD_FILE
    return read_bytes(place, MAX_TEXT_BYTES).decode() if place.is_file() else ""


def _signature(saved: Any) -> tuple[Any, Any]:
    """The graph to take, and the signature of it."""
    found = [
        (meta, each.key, each.value)
        for meta in saved.meta_graphs
        for each in meta.signature_def
        if each.value.outputs and each.value.inputs
    ]
    chosen = [each for each in found if each[1] == SERVING] or found
    names = sorted({name for _, name, _ in found})
    if len({name for _, name, _ in chosen}) != 1:
        raise WeightsError(f"Expected the signature {SERVING!r}, but got {names!s:.200}.")
    meta, _, signature = chosen[0]
    if len(signature.inputs) != 1:
        raise WeightsError(f"The signature takes {len(signature.inputs)} inputs, not one.")
    return meta, signature


@dataclasses.dataclass(frozen=True)
class _Node:
    """A node of the whole program: its message, its name alone, and where its inputs come from."""

    message: Any
    label: str
    inputs: tuple[Place, ...]

    @property
    def kind(self) -> str:
        return str(self.message.op)


class _Inlined:
    """Every node of a graph and of the functions that it calls, however deep.

    Attributes:
        nodes: By a name that holds the names of the calls that lead to it.
    """

    def __init__(self, graph: Any) -> None:
        functions = graph.library.function
        self._functions = {each.signature.name: each for each in functions}
        if len(self._functions) != len(functions):
            raise WeightsError("Two functions have one name.")
        self.nodes: dict[str, _Node] = {}
        self._same: dict[Place, Place] = {}
        self._calls: list[tuple[str, Any, int]] = []
        self._add("", graph.node, ())
        while self._calls:
            self._enter(*self._calls.pop())

    def origin(self, place: Place) -> Place:
        """Where a value is computed, behind arguments and results of calls.

        Raises:
            WeightsError: Nothing computes it.
        """
        for _ in range(_MAX_NODES):
            if place not in self._same:
                break
            place = self._same[place]
        if place[0] not in self.nodes or place in self._same:
            raise WeightsError(f"Nothing gives {place[0]!r:.100}.")
        return place

    def source(self, place: Place) -> tuple[_Node, Place]:
        """The node that gives a value, identities passed over."""
        for _ in range(_MAX_NODES):
            place = self.origin(place)
            node = self.nodes[place[0]]
            if node.kind != "Identity" or not node.inputs:
                return node, place
            place = node.inputs[0]
        raise WeightsError("Identities go round in a circle.")

    def of_kind(self, kind: str) -> Iterator[_Node]:
        """All nodes of an operation."""
        return (node for node in self.nodes.values() if node.kind == kind)

    def _enter(self, name: str, message: Any, depth: int) -> None:
        """Put the body of a function in the place of a call."""
        called = next((each.value.func.name for each in message.attr if each.key == "f"), "")
        function = self._functions.get(called)
        if function is None:
            raise WeightsError(f"{name!r:.100} calls {called!r:.100}, which is not there.")
        if depth > _MAX_DEPTH:
            raise WeightsError(f"Functions call each other over {_MAX_DEPTH} deep.")
        prefix = f"{name}/"
        arguments = [each.name for each in function.signature.input_arg]
        for argument, given in zip(arguments, self.nodes[name].inputs, strict=True):
            self._same[prefix + argument, 0] = given
        self._add(prefix, function.node_def, arguments, depth)
        returned = {each.key: each.value for each in function.ret}
        for number, result in enumerate(function.signature.output_arg):
            if result.name not in returned:
                raise WeightsError(f"{called!r:.100} does not give its result {result.name!r}.")
            self._same[name, number] = _place(returned[result.name], prefix)
        del self.nodes[name]

    def _add(
        self, prefix: str, messages: Sequence[Any], arguments: Sequence[str], depth: int = 0
    ) -> None:
        if len(self.nodes) + len(self._same) + len(messages) > _MAX_NODES:
            raise WeightsError(f"The program has over {_MAX_NODES} nodes.")
        for message in messages:
            name = prefix + message.name
            given = [each for each in message.input if not each.startswith("^")]
            if name in self.nodes or message.name in arguments:
                raise WeightsError(f"Two nodes have the name {name!r:.100}.")
            self.nodes[name] = _Node(
                message, message.name, tuple(_place(each, prefix) for each in given)
            )
            if message.op in _CALLS:
                self._calls.append((name, message, depth + 1))


def _place(text: str, prefix: str) -> Place:
    """What an input names: ``node:2`` in a graph, ``node:output:2`` in a function."""
    name, *rest = text.split(":")
    number = rest[-1] if rest else "0"
    if len(rest) > 2 or not (number.isascii() and number.isdigit() and len(number) < 6):
        raise WeightsError(f"{text!r:.100} is no input.")
    later = len(rest) == 2 and rest[0] in _LATER_RESULTS
    return prefix + name, _LATER_RESULTS[rest[0]] if later else int(number)


class _Variables:
    """Values of the variables: the keys under which the program itself would restore them."""

    def __init__(self, whole: _Inlined, prefix: Path) -> None:
        self._prefix = prefix
        self._bundle: TensorBundle | None = None
        self._keys: dict[str, bytes] = {}
        for node in whole.of_kind(_ASSIGNS):
            if len(node.inputs) != 2:
                continue
            handle, (name, _) = whole.source(node.inputs[0])
            value, (_, number) = whole.source(node.inputs[1])
            if handle.kind == _HANDLE and value.kind == _RESTORES and len(value.inputs) == 3:
                keys = _texts(whole.source(value.inputs[1])[0])
                if number < len(keys):
                    self._keys[name] = keys[number]

    def value(self, handle: str, label: str) -> NDArray[np.float32]:
        """What a variable holds, by the node of its handle."""
        if handle not in self._keys:
            raise WeightsError(f"The value of the variable {label!r:.100} is not restored.")
        self._bundle = self._bundle or TensorBundle(self._prefix)
        return self._bundle.floats(self._keys[handle])


def _texts(node: _Node) -> list[bytes]:
    values = [each.value for each in node.message.attr if each.key == "value"]
    return list(values[0].tensor.string_val) if node.kind == "Const" and values else []


class _Frozen:
    """Writes what an output needs as a graph of constants."""

    def __init__(self, whole: _Inlined, variables: _Variables) -> None:
        self._whole = whole
        self._variables = variables
        self._names: dict[str, str] = {}
        self._taken: dict[str, int] = {}
        self._definition = _SCHEMA["GraphDef"]()
        self._budget = Computed()  # a function that is called often is copied as often

    def definition(self, signature: Any) -> Any:
        """The graph of a signature: its input and its outputs have the names that it gives them."""
        (given,) = signature.inputs
        image = self._whole.origin(_place(given.value.name, ""))
        ends = sorted(signature.outputs, key=lambda each: _by_number(each.key))
        places = [self._whole.origin(_place(each.value.name, "")) for each in ends]
        self._taken = dict.fromkeys((tensorflow.node_name(each.key) for each in ends), 0)
        self._name(image[0], given.key)
        self._write_all([name for name, _ in places])
        for each, place in zip(ends, places, strict=True):
            self._definition.node.add(
                name=tensorflow.node_name(each.key), op="Identity", input=[self._text(place)]
            )
        return self._definition

    def _write_all(self, names: Sequence[str]) -> None:
        stack, written = list(names), set[str]()
        while stack:
            name = stack.pop()
            if name in written:
                continue
            written.add(name)
            node = self._whole.nodes[name]
            if node.kind == _READS and len(node.inputs) == 1:
                self._write_value(name, node)
                continue
            places = [self._whole.origin(each) for each in node.inputs]
            self._write(name, node, places)
            stack += [source for source, _ in places]

    def _write(self, name: str, node: _Node, places: Sequence[Place]) -> None:
        self._budget.spend(node.message.ByteSize())
        copy = self._definition.node.add()
        copy.CopyFrom(node.message)
        copy.name = self._name(name, node.label)
        del copy.input[:]
        copy.input.extend(self._text(place) for place in places)

    def _write_value(self, name: str, node: _Node) -> None:
        handle, (place, _) = self._whole.source(node.inputs[0])
        if handle.kind != _HANDLE:
            raise UnsupportedOperationError(
                tensorflow.FORMAT, f"{node.kind} of {handle.kind:.100}", node.label[:100]
            )
        values = self._variables.value(place, handle.label)
        constant = tensorflow.constant_node(self._name(name, node.label), values)
        self._definition.node.append(constant)

    def _text(self, place: Place) -> str:
        name, number = place
        own = self._name(name, self._whole.nodes[name].label)
        return f"{own}:{number}" if number else own

    def _name(self, name: str, label: str) -> str:
        """The node's own name, with a number behind it if another node has that name."""
        if name not in self._names:
            wanted = own = tensorflow.node_name(label)
            while own in self._taken:
                self._taken[wanted] += 1
                own = f"{wanted}_{self._taken[wanted]}"
            self._taken[own] = 0
            self._names[name] = own
        return self._names[name]


def _by_number(key: str) -> list[tuple[int, str]]:
    """Sorts ``output_10`` behind ``output_9``."""
    return [
        (int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d{1,9})", key)
    ]
