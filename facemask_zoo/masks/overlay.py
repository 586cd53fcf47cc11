"""Ready masks laid over the pictures they were made for: CelebA+masks and CASIA-WebFace+masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.datasets.pictures import list_pictures
from facemask_zoo.errors import (
    DatasetError,
    FaceMaskZooError,
    ImageError,
    InvalidArgumentError,
    UnknownNameError,
)
from facemask_zoo.files import Sources
from facemask_zoo.images import load_image, load_rgba, save_image


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a data set keeps what.

    Attributes:
        originals: Names of the folder of the pictures, as scripts and README call it.
        masks: Names of the folder of the masks.
        output: Name of the folder that is written.
        marker: What the name of a mask has and that of its picture has not.
    """

    originals: tuple[str, ...]
    masks: tuple[str, ...]
    output: str
    marker: str = ""

    def picture_of(self, mask: PurePosixPath) -> PurePosixPath:
        """Path of the picture, below its folder, that a mask was made for."""
        stem = mask.stem.replace(self.marker, "") if self.marker else mask.stem
        return mask.with_name(f"{stem}.jpg")


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "celeba": Layout(("img_celeba", "celeba"), ("celeba_masks",), "masked_celeba", "_mask"),
        "casia": Layout(
            ("CASIA-WebFace", "casia"),
            ("CASIA-WebFace_masks", "casia_masks"),
            "masked_CASIA-WebFace",
        ),
    }
)
"""The two data sets."""


@dataclasses.dataclass(frozen=True)
class Laid:
    """What became of one mask.

    Attributes:
        mask: The file.
        output: The masked picture.
        problem: Why it was not written; empty if it was.
        resumed: Whether it was there already.
    """

    mask: Path
    output: Path
    problem: str = ""
    resumed: bool = False


def blend(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], offset: tuple[int, int] = (0, 0)
) -> NDArray[np.uint8]:
    """Lay a mask over a picture, and cut fractions off as the data sets' own scripts do.

    Args:
        image: (H, W, 3) uint8.
        mask: (h, w, 4) uint8; the last channel is alpha.
        offset: x and y of the mask's corner; what reaches over an edge is left out.

    Returns:
        A new picture, (H, W, 3) uint8: ``alpha * mask + (1 - alpha) * image``, truncated.

    Raises:
        InvalidArgumentError: An array has another shape or type.
    """
    for name, array, channels in (("image", image, 3), ("mask", mask, 4)):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != channels:
            raise InvalidArgumentError(
                f"{name}: expected (H, W, {channels}) uint8, "
                f"but got {array.dtype} of shape {array.shape}."
            )
    x, y = offset
    top, bottom = max(y, 0), min(y + mask.shape[0], image.shape[0])
    left, right = max(x, 0), min(x + mask.shape[1], image.shape[1])
    result = image.copy()
    if top >= bottom or left >= right:
        return result
    part = mask[top - y : bottom - y, left - x : right - x]
    alpha = part[..., 3:] / 255.0
    under = image[top:bottom, left:right]
    result[top:bottom, left:right] = (alpha * part[..., :3] + (1 - alpha) * under).astype(np.uint8)
    return result


def overlay(
    root: Path, output: Path | None = None, *, dataset: str, overwrite: bool = False
) -> Iterator[Laid]:
    """Lay every mask of a data set over its picture.

    Args:
        root: The folder that holds the data set's folders of pictures and masks.
        output: Where to write; the folder that the data set's script writes, unless given.
        dataset: A name in :data:`LAYOUTS`.
        overwrite: Replace outputs that exist; else they are left and count as done.

    Yields:
        What became of each mask; masks without picture, of another size or without transparency are
        reported, and the others go on.

    Raises:
        DatasetError: A folder or every mask is missing.
        UnknownNameError: There is no such data set.
    """
    if dataset not in LAYOUTS:
        raise UnknownNameError.among("data set", dataset, LAYOUTS)
    layout = LAYOUTS[dataset]
    originals, masks = _folder(root, layout.originals), _folder(root, layout.masks)
    files = [path for path in list_pictures(masks) if path.suffix.lower() == ".png"]
    if not files:
        raise DatasetError(f"{masks}: expected masks as PNG files, found none.")
    target = output or root / layout.output
    sources = Sources(files)
    for file in files:
        name = layout.picture_of(PurePosixPath(file.relative_to(masks).as_posix()))
        path = target / name
        if path.is_file() and not overwrite:
            yield Laid(file, path, resumed=True)
            continue
        try:
            _lay(originals / name, file, path, sources, overwrite)
            yield Laid(file, path)
        except FaceMaskZooError as error:
            yield Laid(file, path, str(error))


def _folder(root: Path, names: tuple[str, ...]) -> Path:
    found = next((root / name for name in names if (root / name).is_dir()), None)
    if found is None:
        raise DatasetError(f"{root}: expected a folder {' or '.join(names)}.")
    return found


def _lay(original: Path, file: Path, path: Path, sources: Sources, overwrite: bool) -> None:
    sources.check(path)
    Sources([original]).check(path)
    image, mask = load_image(original), load_rgba(file)
    if image.shape[:2] != mask.shape[:2]:
        raise ImageError(
            f"{original} has {image.shape[1]} x {image.shape[0]} pixels, but its mask "
            f"{mask.shape[1]} x {mask.shape[0]}: it is not the picture that the mask was made for."
        )
    save_image(blend(image, mask), path, overwrite=overwrite, quality=JPEG_QUALITY)


JPEG_QUALITY = 95
"""What the data sets' scripts write."""
