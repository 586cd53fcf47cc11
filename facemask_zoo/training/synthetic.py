"""Pictures that ``facemask-zoo mask`` drew masks on, among the real ones."""

from __future__ import annotations

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.datasets import Face, Picture, check, read
from facemask_zoo.errors import DatasetError
from facemask_zoo.ssd.boxes import iou

logger = logging.getLogger(__name__)

_OVERLAP = 0.35
_WEARING = "wearing"
_MARK = "_Mask"  # where MaskedFace-Net's suffix begins


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A picture with drawn masks.

    Attributes:
        picture: Its file, and its faces: those of the real picture, where that is labelled, with
            the labels that the masks have made of them.
        drawn: (F,) whether a face wears a drawn mask, and its label is certain.
    """

    picture: Picture
    drawn: NDArray[np.bool_]


def read_drawn(annotations: str, real: Sequence[Picture]) -> list[Drawn]:
    """Read a set that ``facemask-zoo mask`` made from training pictures.

    Faces that the real pictures have labelled keep their boxes and, unless a mask was drawn on
    them, their labels: people know more of them than the detector that found faces for the masks.

    Args:
        annotations: Its ``annotations.json``.
        real: The labelled pictures; found by the names that the masked ones have from them.

    Raises:
        DatasetError: The file cannot be read, or no face in it wears a drawn mask.
    """
    report = check(read(annotations, kind="coco"), decode=False)
    logger.info("%s", report.to_text())
    originals = _by_stem(real)
    found = []
    for picture in report.dataset.pictures:
        original = originals.get(_stem(picture))
        if original is not None and original.size == picture.size:
            found.append(_merge(picture, original))
        else:
            found.append(Drawn(picture, _is_drawn(picture.faces)))
    if not any(each.drawn.any() for each in found):
        raise DatasetError(f"{annotations}: no face in it wears a drawn mask.")
    alone = sum(_stem(each.picture) not in originals for each in found)
    if alone:
        logger.warning("%d of %d masked pictures have no labelled original.", alone, len(found))
    return found


def share_of_weight(weights: Sequence[float], others: float, share: float) -> list[float]:
    """Weights scaled so that they are a share of all.

    Args:
        weights: Of the masked pictures, against each other.
        others: Sum of the weights of everything else.
        share: 0..1, of the whole.
    """
    factor = others * share / (1 - share) / sum(weights)
    return [weight * factor for weight in weights]


def _by_stem(pictures: Sequence[Picture]) -> Mapping[str, Picture]:
    """Pictures by name without suffix; names that are there twice are left out."""
    found: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        found[picture.path.stem].append(picture)
    return {stem: same[0] for stem, same in found.items() if len(same) == 1}


def _stem(picture: Picture) -> str:
    return picture.path.stem.rpartition(_MARK)[0] or picture.path.stem


def _is_drawn(faces: Sequence[Face]) -> NDArray[np.bool_]:
    return np.array([_WEARING in face.attributes for face in faces], np.bool_)


def _merge(masked: Picture, original: Picture) -> Drawn:
    faces = list(original.faces)
    drawn = np.zeros(len(faces), np.bool_)
    for face in masked.faces:
        if _WEARING not in face.attributes:
            continue
        index = _match(face, original)
        if index is None:
            faces.append(face)
            drawn = np.append(drawn, True)
        else:
            faces[index] = dataclasses.replace(
                faces[index], label=face.label, attributes=face.attributes
            )
            drawn[index] = True
    return Drawn(dataclasses.replace(original, path=masked.path, faces=tuple(faces)), drawn)


def _match(face: Face, original: Picture) -> int | None:
    """The labelled face that a masked one is."""
    if not original.faces:
        return None
    overlaps = iou(np.array([face.box]), original.boxes)[0]
    best = int(overlaps.argmax())
    return best if overlaps[best] >= _OVERLAP else None
