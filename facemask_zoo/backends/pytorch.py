"""Any graph as a `torch.nn.Module`, filled from safetensors."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import torch

from facemask_zoo.backends.base import Backend, Batch, Outputs
from facemask_zoo.backends.threads import ProcessThreads
from facemask_zoo.backends.torch_graph import GraphModule
from facemask_zoo.converters.formats import pytorch, safetensors
from facemask_zoo.errors import WeightsError
from facemask_zoo.graph.program import Program

THREADS = ProcessThreads("PyTorch", torch.set_num_threads)
"""PyTorch's number of threads, which Keras on PyTorch shares."""


def _load_program(path: Path) -> Program:
    """The program of a safetensors file, or of a state_dict that PyTorch itself loads."""
    own = zipfile.is_zipfile(path)
    found = pytorch.read(path) if own else safetensors.read(path)
    if not isinstance(found, Program):
        raise WeightsError(f"{path} holds tensors without their graph.")
    if not own:
        return found
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types, and no base class of its own
        raise WeightsError(f"PyTorch does not accept {path}: {error}") from error
    tensors = {name: tensor.numpy() for name, tensor in state.items()}
    return dataclasses.replace(found, tensors=tensors)


class PyTorchBackend(Backend):
    """Runs a :class:`GraphModule` in inference mode.

    The number of threads holds for all of PyTorch in the process (see :class:`ProcessThreads`).
    """

    formats = ("safetensors",)
    own_formats = ("pytorch",)

    channels_last = True
    thread_safe = True

    @classmethod
    def version(cls) -> str:
        return str(torch.__version__)

    @classmethod
    def devices(cls) -> list[str]:
        return ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]

    def _load(self, path: Path) -> None:
        THREADS.hold(self, self.options.threads)
        module = GraphModule(_load_program(path))
        self._device = torch.device(self.options.device)
        pictures = len(self.signature.input.shape) == 3
        self._layout = torch.channels_last if pictures else torch.preserve_format
        self.module = module.eval().to(self._device, memory_format=self._layout)

    def _run(self, batch: Batch) -> Outputs:
        with torch.inference_mode():
            values = torch.from_numpy(batch).to(self._device, memory_format=self._layout)
            results = self.module(values)
        answers = (result.cpu().numpy() for result in results)
        return dict(zip(self.module.graph.outputs, answers, strict=True))
