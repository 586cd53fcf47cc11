"""The network as a `torch.nn.Module`, filled from safetensors."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from facemask_zoo.backends.base import Backend, Batch, Outputs
from facemask_zoo.backends.threads import ProcessThreads
from facemask_zoo.errors import WeightsError
from facemask_zoo.ssd import Convolution, Network, build

THREADS = ProcessThreads("PyTorch", torch.set_num_threads)
"""PyTorch's number of threads, which Keras on PyTorch shares."""


class SSD(nn.Module):
    """The detector; its `state_dict` has the names of the canonical tensors.

    Args:
        network: What to build. Weights start as PyTorch initialises them.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        for layer in network.convolutions:
            convolution = nn.Conv2d(layer.inputs, layer.outputs, 3, padding=layer.padding)
            self.add_module(layer.name, convolution)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the network.

        Args:
            images: (N, 3, S, S) RGB, 0..1.

        Returns:
            Raw box offsets (N, A, 4) and scores (N, A, C).
        """
        return build(self.network, images, self)

    def load_tensors(self, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        """Fill the module from canonical tensors.

        Raises:
            WeightsError: Names or shapes do not fit.
        """
        state = {name: torch.from_numpy(np.array(values)) for name, values in tensors.items()}
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsError(f"The tensors do not fit the network: {error}") from error

    def pool(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """2x2 max pool, rounding up."""
        return functional.max_pool2d(x, 2, ceil_mode=True)

    def convolve(self, x: torch.Tensor, layer: Convolution) -> torch.Tensor:
        """The module of that name, and ReLU."""
        y: torch.Tensor = self.get_submodule(layer.name)(x)
        return functional.relu(y) if layer.relu else y

    def flatten(self, x: torch.Tensor, columns: int, name: str) -> torch.Tensor:
        """Rows ordered by y, x, anchor."""
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, columns)

    def sigmoid(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """Logistic function."""
        return torch.sigmoid(x)

    def concatenate(self, parts: Sequence[torch.Tensor], name: str) -> torch.Tensor:
        """Join along the anchors."""
        return torch.cat(list(parts), dim=1)


def _load_tensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of a safetensors file, or of a state_dict of the same names."""
    try:
        if not zipfile.is_zipfile(path):
            return safetensors.numpy.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in state.items()}
    except Exception as error:  # torch.load raises many types, and no base class of its own
        raise WeightsError(f"PyTorch does not accept {path}: {error}") from error


class PyTorchBackend(Backend):
    """Runs :class:`SSD` in inference mode.

    The number of threads holds for all of PyTorch in the process (see :class:`ProcessThreads`).
    """

    formats = ("safetensors",)
    own_formats = ("pytorch",)

    thread_safe = True

    @classmethod
    def version(cls) -> str:
        return str(torch.__version__)

    @classmethod
    def devices(cls) -> list[str]:
        return ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]

    def _load(self, path: Path) -> None:
        THREADS.hold(self, self.options.threads)
        module = SSD(self.network)
        module.load_tensors(_load_tensors(path))
        self._device = torch.device(self.options.device)
        self.module = module.eval().to(self._device, memory_format=torch.channels_last)

    def _run(self, batch: Batch) -> Outputs:
        with torch.inference_mode():
            images = torch.from_numpy(batch).to(self._device, memory_format=torch.channels_last)
            loc, scores = self.module(images)
        return loc.cpu().numpy(), scores.cpu().numpy()
