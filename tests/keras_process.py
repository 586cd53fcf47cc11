"""Keras in a process of its own: its two generations do not always get on in one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

PREDICT = """
import sys
import numpy as np
if sys.argv[1] == "tf_keras":
    import tf_keras as keras
else:
    from facemask_zoo.backends.keras import keras
path, architecture, batch = sys.argv[2:5]
if architecture:
    model = keras.models.model_from_json(open(architecture).read())
    model.load_weights(path)
else:
    model = keras.models.load_model(path, compile=False)
images = np.load(batch).transpose(0, 2, 3, 1)
outputs = model.predict_on_batch(images)
np.savez(batch + ".npz", *outputs)
"""


def predict(
    generation: str, path: Path, architecture: Path | None, batch: np.ndarray, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Both outputs of a file: a whole model, or weights for the architecture in another file.

    Args:
        generation: ``"keras"`` or ``"tf_keras"``.
        path: The file.
        architecture: JSON of the architecture; None if the file holds it.
        batch: (N, 3, S, S) pictures.
        folder: Where batch and outputs are passed on.
    """
    np.save(folder / "batch.npy", batch)
    arguments = [generation, str(path), str(architecture or ""), str(folder / "batch.npy")]
    subprocess.run([sys.executable, "-c", PREDICT, *arguments], check=True, timeout=300)
    with np.load(folder / "batch.npy.npz") as outputs:
        return outputs["arr_0"], outputs["arr_1"]
