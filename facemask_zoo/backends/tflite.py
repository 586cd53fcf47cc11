"""TFLite files through ai-edge-litert, on the CPU."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from facemask_zoo.backends.base import (
    Backend,
    Batch,
    Outputs,
    channels_last_shape,
    pick_outputs,
    to_channels_last,
)
from facemask_zoo.errors import WeightsError
from facemask_zoo.quiet import native_stderr_silenced

_ANY_SIZE = -1


class TFLiteBackend(Backend):
    """Runs a ``.tflite`` file of float input and outputs.

    One that was made for a single picture is fed one by one. The number of threads is the
    interpreter's own, and so is its memory: threads wait for each other.
    """

    formats = ("tflite",)

    precisions = ("fp32", "fp16")

    channels_last = True
    fork_safe = True

    @classmethod
    def version(cls) -> str:
        return metadata.version("ai-edge-litert")

    def _load(self, path: Path) -> None:
        try:
            with native_stderr_silenced():
                self._interpreter = Interpreter(
                    model_content=path.read_bytes(), num_threads=self.options.threads
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise WeightsError(f"TFLite does not accept {path}: {error}") from error
        self._find_ends(path)

    def _find_ends(self, path: Path) -> None:
        shape = channels_last_shape(self.signature.input.shape)
        inputs = self._interpreter.get_input_details()
        found = [(part["dtype"].__name__, tuple(part["shape"][1:])) for part in inputs]
        if found != [("float32", shape)]:
            raise WeightsError(
                f"{path}: expected one float32 input of shape (N, *{shape}), "
                f"but got {[(part['dtype'].__name__, tuple(part['shape'])) for part in inputs]}."
            )
        self._input = inputs[0]["index"]
        self._batch_size = int(inputs[0]["shape"][0])
        self._resizable = int(inputs[0]["shape_signature"][0]) == _ANY_SIZE
        outputs = self._named_outputs()
        picked = pick_outputs(outputs, self.signature)
        self._outputs = {name: outputs[output] for name, output in picked.items()}

    def _named_outputs(self) -> dict[str, int]:
        """Names in the signature or, in files older than those, of the tensors themselves."""
        for key in self._interpreter.get_signature_list():
            ends = self._interpreter.get_signature_runner(key).get_output_details()
            return {name: part["index"] for name, part in ends.items()}
        return {part["name"]: part["index"] for part in self._interpreter.get_output_details()}

    def _run(self, batch: Batch) -> Outputs:
        images = to_channels_last(batch)
        if self._resizable:
            return self._invoke(images)
        step = self._batch_size
        parts = [
            self._invoke(images[start : start + step]) for start in range(0, len(images), step)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def _invoke(self, images: Batch) -> Outputs:
        if len(images) != self._batch_size:
            self._resize(images.shape)
        try:
            self._interpreter.set_tensor(self._input, images)
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise WeightsError(f"The file does not run on this batch: {error}") from error
        return {
            name: self._interpreter.get_tensor(output) for name, output in self._outputs.items()
        }

    def _resize(self, shape: tuple[int, ...]) -> None:
        try:
            self._interpreter.resize_tensor_input(self._input, shape)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise WeightsError(f"The file does not take a batch of {shape[0]}: {error}") from error
        self._batch_size = shape[0]
