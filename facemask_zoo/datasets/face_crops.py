"""Crops of faces, bare and masked, with the landmarks and poses to be learnt from them."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.datasets.landmarks import COUNT
from facemask_zoo.errors import DatasetError
from facemask_zoo.files import atomic_path


@dataclasses.dataclass(frozen=True, eq=False)
class FaceCrops:
    """Faces, each as it was and with masks drawn on it.

    Attributes:
        bare: (N, S, S, 3) uint8 RGB squares.
        masked: (N, M, S, S, 3) uint8, the same with M masks, one at a time.
        points: (N, 68, 2) float32 landmarks of the bare face, in sides of the square.
        poses: (N, 3) float32 yaw, pitch and roll in degrees.
        groups: (N,) name of the group of pictures that each face comes from.
    """

    bare: NDArray[np.uint8]
    masked: NDArray[np.uint8]
    points: NDArray[np.float32]
    poses: NDArray[np.float32]
    groups: NDArray[np.str_]

    def __post_init__(self) -> None:
        count, side = len(self.bare), self.bare.shape[1] if self.bare.ndim == 4 else 0
        copies = self.masked.shape[1] if self.masked.ndim == 5 else 0
        expected = {
            "bare": (count, side, side, 3),
            "masked": (count, copies, side, side, 3),
            "points": (count, COUNT, 2),
            "poses": (count, 3),
            "groups": (count,),
        }
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise DatasetError(f"{name}: expected shape {shape}, but got {found}.")
        if not (np.isfinite(self.points).all() and np.isfinite(self.poses).all()):
            raise DatasetError("points and poses: expected finite numbers.")

    def __len__(self) -> int:
        return len(self.bare)

    def __getitem__(self, chosen: NDArray[np.bool_] | slice) -> FaceCrops:
        """Some of the faces."""
        fields = dataclasses.fields(self)
        return FaceCrops(**{field.name: getattr(self, field.name)[chosen] for field in fields})

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write an ``.npz`` file.

        Raises:
            OutputError: Something is in the way.
        """
        with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
            np.savez(file, **{name: getattr(self, name) for name in self.__annotations__})

    @classmethod
    def load(cls, path: Path) -> FaceCrops:
        """Read what :meth:`save` wrote.

        Raises:
            DatasetError: It is missing or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{name: file[name] for name in cls.__annotations__})
        except (
            OSError,
            EOFError,
            ValueError,
            KeyError,
            AttributeError,
            zipfile.BadZipFile,
        ) as error:
            raise DatasetError(f"{path} holds no crops of faces: {error}") from error
