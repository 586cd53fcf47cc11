"""Small, intact files of every readable kind, to be damaged or fed to a fuzzer.

Usage: PYTHONPATH=tests python -m attacks.samples [media]

Lists the kinds; those of pictures and videos alone if asked.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import needs
import numpy as np
from PIL import Image
from places import ROOT
from seeded import FULL, seeded_model

from facemask_zoo import model_files
from facemask_zoo.converters.formats import registry
from facemask_zoo.converters.signatures import PTH_MAGIC
from facemask_zoo.images import load_image
from facemask_zoo.model import Model
from facemask_zoo.ssd import Network
from facemask_zoo.video import frames
from facemask_zoo.video_writer import VideoWriter

WEIGHTS = [name for name, row in registry.FORMATS.items() if row.reads]
PICTURES = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "PPM", "HEIF"]
VIDEOS = ["mp4", "mkv", "webm", "avi", "ts", "mpg", "wmv"]
MEDIA = [*PICTURES, *VIDEOS]
KINDS = [*WEIGHTS, *MEDIA]

_WIDTH = 2


@dataclasses.dataclass(frozen=True)
class Sample:
    """An intact file, its companions, and what reads it."""

    path: Path
    read: Callable[[Path], object]

    @property
    def files(self) -> list[Path]:
        return sorted(path for path in self.path.parent.rglob("*") if path.is_file())


def make_sample(kind: str, folder: Path) -> Sample:
    """Write a file of one of the `KINDS` into an empty folder."""
    if kind in PICTURES:
        path = folder / f"picture.{kind.lower()}"
        _save_picture(kind, path)
        return Sample(path, load_image)
    if kind in VIDEOS:
        path = folder / f"video.{kind}"
        _save_video(path)
        return Sample(path, _read_video)
    if kind == "saved_model":
        return Sample(_save_functions(folder), _read_weights)
    row = registry.FORMATS[kind]
    path = folder / f"weights{row.suffix}"
    if row.writes:
        model_files.write(narrow_model(), path, kind)
    else:
        path.write_bytes(pth_bytes(narrow_model()))
    return Sample(path, _read_weights)


def _save_functions(folder: Path) -> Path:
    """What TensorFlow itself writes, with functions and variables; ours has neither."""
    needs.package("tensorflow")
    command = [sys.executable, str(ROOT / "tests" / "saved_models.py"), "functions"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    (folder / "functions.npz").unlink()
    return folder / "functions"


def narrow_model() -> Model:
    """AIZOO's layers with two channels each: a file of it is mostly structure."""
    return seeded_model(narrow_network(), seed=1, name="narrow")


def narrow_network() -> Network:
    return dataclasses.replace(
        FULL,
        stages=tuple(dataclasses.replace(stage, filters=_WIDTH) for stage in FULL.stages),
        levels=tuple(
            dataclasses.replace(level, loc_filters=_WIDTH, cls_filters=_WIDTH)
            for level in FULL.levels
        ),
    )


def _read_weights(path: Path) -> str:
    return model_files.read(path).digest  # which touches every number


def _read_video(path: Path) -> int:
    return sum(int(frame.image.sum()) for frame in frames(path))


def _save_video(path: Path) -> None:
    """Noise that moves, in the codec that goes with the suffix."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    with VideoWriter(path, Fraction(10)) as writer:
        for index in range(8):
            writer.write(np.roll(noise, index, axis=1), index / 10)


def _save_picture(kind: str, path: Path) -> None:
    if kind == "HEIF":
        needs.module("pillow_heif").from_pillow(_picture(kind)).save(path)
    else:
        _picture(kind).save(path, kind)


def _picture(kind: str) -> Image.Image:
    """Noise; with transparency or orientation where the format has them."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 4), dtype=np.uint8)
    image = Image.fromarray(noise)
    return image if kind in ("PNG", "WEBP", "TIFF") else image.convert("RGB")


def pth_bytes(model: Model) -> bytes:
    """A module in PyTorch's old format, pickled operation by operation, without torch.

    Every convolution but the last of a head is followed by a normalisation that changes nothing.
    """
    storages: list[np.ndarray] = []
    modules: dict[str, bytes] = {}
    for layer in model.card.network.convolutions:
        weight, bias = (model.tensors[name] for name in (layer.weight_name, layer.bias_name))
        if not layer.relu:
            arrays = {"weight": weight, "bias": bias}
            modules[layer.name] = _module("conv", "Conv2d", arrays, storages)
            continue
        modules[layer.name] = _module("conv", "Conv2d", {"weight": weight}, storages)
        ones = np.ones_like(bias)
        norm = {"weight": ones, "bias": bias, "running_mean": ones * 0, "running_var": ones}
        modules[f"{layer.name}_bn"] = _module("batchnorm", "BatchNorm2d", norm, storages)
    root = _object("MainModel", "KitModel", {"_modules": _dictionary(modules)})
    heads = [pickle.dumps(value, 2) for value in (PTH_MAGIC, 1001, {"little_endian": True})]
    keys = pickle.dumps([str(key) for key in range(len(storages))], 2)
    blocks = [struct.pack("<Q", array.size) + array.tobytes() for array in storages]
    return b"".join([*heads, b"\x80\x02" + root + b".", keys, *blocks])


def _module(
    family: str, name: str, arrays: Mapping[str, np.ndarray], storages: list[np.ndarray]
) -> bytes:
    tensors = {}
    for key, array in arrays.items():
        tensors[key] = _tensor(str(len(storages)), array.shape)
        storages.append(array)
    state = {"_parameters": _dictionary(tensors), "eps": b"G" + struct.pack(">d", 0.0)}
    return _object(f"torch.nn.modules.{family}", name, state)


def _object(module: str, name: str, state: Mapping[str, bytes]) -> bytes:
    return f"c{module}\n{name}\n".encode() + b")\x81" + _dictionary(state) + b"b"


def _dictionary(values: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(_plain(key) + value for key, value in values.items()) + b"u"


def _tensor(key: str, shape: tuple[int, ...]) -> bytes:
    strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    kind = _plain("storage") + b"ctorch\nFloatStorage\n"
    tail = [_plain(value) for value in (key, "cpu", int(np.prod(shape)), None)]
    storage = b"(" + kind + b"".join(tail) + b"tQ"
    window = b"".join(_plain(value) for value in (0, shape, strides, False))
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + window + hooks + b"tR"


def _plain(value: Any) -> bytes:
    """The operations that push a plain value, without frame, memo and end."""
    file = io.BytesIO()
    pickler = pickle._Pickler(file, 2)
    pickler.memoize = lambda _: None
    pickler.save(value)
    return file.getvalue()


if __name__ == "__main__":
    sys.stdout.write("\n".join(MEDIA if sys.argv[1:] == ["media"] else KINDS) + "\n")
