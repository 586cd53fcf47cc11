from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from training.toys import LABELS, toy_config, write_toys

from facemask_zoo.training.photographs import Photograph, load_photographs


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO file of 24 pictures with toy faces."""
    return write_toys(tmp_path_factory.mktemp("toys"), 24)


@pytest.fixture(scope="session")
def photographs(toys: Path) -> list[Photograph]:
    return load_photographs(toy_config(toys).data, LABELS)
