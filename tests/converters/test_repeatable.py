"""The same model is written as the same bytes, whenever that is."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import needs
import pytest
from places import ROOT
from seeded import SMALL, seeded_model

from facemask_zoo import model_files
from facemask_zoo.converters.formats.registry import FORMATS
from facemask_zoo.errors import FrameworkNotInstalledError

# HDF5 and ZIP know seconds, and two seconds.
CLOCK_TICK_SECONDS = 2.1
WITH_CLOCKS = ("keras", "keras_h5", "pytorch")

# TensorFlow numbers the functions of a process.
OF_A_PROCESS = ("saved_model",)
WRITE = """
import sys
from pathlib import Path
from seeded import SMALL, seeded_model
from facemask_zoo import model_files
model_files.write(seeded_model(SMALL, 3), Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.parametrize("name", [row.name for row in FORMATS.values() if row.writes])
def test_a_model_is_written_as_the_same_bytes(name, tmp_path):
    first, second = (written(name, tmp_path / part) for part in ("first", "second"))
    assert list(first) == list(second)
    assert [file for file in first if first[file] != second[file]] == []


def written(name: str, folder) -> dict[str, bytes]:
    path = folder / f"model{FORMATS[name].suffix}"
    try:
        if name in OF_A_PROCESS:
            write_in_a_process(path, name)
        else:
            model_files.write(seeded_model(SMALL, 3), path, name)
    except FrameworkNotInstalledError as error:
        needs.missing(str(error))
    if name in WITH_CLOCKS:
        time.sleep(CLOCK_TICK_SECONDS)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_in_a_process(path, name: str) -> None:
    needs.package("tensorflow")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command = [sys.executable, "-c", WRITE, path, name]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
