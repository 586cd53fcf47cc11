"""The names that data sets use for the three labels."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from facemask_zoo.errors import UnknownNameError

MASK = "mask"
NO_MASK = "no_mask"
INCORRECT = "incorrect"
LABELS = (MASK, NO_MASK, INCORRECT)

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "mask": MASK,
        "masked": MASK,
        "masked_face": MASK,
        "face_mask": MASK,
        "with_mask": MASK,
        "mask_on": MASK,
        "correct_mask": MASK,
        "no_mask": NO_MASK,
        "nomask": NO_MASK,
        "not_masked": NO_MASK,
        "unmasked": NO_MASK,
        "unmasked_face": NO_MASK,
        "face": NO_MASK,
        "face_no_mask": NO_MASK,
        "without_mask": NO_MASK,
        "mask_off": NO_MASK,
        "incorrect": INCORRECT,
        "incorrect_mask": INCORRECT,
        "incorrectly_masked_face": INCORRECT,
        "mask_incorrect": INCORRECT,
        "wrong_mask": INCORRECT,
        "mask_weared_incorrect": INCORRECT,
        "mask_worn_incorrectly": INCORRECT,
    }
)
"""Label of each known category name, in lower case and with underscores for spaces and hyphens."""


IGNORED = frozenset({"ignored", "invalid_face"})
"""Category names of what is neither face nor background."""


class LabelMap:
    """Looks labels up by category name, whatever its case and separators.

    Args:
        extra: More names, or other meanings for known ones.

    Raises:
        UnknownNameError: `extra` maps a name to something that is not a label.
    """

    def __init__(self, extra: Mapping[str, str] | None = None) -> None:
        names = dict(NAMES)
        for name, label in (extra or {}).items():
            if label not in LABELS:
                raise UnknownNameError.among("label", label, LABELS)
            names[_normal(name)] = label
        self._names = names

    def get(self, name: str) -> str | None:
        """The label that `name` stands for, or None if it is not known."""
        return self._names.get(_normal(name))

    def ignores(self, name: str) -> bool:
        """Whether `name` stands for something that is to be ignored."""
        return self.get(name) is None and _normal(name) in IGNORED


def _normal(name: str) -> str:
    return "_".join(name.lower().replace("-", " ").replace("_", " ").split())
