"""OpenVINO's intermediate representation: ``.xml`` with the graph and ``.bin`` with the weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset8

from facemask_zoo.backends.openvino import core
from facemask_zoo.converters.safetensors import CARD_KEY
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Model
from facemask_zoo.ssd.network import INPUT_NAME, LOC_NAME, SCORES_NAME, Convolution, build


def write(model: Model, path: Path) -> None:
    """Write a graph for any batch size, in full precision; the card is in its ``rt_info``."""
    openvino.save_model(graph_of(model), path, compress_to_fp16=False)


def read_card(path: Path) -> str | None:
    """The text of the card within a file of any precision; None if there is none.

    Raises:
        WeightsError: OpenVINO does not read the file.
    """
    try:
        graph = core().read_model(path)
    except RuntimeError as error:
        raise WeightsError(f"OpenVINO does not accept {path}: {error}") from error
    return str(graph.get_rt_info(CARD_KEY).value) if graph.has_rt_info(CARD_KEY) else None


def graph_of(model: Model) -> openvino.Model:
    """The network in OpenVINO's operations, every one of them named.

    OpenVINO would number what has no name by how many operations the process has made so far.
    """
    network = model.card.network
    shape = openvino.PartialShape([-1, 3, network.input_size, network.input_size])
    image = opset8.parameter(shape, np.float32, INPUT_NAME)
    image.set_friendly_name(INPUT_NAME)
    image.output(0).tensor.set_names({INPUT_NAME})
    outputs = build(network, image, _OpsetBuilder(model))
    for output, name in zip(outputs, (LOC_NAME, SCORES_NAME), strict=True):
        output.output(0).tensor.set_names({name})
    graph = openvino.Model(list(outputs), [image], model.card.name)
    for result, name in zip(graph.get_results(), (LOC_NAME, SCORES_NAME), strict=True):
        result.set_friendly_name(f"{name}/result")
    graph.set_rt_info(model.card.portable().to_json(), [CARD_KEY])
    return graph


class _OpsetBuilder:
    """Creates operations; tensors are the operations that yield them."""

    def __init__(self, model: Model) -> None:
        self._tensors = model.tensors

    def pool(self, x: Any, name: str) -> Any:
        zeros, twos, ones = [0, 0], [2, 2], [1, 1]
        return opset8.max_pool(
            x, twos, ones, zeros, zeros, twos, rounding_type="ceil", name=name
        ).output(0)

    def convolve(self, x: Any, layer: Convolution) -> Any:
        weight = opset8.constant(self._tensors[layer.weight_name], name=layer.weight_name)
        pads, ones = [layer.padding] * 2, [1, 1]
        product = opset8.convolution(
            x, weight, ones, pads, pads, ones, name=f"{layer.name}/product"
        )
        values = self._tensors[layer.bias_name].reshape(1, -1, 1, 1)
        bias = opset8.constant(values, name=layer.bias_name)
        y = opset8.add(product, bias, name=layer.name)
        return opset8.relu(y, name=f"{layer.name}_activation") if layer.relu else y

    def flatten(self, x: Any, columns: int, name: str) -> Any:
        order = opset8.constant(np.array([0, 2, 3, 1]), name=f"{name}_permute/order")
        last = opset8.transpose(x, order, name=f"{name}_permute")
        shape = opset8.constant(np.array([0, -1, columns]), name=f"{name}/shape")
        return opset8.reshape(last, shape, special_zero=True, name=name)

    def sigmoid(self, x: Any, name: str) -> Any:
        return opset8.sigmoid(x, name=name)

    def concatenate(self, parts: Sequence[Any], name: str) -> Any:
        return opset8.concat(list(parts), axis=1, name=name)
