from __future__ import annotations

from pathlib import Path

import needs
import pytest


def pytest_pycollect_makemodule() -> None:
    """Every file of tests beside this one imports PyTorch."""
    needs.module("torch")


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO file of 24 pictures with toy faces."""
    from training.toys import write_toys

    return write_toys(tmp_path_factory.mktemp("toys"), 24)


@pytest.fixture(scope="session")
def photographs(toys: Path) -> list:
    from training.toys import LABELS, toy_config

    from facemask_zoo.training.photographs import load_photographs

    return load_photographs(toy_config(toys).data, LABELS)
