"""Sets of single masked faces: MaskedFace-Net, CelebA+masks and CASIA-WebFace+masks.

They have no boxes. Each picture shows one face, and the box is the whole picture, unless landmarks
say more. Pictures of one face, with and without mask, share a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from facemask_zoo.datasets.collector import PICTURE_SKIPPED, Collector
from facemask_zoo.datasets.labels import MASK, NO_MASK, LabelMap
from facemask_zoo.datasets.landmarks import FFHQ_SIDE, Points, face_box, read_ffhq
from facemask_zoo.datasets.pictures import list_pictures
from facemask_zoo.datasets.types import Box, Dataset, Face, Picture
from facemask_zoo.datasets.wearing import MASKED_FACE_NET, Wearing
from facemask_zoo.errors import DatasetError

FFHQ_METADATA = "ffhq-dataset-v2.json"
MASKED_FACE_NET_FOLDERS = ("CMFD", "IMFD")
_FFHQ_FOLDERS = ("images1024x1024", "FFHQ")

MASKED_FOLDERS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "celeba-masks": (("masked_celeba",), ("img_celeba", "celeba")),
        "casia-masks": (
            ("masked_CASIA-WebFace", "masked_casia"),
            ("CASIA-WebFace", "casia"),
        ),
    }
)
"""Folders of the masked pictures and of the originals, as scripts and README call them."""


def read_masked_face_net(
    path: Path, images: Path | None = None, names: LabelMap | None = None
) -> Dataset:
    """Read MaskedFace-Net, or a set made with ``facemask-zoo mask``.

    Args:
        path: The folder with ``CMFD`` and ``IMFD``. If ``ffhq-dataset-v2.json`` lies there too,
            boxes come from its landmarks.
        images: Folder of FFHQ's bare faces, read as well; by default ``images1024x1024`` or
            ``FFHQ`` below `path`, if there is one.
        names: Not used: the folders and suffixes say what is shown.

    Raises:
        DatasetError: There is neither folder, or FFHQ's metadata are damaged.
    """
    folders = [path / name for name in MASKED_FACE_NET_FOLDERS if (path / name).is_dir()]
    if not folders:
        raise DatasetError(f"{path}: expected a folder {' or '.join(MASKED_FACE_NET_FOLDERS)}.")
    metadata = path / FFHQ_METADATA
    landmarks = read_ffhq(metadata) if metadata.is_file() else {}
    collector = Collector(path, names or LabelMap())
    for picture in (found for folder in folders for found in list_pictures(folder)):
        wearing = _wearing(picture.stem, picture.relative_to(path).parts[0])
        if wearing is None:
            detail = "the name does not say how the mask is worn"
            collector.problem("unknown file name", picture, detail, PICTURE_SKIPPED)
            continue
        number = picture.stem.partition("_")[0]
        attributes = {"wearing": str(wearing)}
        _add(collector, picture, wearing.label, number, landmarks, attributes=attributes)
    bare = images or next((path / name for name in _FFHQ_FOLDERS if (path / name).is_dir()), None)
    for picture in list_pictures(bare) if bare else ():
        _add(collector, picture, NO_MASK, picture.stem, landmarks)
    return collector.dataset()


def read_celeba_masks(
    path: Path, images: Path | None = None, names: LabelMap | None = None
) -> Dataset:
    """Read CelebA+masks once its masks were laid over (``facemask-zoo mask overlay``).

    Args:
        path: The folder with ``masked_celeba``, and perhaps the originals.
        images: Folder of the originals, where it is another.
        names: Not used.

    Raises:
        DatasetError: The folder of masked pictures is missing.
    """
    return _read_pairs("celeba-masks", path, images)


def read_casia_masks(
    path: Path, images: Path | None = None, names: LabelMap | None = None
) -> Dataset:
    """Read CASIA-WebFace+masks likewise; all pictures of an identity are one group.

    Args:
        path: The folder with ``masked_CASIA-WebFace`` or ``masked_casia``.
        images: Folder of the originals, where it is another.
        names: Not used.

    Raises:
        DatasetError: The folder of masked pictures is missing.
    """
    return _read_pairs("casia-masks", path, images)


def _wearing(stem: str, folder: str) -> Wearing | None:
    suffix = stem[len(stem.partition("_Mask")[0]) :]
    for wearing, name in MASKED_FACE_NET.items():
        if (name.folder, name.suffix) == (folder, suffix):
            return wearing
    return None


def _read_pairs(kind: str, path: Path, images: Path | None) -> Dataset:
    masked_names, original_names = MASKED_FOLDERS[kind]
    masked = next((path / name for name in masked_names if (path / name).is_dir()), None)
    if masked is None:
        raise DatasetError(f"{path}: expected a folder {' or '.join(masked_names)}.")
    originals = images or next(
        (path / name for name in original_names if (path / name).is_dir()), None
    )
    collector = Collector(path, LabelMap())
    for folder, label in ((masked, MASK), (originals, NO_MASK)):
        for picture in list_pictures(folder) if folder else ():
            inside = picture.relative_to(folder or path)
            group = inside.parts[0] if len(inside.parts) > 1 else picture.stem
            _add(collector, picture, label, group, {}, three_class=False)
    return collector.dataset()


def _add(
    collector: Collector,
    path: Path,
    label: str,
    group: str,
    landmarks: Mapping[int, Points],
    *,
    three_class: bool = True,
    attributes: Mapping[str, str] | None = None,
) -> None:
    size = collector.size(path)
    if size is None:
        return
    points = landmarks.get(int(group)) if group.isascii() and group.isdecimal() else None
    box: Box = (0.0, 0.0, float(size[0]), float(size[1]))
    if points is not None:
        box = face_box(points * (size[0] / FFHQ_SIDE), size)
    faces = (Face(box, label, attributes=attributes or {}),)
    collector.add(Picture(path, size, faces, three_class=three_class, group=group))
