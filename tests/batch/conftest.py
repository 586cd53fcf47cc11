from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import needs
import numpy as np
import pytest
from PIL import Image

from facemask_zoo.batch.job import Job, work
from facemask_zoo.batch.parts import Part
from facemask_zoo.batch.units import Unit

Members = dict[str, bytes]


class HereEngine:
    """Does the units in this process, one after the other."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def facts(self, job: Job) -> dict[str, Any]:
        return job.facts()

    def run(self, job: Job, units: Iterator[Unit]) -> Iterator[Part]:
        detector = job.detector()
        for unit in units:
            self.numbers.append(unit.number)
            yield work(detector, unit)


@pytest.fixture
def here() -> HereEngine:
    return HereEngine()


@pytest.fixture(scope="session")
def loading(weights: Path) -> dict[str, Any]:
    """A small network, so that little time goes into it."""
    return {"model": str(weights), "framework": "onnx", "threads": 1, "conf": 0.4}


@pytest.fixture(scope="session")
def picture(portrait) -> Callable[..., bytes]:
    """Encoded pictures, each of another size and light."""
    with Image.open(portrait) as image:
        pixels = np.asarray(image.convert("RGB"))

    def make(number: int, side: int = 96) -> bytes:
        turned = Image.fromarray(np.roll(pixels, 31 * number, axis=1))
        data = io.BytesIO()
        turned.resize((side + number % 7, side)).save(data, "JPEG")
        return data.getvalue()

    return make


@pytest.fixture(scope="session")
def write_tar() -> Callable[[Path, Members], Path]:
    def write(path: Path, members: Members, mode: str = "w") -> Path:
        with tarfile.open(path, mode) as tar:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return path

    return write


@pytest.fixture(scope="session")
def shards(tmp_path_factory, picture, write_tar) -> Path:
    """Twelve shards as WebDataset lays them out, with a label beside each picture."""
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(12):
        members: Members = {}
        for number in range(4):
            members[f"{shard:02d}{number}.jpg"] = picture(4 * shard + number)
            members[f"{shard:02d}{number}.json"] = b"{}"
        if shard == 5:
            members["damaged.jpg"] = b"\xff\xd8 no more than the start of a JPEG"
        write_tar(folder / f"shard-{shard:06d}.tar", members)
    return folder


@pytest.fixture(scope="session")
def rows() -> Callable[[Path], list[dict[str, Any]]]:
    def read(path: Path) -> list[dict[str, Any]]:
        table: list[dict[str, Any]] = parquet().read_table(path).to_pylist()
        return table

    return read


def parquet():
    return needs.module("pyarrow.parquet")


@pytest.fixture(autouse=True)
def _pyarrow() -> None:
    parquet()
