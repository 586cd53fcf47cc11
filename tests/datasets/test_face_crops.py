"""Crops to learn from come back, and other files are refused."""

from __future__ import annotations

import numpy as np
import pytest
from landmark_networks import noise_crops

from facemask_zoo import OutputError
from facemask_zoo.datasets.face_crops import FaceCrops
from facemask_zoo.errors import DatasetError


def test_they_come_back_and_are_not_replaced_unasked(tmp_path):
    first, path = noise_crops(), tmp_path / "crops.npz"
    first.save(path)
    again = FaceCrops.load(path)
    for name in FaceCrops.__annotations__:
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    with pytest.raises(OutputError):
        first.save(path)
    first[np.array([True, False, True])].save(path, overwrite=True)
    assert list(FaceCrops.load(path).groups) == ["group 0", "group 2"]


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "crops.npz"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"crops\.npz"):
        FaceCrops.load(path)
    with pytest.raises(DatasetError, match="missing"):
        FaceCrops.load(tmp_path / "missing.npz")


def test_pickles_are_never_executed(tmp_path):
    path = tmp_path / "crops.npz"
    fields = {name: getattr(noise_crops(), name) for name in FaceCrops.__annotations__}
    np.savez(path, **{**fields, "groups": np.array([{"a": 1}] * 3, object)}, allow_pickle=True)
    with pytest.raises(DatasetError):
        FaceCrops.load(path)


@pytest.mark.parametrize("name", list(FaceCrops.__annotations__))
def test_arrays_that_do_not_fit_are_refused(name):
    fields = {each: getattr(noise_crops(), each) for each in FaceCrops.__annotations__}
    with pytest.raises(DatasetError, match="expected shape"):
        FaceCrops(**{**fields, name: fields[name][:2]})
    fields["points"] = np.full((3, 68, 2), np.nan, np.float32)
    with pytest.raises(DatasetError, match="finite"):
        FaceCrops(**fields)
