"""Core ML: an ML program (``.mlpackage``) for iPhone, iPad and Mac, written by coremltools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.model import Model
from facemask_zoo.quiet import native_stderr_silenced
from facemask_zoo.ssd.network import INPUT_NAME, Convolution, build

with native_stderr_silenced():  # about every framework that it has not been tested with
    import coremltools
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import Program, get_new_symbol

_TARGET = coremltools.target.iOS15
_MAX_BATCH = 64
_DATE_KEY = "com.github.apple.coremltools.conversion_date"


def write(model: Model, path: Path) -> None:
    """Write an ML program in full precision for batches of up to 64 pictures.

    The card is in the user-defined metadata.
    """
    size = model.card.network.input_size
    batch = coremltools.RangeDim(1, _MAX_BATCH, default=1)
    with native_stderr_silenced():  # its progress bars
        package = coremltools.convert(
            _program(model),
            inputs=[coremltools.TensorType(INPUT_NAME, shape=(batch, 3, size, size))],
            convert_to="mlprogram",
            compute_precision=coremltools.precision.FLOAT32,
            minimum_deployment_target=_TARGET,
            skip_model_load=True,
        )
    package.short_description = model.card.summary
    package.license = model.card.license
    package.user_defined_metadata[CARD_KEY] = model.card.portable().to_json()
    del package.user_defined_metadata[_DATE_KEY]
    package.save(str(path))


def _program(model: Model) -> Program:
    network = model.card.network
    shape = (get_new_symbol(), 3, network.input_size, network.input_size)

    @Builder.program(input_specs=[Builder.TensorSpec(shape)], opset_version=_TARGET)  # type: ignore[untyped-decorator]
    def program(data: Any) -> tuple[Any, Any]:
        return build(network, data, _MilBuilder(model))

    return program


class _MilBuilder:
    """Emits operations of Core ML's intermediate language."""

    def __init__(self, model: Model) -> None:
        self._tensors = model.tensors

    def pool(self, x: Any, name: str) -> Any:
        return Builder.max_pool(
            x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid", ceil_mode=True, name=name
        )

    def convolve(self, x: Any, layer: Convolution) -> Any:
        y = Builder.conv(
            x=x,
            weight=self._tensors[layer.weight_name],
            bias=self._tensors[layer.bias_name],
            pad_type="custom",
            pad=[layer.padding] * 4,
            name=layer.name,
        )
        return Builder.relu(x=y, name=f"{layer.name}_activation") if layer.relu else y

    def flatten(self, x: Any, columns: int, name: str) -> Any:
        last = Builder.transpose(x=x, perm=[0, 2, 3, 1], name=f"{name}_permute")
        rows = int(np.prod(x.shape[1:])) // columns
        return Builder.reshape(x=last, shape=[-1, rows, columns], name=name)

    def sigmoid(self, x: Any, name: str) -> Any:
        return Builder.sigmoid(x=x, name=name)

    def concatenate(self, parts: Sequence[Any], name: str) -> Any:
        return Builder.concat(values=list(parts), axis=1, name=name)
