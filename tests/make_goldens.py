"""Write ``tests/goldens/*.safetensors`` with the float64 reference.

Usage: python tests/make_goldens.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.numpy
from seeded import NETWORKS, seeded_batch, seeded_model

from facemask_zoo.ssd import reference

FOLDER = Path(__file__).parent / "goldens"
SEED = 20
ROW_STEP = 37


def main() -> None:
    """Store every 37th row of both outputs for two pictures, and the digest of the weights."""
    FOLDER.mkdir(exist_ok=True)
    for name in NETWORKS:
        golden, digest = make_golden(name)
        path = FOLDER / f"{name}.safetensors"
        safetensors.numpy.save_file(golden, path, metadata={"digest": digest})


def make_golden(name: str) -> tuple[dict[str, np.ndarray], str]:
    """Outputs of one seeded network, and the digest of its weights."""
    network = NETWORKS[name]
    model = seeded_model(network, SEED)
    loc, scores = reference.forward(network, model.tensors, seeded_batch(network, 2))
    golden = {
        "loc": np.ascontiguousarray(loc[:, ::ROW_STEP]),
        "scores": np.ascontiguousarray(scores[:, ::ROW_STEP]),
    }
    return golden, model.digest


if __name__ == "__main__":
    main()
