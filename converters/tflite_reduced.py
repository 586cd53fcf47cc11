"""TFLite with weights in half precision, or in 8-bit integers throughout, for speed and size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from facemask_zoo.converters.formats.tflite import card_metadata, graph_bytes, packed
from facemask_zoo.converters.samples import check_pictures
from facemask_zoo.converters.saturation import SIGNED, check_weights
from facemask_zoo.errors import WeightsError
from facemask_zoo.graph.program import Program
from facemask_zoo.model import Model
from facemask_zoo.quiet import import_tensorflow, native_stderr_silenced


def write_half(model: Model, path: Path) -> None:
    """Write a graph with weights in half precision, half the size, that computes in single.

    Raises:
        WeightsError: A weight is too large for half precision.
    """
    path.write_bytes(graph_bytes(model.program, half=True))


def write_int8(model: Model, path: Path, pictures: NDArray[np.float32]) -> None:
    """Write a graph of 8-bit weights (per channel) and activations, by TensorFlow's converter.

    Input and outputs stay single precision. Weights have all 8 bits: activations are signed here.
    On x86, XNNPACK extends both to 16 bits and adds the products in 32. On ARM it adds two
    products in 16 bits; they fit because no weight is -128.

    Args:
        model: What to write.
        path: Where.
        pictures: (N, ...) inputs as the network will see them; they set the ranges.

    Raises:
        InvalidArgumentError: There is no picture.
        WeightsError: The weights that were made could saturate; no file is written.
    """
    check_pictures(pictures)
    data = _with_card(_convert(model.program, pictures), model.program)
    check_int8(data)
    path.write_bytes(data)


def check_int8(data: bytes) -> None:
    """See that the 8-bit weights of a file are right on every processor.

    Args:
        data: Content of a .tflite file.

    Raises:
        WeightsError: They could saturate, or there are none, or activations are unsigned.
    """
    file = schema.ModelT.InitFromPackedBuf(data, 0)
    weights = {}
    for tensor in (tensor for graph in file.subgraphs for tensor in graph.tensors):
        if tensor.type == schema.TensorType.UINT8:
            raise WeightsError(f"Expected signed integers, but {tensor.name!r} is unsigned.")
        values = file.buffers[tensor.buffer].data
        if tensor.type == schema.TensorType.INT8 and values is not None:
            weights[str(tensor.name)] = np.asarray(values, np.uint8).view(np.int8)
    check_weights(weights, SIGNED)


def _convert(program: Program, pictures: NDArray[np.float32]) -> bytes:
    tf = import_tensorflow()
    from facemask_zoo.converters.formats.saved_model import serving_function

    def examples() -> Iterator[list[NDArray[np.float32]]]:
        for picture in pictures:
            one = picture[None]
            yield [one.transpose(0, 2, 3, 1) if one.ndim == 4 else one]

    function = serving_function(program)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], tf.Module()
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = examples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with native_stderr_silenced():
        return bytes(converter.convert())


def _with_card(data: bytes, program: Program) -> bytes:
    """The same file with the card, and with the signature's names on inputs and outputs."""
    file = schema.ModelT.InitFromPackedBuf(data, 0)
    for key, value in card_metadata(program).items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(value, np.uint8)
        entry.name, entry.buffer = key, len(file.buffers)
        file.buffers.append(buffer)
        file.metadata = [*(file.metadata or []), entry]
    for signature in file.signatureDefs:
        for part in _ends(signature):
            file.subgraphs[signature.subgraphIndex].tensors[part.tensorIndex].name = part.name
    return packed(file)


def _ends(signature: Any) -> list[Any]:
    return [*signature.inputs, *signature.outputs]
