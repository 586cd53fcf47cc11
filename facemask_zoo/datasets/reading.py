"""One way into all formats."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from facemask_zoo.datasets.coco import ANNOTATIONS_NAME, read_coco
from facemask_zoo.datasets.collector import Collector
from facemask_zoo.datasets.faces_csv import read_csv
from facemask_zoo.datasets.fmld import FOLDER as FMLD_FOLDER
from facemask_zoo.datasets.fmld import read_fmld
from facemask_zoo.datasets.labels import LabelMap
from facemask_zoo.datasets.mafa import LABEL_FILES, find_labels, read_mafa
from facemask_zoo.datasets.masked_sets import (
    MASKED_FACE_NET_FOLDERS,
    MASKED_FOLDERS,
    read_casia_masks,
    read_celeba_masks,
    read_masked_face_net,
)
from facemask_zoo.datasets.pictures import list_pictures
from facemask_zoo.datasets.types import Dataset, Picture
from facemask_zoo.datasets.voc import read_voc
from facemask_zoo.datasets.wider import NAME as WIDER_NAME
from facemask_zoo.datasets.wider import find_files as find_wider_files
from facemask_zoo.datasets.wider import read_wider
from facemask_zoo.datasets.yolo import read_yolo
from facemask_zoo.errors import DatasetError, UnknownNameError

_Reader = Callable[[Path, Path | None, LabelMap], Dataset]

FORMATS: Mapping[str, _Reader] = MappingProxyType(
    {
        "coco": read_coco,
        "voc": read_voc,
        "yolo": read_yolo,
        "csv": read_csv,
        "mafa": read_mafa,
        "fmld": read_fmld,
        "wider": read_wider,
        "masked-face-net": read_masked_face_net,
        "celeba-masks": read_celeba_masks,
        "casia-masks": read_casia_masks,
    }
)
"""The readers by name of their format."""

_SUFFIXES = {".json": "coco", ".xml": "voc", ".yaml": "yolo", ".yml": "yolo", ".csv": "csv"}


def read(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    kind: str = "auto",
    labels: Mapping[str, str] | None = None,
) -> Dataset:
    """Read an annotated data set.

    Args:
        path: A COCO JSON file, a CSV file, a YOLO YAML file, an annotation file of MAFA or WIDER
            FACE, or a folder with VOC XML files, with YOLO text files, with ``faces.csv``, or of
            one of the sets by name.
        images: Folder of the pictures, where it is not the usual one.
        kind: A name in ``FORMATS``, or ``"auto"`` to go by what is there.
        labels: Label of each category name that ``NAMES`` does not know, or to be understood
            differently.

    Raises:
        DatasetError: The data set is missing, or not of that format.
        UnknownNameError: There is no such format or label.
    """
    place = Path(path)
    if not os.path.exists(place):
        raise DatasetError(f"{place}: there is no such file or folder.")
    if images is not None and not os.path.isdir(images):
        raise DatasetError(f"{images}: expected a folder of pictures.")
    name = recognise(place) if kind == "auto" else kind
    if name not in FORMATS:
        raise UnknownNameError.among("format", name, ("auto", *FORMATS))
    return FORMATS[name](place, Path(images) if images is not None else None, LabelMap(labels))


def read_negatives(folder: str | os.PathLike[str]) -> Dataset:
    """Every picture below a folder, as pictures without faces.

    Raises:
        DatasetError: There is no picture.
    """
    place = Path(folder)
    pictures = list_pictures(place)
    if not pictures:
        raise DatasetError(f"{place}: expected pictures, found none.")
    collector = Collector(place, LabelMap())
    for path in pictures:
        size = collector.size(path)
        if size is not None:
            collector.add(Picture(path, size))
    return collector.dataset()


def recognise(path: Path) -> str:
    """The format of a file or folder.

    Raises:
        DatasetError: It is none of ``FORMATS``.
    """
    if path.is_file():
        found = _recognise_file(path)
    elif _holds(path, (FMLD_FOLDER,)) or path.name == FMLD_FOLDER:
        found = "fmld"
    elif find_labels(path):
        found = "mafa"
    elif find_wider_files(path):
        found = "wider"
    elif _holds(path, MASKED_FACE_NET_FOLDERS):
        found = "masked-face-net"
    elif pairs := [kind for kind, (masked, _) in MASKED_FOLDERS.items() if _holds(path, masked)]:
        found = pairs[0]
    elif (path / ANNOTATIONS_NAME).is_file():
        found = "coco"
    elif (path / "faces.csv").is_file():
        found = "csv"
    elif next(path.rglob("*.xml"), None):
        found = "voc"
    elif next(path.rglob("*.txt"), None):
        found = "yolo"
    else:
        found = None
    if found is None:
        raise DatasetError(
            f"{path}: expected annotations as COCO (.json), VOC (folder of .xml), "
            "YOLO (.yaml, or folder of .txt), CSV (.csv, or folder with faces.csv), or the "
            "files of MAFA, FMLD or WIDER FACE, or the folders of MaskedFace-Net, CelebA+masks or "
            "CASIA-WebFace+masks."
        )
    return found


def _recognise_file(path: Path) -> str | None:
    if path.name in LABEL_FILES:
        return "mafa"
    if WIDER_NAME.fullmatch(path.name):
        return "wider"
    return _SUFFIXES.get(path.suffix.lower())


def _holds(path: Path, names: tuple[str, ...]) -> bool:
    return any((path / name).is_dir() for name in names)
