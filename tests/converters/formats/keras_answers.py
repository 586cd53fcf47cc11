"""Runs many Keras files in one process of their own: the two generations do not always get on.

Usage: python keras_answers.py GENERATION FOLDER, with NAME.h5 or NAME.keras and NAME.npy, channels
last; answers go to NAME.npz by name of output.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np


def main(generation: str, folder: Path) -> None:
    keras = importlib.import_module(generation)
    for batch in sorted(folder.glob("*.npy")):
        (path,) = (each for each in map(batch.with_suffix, (".h5", ".keras")) if each.is_file())
        model = keras.models.load_model(path, compile=False)
        answers = model.predict_on_batch(np.load(batch))
        if isinstance(answers, dict):
            np.savez(batch.with_suffix(".npz"), **answers)
        else:
            several = answers if isinstance(answers, list | tuple) else [answers]
            np.savez(batch.with_suffix(".npz"), *several)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
