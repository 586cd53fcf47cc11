"""Four ways of wearing a mask, and what MaskedFace-Net calls them."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from types import MappingProxyType

from facemask_zoo.datasets.labels import INCORRECT, MASK
from facemask_zoo.errors import UnknownNameError


class Wearing(enum.StrEnum):
    """What a mask leaves bare."""

    CORRECT = "correct"
    CHIN_BARE = "chin-bare"
    NOSE_BARE = "nose-bare"
    NOSE_AND_MOUTH_BARE = "nose-and-mouth-bare"

    @property
    def label(self) -> str:
        """The detection label: ``"mask"`` or ``"incorrect"``."""
        return MASK if self is Wearing.CORRECT else INCORRECT

    @classmethod
    def named(cls, name: str) -> Wearing:
        """Look a way of wearing up.

        Raises:
            UnknownNameError: There is no such way.
        """
        try:
            return cls(name)
        except ValueError:
            raise UnknownNameError.among("wearing", name, list(cls)) from None


@dataclasses.dataclass(frozen=True)
class FolderName:
    """How MaskedFace-Net names a way of wearing; the suffix says what is covered.

    Attributes:
        folder: ``"CMFD"`` or ``"IMFD"``.
        suffix: What follows the number of the face.
    """

    folder: str
    suffix: str


MASKED_FACE_NET: Mapping[Wearing, FolderName] = MappingProxyType(
    {
        Wearing.CORRECT: FolderName("CMFD", "_Mask"),
        Wearing.CHIN_BARE: FolderName("IMFD", "_Mask_Nose_Mouth"),
        Wearing.NOSE_BARE: FolderName("IMFD", "_Mask_Mouth_Chin"),
        Wearing.NOSE_AND_MOUTH_BARE: FolderName("IMFD", "_Mask_Chin"),
    }
)
