"""Generated files in the repository are what their generators make."""

from __future__ import annotations

import runpy

import numpy as np
import pytest
import safetensors
from make_goldens import (
    CASES,
    CHECKSUMS,
    FOLDER,
    LANDMARKS_GOLDEN,
    checksums,
    make_aizoo_golden,
    make_golden,
    make_landmarks_golden,
)
from PIL import Image
from places import PICTURES
from seeded import NETWORKS


@pytest.mark.parametrize("name", NETWORKS)
def test_goldens_are_rebuilt(name):
    golden, digest = make_golden(name)
    with safetensors.safe_open(FOLDER / f"{name}.safetensors", "np") as file:
        assert file.metadata()["digest"] == digest
        for key, values in golden.items():
            np.testing.assert_allclose(file.get_tensor(key), values, rtol=0, atol=1e-9)


def test_the_golden_of_the_landmark_network_is_rebuilt():
    golden, digest = make_landmarks_golden()
    with safetensors.safe_open(FOLDER / f"{LANDMARKS_GOLDEN}.safetensors", "np") as file:
        assert file.metadata()["digest"] == digest
        for key, values in golden.items():
            np.testing.assert_allclose(file.get_tensor(key), values, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_goldens_of_aizoos_arithmetic_are_rebuilt(name):
    golden, digest = make_aizoo_golden(name)
    with safetensors.safe_open(FOLDER / f"aizoo-{name}.safetensors", "np") as file:
        assert file.metadata()["digest"] == digest
        assert set(file.keys()) == golden.keys()
        for key, values in golden.items():
            np.testing.assert_allclose(file.get_tensor(key), values, rtol=0, atol=1e-12)


def test_no_golden_has_changed_by_itself():
    """Rebuilding them writes the digests, too."""
    assert CHECKSUMS.read_text() == checksums()


def test_the_demonstration_picture_is_rebuilt():
    made = runpy.run_path(str(PICTURES / "make_demo.py"))["make_demo"]()
    with Image.open(PICTURES / "demo.jpg") as stored:
        difference = np.asarray(stored, np.int16) - np.asarray(made, np.int16)
    # JPEG at quality 90 is what lies between the two.
    assert np.abs(difference).mean() < 2
