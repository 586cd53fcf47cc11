from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import needs
import numpy as np
import pytest
from hypothesis import settings
from places import PICTURES, SHARED
from seeded import SMALL, seeded_model

from facemask_zoo import model_files
from facemask_zoo.backends import FRAMEWORKS


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        needs.OPTION,
        action="store_true",
        help="fail instead of skipping where a framework is not installed",
    )


# The same examples every time: what fails elsewhere can be repeated here. "explore" draws others.
settings.register_profile("repeat", derandomize=True)
settings.register_profile("explore")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))


def pytest_configure(config: pytest.Config) -> None:
    needs.require_all(config.getoption(needs.OPTION))
    cache = config.rootpath / ".pytest_cache" / "facemask-zoo"
    os.environ["FACEMASK_ZOO_CACHE"] = str(cache)
    if (SHARED / "aizoo").is_dir():
        os.environ["FACEMASK_ZOO_MIRROR"] = str(SHARED / "aizoo")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SHARED.is_dir():
        return
    skip = pytest.mark.skip(reason="needs ../shared, which is not here")
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with AIZOO's files and the photographs; use with the mark of the same name."""
    return SHARED


@pytest.fixture(scope="session")
def portrait() -> Path:
    """A portrait that ships with the repository: one bare face."""
    return PICTURES / "astronaut.jpg"


@pytest.fixture(scope="session")
def demo_picture() -> Path:
    """The demonstration picture: a bare face on the left, a masked one on the right."""
    return PICTURES / "demo.jpg"


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a small detector with random weights, to be read alone."""
    path = tmp_path_factory.mktemp("weights") / "seeded.safetensors"
    model_files.write(seeded_model(SMALL, 3), path, "safetensors")
    return path


@pytest.fixture(scope="session")
def need() -> Callable[[str], str]:
    """Skips a test whose framework is not installed, unless all are required."""

    def check(name: str) -> str:
        if not FRAMEWORKS[name].installed:
            needs.missing(f"{FRAMEWORKS[name].title} is not installed")
        return name

    return check


@pytest.fixture(params=list(FRAMEWORKS))
def framework(request: pytest.FixtureRequest, need: Callable[[str], str]) -> str:
    """Every framework of the zoo, one after the other."""
    return need(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
