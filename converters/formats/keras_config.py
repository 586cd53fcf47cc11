"""What a Keras configuration says about layers and their order, read as text alone.

Nothing that it names is ever looked up, imported or instantiated. Keras 2, Keras 3 and
TensorFlow.js write the same things in different ways; all of them are read here.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from facemask_zoo.errors import WeightsError
from facemask_zoo.graph.graph import MAX_OPERATIONS

_MAX_DEPTH = 8
_TENSOR = "__keras_tensor__"
_MODELS = ("Functional", "Model", "Sequential")

Place = tuple[str, int, int]
"""Name of a layer, which of its calls, and which of that call's outputs."""


@dataclasses.dataclass(frozen=True)
class Call:
    """One use of a layer.

    Attributes:
        inputs: What it sees.
        numbers: Constants among its arguments.
    """

    inputs: tuple[Place, ...]
    numbers: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class LayerNode:
    """A layer of a model.

    Attributes:
        name: Unique in the model.
        class_name: What kind of layer it is.
        config: Its arguments.
        calls: Where it is used; none for an input.
    """

    name: str
    class_name: str
    config: Mapping[str, Any]
    calls: tuple[Call, ...]

    @property
    def is_model(self) -> bool:
        """Whether the layer is a model of its own."""
        return self.class_name in _MODELS


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model of layers.

    Attributes:
        layers: By name, in the order of the file.
        inputs: Names of the layers that are inputs.
        outputs: What it gives.
    """

    layers: Mapping[str, LayerNode]
    inputs: tuple[str, ...]
    outputs: tuple[Place, ...]

    def in_order(self) -> Iterator[tuple[LayerNode, int]]:
        """Layers that the outputs need, each with the number of the call, after what they see.

        Raises:
            WeightsError: A layer sees what is not there, or itself.
        """
        done: set[tuple[str, int]] = set()
        begun: set[tuple[str, int]] = set()
        waiting = [place[:2] for place in reversed(self.outputs)]
        while waiting:
            step = waiting[-1]
            if step in done:
                waiting.pop()
                continue
            layer, needed = self._call(step)
            missing = [place[:2] for place in needed if place[:2] not in done]
            if not missing:
                done.add(waiting.pop())
                yield layer, step[1]
            elif step in begun:
                raise WeightsError(f"The layer {step[0]!r:.100} depends on itself.")
            else:
                begun.add(step)
                waiting.extend(reversed(missing))

    def _call(self, step: tuple[str, int]) -> tuple[LayerNode, tuple[Place, ...]]:
        name, index = step
        layer = self.layers.get(name)
        if layer is None:
            raise WeightsError(f"The configuration has no layer {name!r:.100}.")
        if name in self.inputs and index == 0:
            return layer, ()
        if not 0 <= index < len(layer.calls):
            raise WeightsError(f"The layer {name!r:.100} is not called {index + 1} times.")
        return layer, layer.calls[index].inputs


def parse_object(data: bytes | str, what: str) -> dict[str, Any]:
    """A JSON object.

    Args:
        data: The text.
        what: Its name, for the error.

    Raises:
        WeightsError: It is not JSON, or not an object.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{what} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{what}: expected an object, but got {type(values).__name__}.")
    return values


def model_config(stored: Any) -> ModelConfig:
    """Read what Keras stores of a model, ``class_name`` and ``config``.

    Raises:
        WeightsError: It is of another form, or exceeds a limit.
    """
    try:
        if stored["class_name"] == "Sequential":
            return _sequential(stored["config"])
        return _functional(stored["config"])
    except WeightsError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise WeightsError(f"The config describes no model of layers: {error!r:.200}.") from error


def _functional(config: Mapping[str, Any]) -> ModelConfig:
    layers = _by_name(_layer(stored) for stored in _some(config["layers"]))
    inputs = tuple(name for name, _, _ in _places(config["input_layers"]))
    outputs = tuple(_places(config["output_layers"]))
    if not inputs or not outputs:
        raise WeightsError("The config describes a model without inputs or outputs.")
    return ModelConfig(layers, inputs, outputs)


def _sequential(config: Any) -> ModelConfig:
    """A chain: each layer sees the one before it."""
    stored = _some(config if isinstance(config, list) else config["layers"])
    layers = [_layer(each) for each in stored]
    if layers and layers[0].class_name != "InputLayer":
        first = layers[0].config
        built = config.get("build_input_shape") if isinstance(config, dict) else None
        shape = first.get("batch_input_shape", first.get("batch_shape", built))
        name = f"{layers[0].name}_input"
        layers.insert(0, LayerNode(name, "InputLayer", {"batch_shape": shape}, ()))
    if len(layers) < 2:
        raise WeightsError("The config describes a model without layers.")
    chained = [layers[0]]
    for layer in layers[1:]:
        call = Call(((chained[-1].name, 0, 0),))
        chained.append(dataclasses.replace(layer, calls=(call,)))
    last = (chained[-1].name, 0, 0)
    return ModelConfig(_by_name(chained), (chained[0].name,), (last,))


def _some(layers: Any) -> list[Any]:
    if not isinstance(layers, list) or len(layers) > MAX_OPERATIONS:
        raise WeightsError(f"Expected a list of up to {MAX_OPERATIONS} layers in the config.")
    return layers


def _by_name(layers: Iterator[LayerNode] | Sequence[LayerNode]) -> dict[str, LayerNode]:
    found: dict[str, LayerNode] = {}
    for layer in layers:
        if layer.name in found:
            raise WeightsError(f"The config has two layers {layer.name!r:.100}.")
        found[layer.name] = layer
    return found


def _layer(stored: Mapping[str, Any]) -> LayerNode:
    config = stored["config"]
    name = stored.get("name") or (config.get("name") if isinstance(config, dict) else None)
    if not isinstance(name, str) or not isinstance(stored["class_name"], str):
        raise WeightsError(f"A layer of the config has the name {name!r:.100}.")
    class_name = stored["class_name"].rpartition(">")[2]
    arguments = config if isinstance(config, dict) else {}
    if class_name in _MODELS and isinstance(config, list):
        arguments = {"layers": config}
    try:
        calls = tuple(_call_of(each, class_name) for each in stored.get("inbound_nodes") or [])
    except WeightsError as error:
        raise WeightsError(f"{class_name} {name!r:.100}: {error}") from error
    return LayerNode(name, class_name, arguments, calls)


def _call_of(stored: Any, class_name: str) -> Call:
    """A call: in Keras 3 arguments, before it a list of places."""
    if isinstance(stored, dict):
        keywords = dict(stored.get("kwargs") or {})
        if class_name.startswith(_AUGMENTS):
            keywords.pop("training", None)
        _check_keywords(keywords)
        arguments = stored["args"]
        return Call(tuple(_tensors(arguments, 0)), tuple(_numbers(arguments)))
    places = tuple(_places(stored))
    if len(places) > MAX_OPERATIONS:
        raise WeightsError(f"A layer of the config sees over {MAX_OPERATIONS} values.")
    return Call(places)


def _places(stored: Any, depth: int = 0) -> Iterator[Place]:
    """Places in nested lists or named ones."""
    if depth > _MAX_DEPTH:
        raise WeightsError("The config nests its lists of layers too deeply.")
    if isinstance(stored, dict):
        stored = list(stored.values())
    if not isinstance(stored, list):
        raise WeightsError(f"Expected a list of layers in the config, but got {stored!r:.100}.")
    if 3 <= len(stored) <= 4 and isinstance(stored[0], str):
        yield _place(stored)
        return
    for each in stored:
        yield from _places(each, depth + 1)


def _tensors(arguments: Any, depth: int) -> Iterator[Place]:
    """Places of what a call of Keras 3 is given."""
    if depth > _MAX_DEPTH:
        raise WeightsError("The config nests the arguments of a layer too deeply.")
    if isinstance(arguments, dict):
        if arguments.get("class_name") == _TENSOR:
            yield _place(arguments["config"]["keras_history"])
            return
        arguments = list(arguments.values())
    if isinstance(arguments, list):
        for each in arguments:
            yield from _tensors(each, depth + 1)


def _numbers(arguments: Any) -> Iterator[float]:
    for each in arguments:
        if isinstance(each, int | float) and not isinstance(each, bool):
            yield float(each)


def _place(stored: Any) -> Place:
    name, node, tensor = stored[:3]
    if not isinstance(name, str) or type(node) is not int or type(tensor) is not int:
        raise WeightsError(f"The config names the layer {stored!r:.100}.")
    _check_keywords((stored[3] if len(stored) > 3 else None) or {})
    return (name, node, tensor)


# Layers that augment pictures, RandomFlip and others; Keras writes the default of their call down,
# which is training, and puts it aside when the model is used.
_AUGMENTS = "Random"


def _check_keywords(keywords: Mapping[str, Any]) -> None:
    """See that a layer is called with its inputs alone, and as it is used after training."""
    for key, value in keywords.items():
        if value not in (None, False):
            raise WeightsError(f"The config calls a layer with {key!r:.100}, which is not read.")
