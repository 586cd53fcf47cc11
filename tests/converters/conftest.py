"""What the tests of every format share: a small model, and its file in the format at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from seeded import SMALL, seeded_model

from facemask_zoo import model_files
from facemask_zoo.converters.formats.registry import FORMATS, Format
from facemask_zoo.model import Model


@pytest.fixture
def model() -> Model:
    return seeded_model(SMALL, seed=11)


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Format:
    """The format that a file of tests is about."""
    return FORMATS[request.module.FORMAT]


@pytest.fixture
def written(model: Model, row: Format, tmp_path: Path) -> Path:
    path = tmp_path / f"modèle{row.suffix}"
    model_files.write(model, path, row.name)
    return path


@pytest.fixture(scope="session")
def assert_same() -> Callable[[Model, Model], None]:
    """Fails unless a model that was read is the one that was written, bit for bit."""

    def check(actual: Model, expected: Model) -> None:
        assert actual.card == expected.card.portable()
        assert actual.digest == expected.digest

    return check
