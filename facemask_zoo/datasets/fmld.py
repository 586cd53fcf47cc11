"""FMLD: VOC files with three classes and attributes, for the pictures of MAFA and WIDER FACE."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath

from facemask_zoo.datasets import voc
from facemask_zoo.datasets.collector import FILE_SKIPPED, PICTURE_SKIPPED, Collector
from facemask_zoo.datasets.labels import LabelMap
from facemask_zoo.datasets.pictures import list_pictures
from facemask_zoo.datasets.types import Dataset, Picture
from facemask_zoo.errors import DatasetError

FOLDER = "FMLD_annotations"


def read_fmld(path: Path, images: Path | None = None, names: LabelMap | None = None) -> Dataset:
    """Read the annotations of FMLD.

    `difficult` and `invalid_face` are ignored; gender, ethnicity and pose are attributes, where
    they are specified; the set that a picture is from is its source.

    Args:
        path: The folder of ``FMLD_annotations``, or that one itself.
        images: Folder below which the pictures of MAFA and WIDER FACE lie, at any depth; by
            default the one that the annotations lie in.
        names: Meaning of the object names.

    Raises:
        DatasetError: There is no annotation file.
    """
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    files = sorted(folder.rglob("*.xml"))
    if not files:
        raise DatasetError(f"{path}: expected the annotations of FMLD (*.xml), found none.")
    collector = Collector(path, names or LabelMap())
    pictures = _by_name(images or (path if folder != path else path.parent))
    for file in files:
        _add(collector, file, pictures)
    return collector.dataset()


def _by_name(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for path in list_pictures(folder):
        found[path.name].append(path)
    return found


def _add(collector: Collector, file: Path, pictures: dict[str, list[Path]]) -> None:
    try:
        root = voc.parse(file)
    except (OSError, DatasetError) as error:
        collector.problem("unreadable annotation", file, str(error), FILE_SKIPPED)
        return
    name = PurePosixPath((root.findtext("filename") or "").strip().replace("\\", "/")).name
    found = pictures.get(name, []) or pictures.get(f"{file.stem}.jpg", [])
    if len(found) != 1:
        kind = "doubled picture" if found else "missing picture"
        detail = ", ".join(map(str, found)) or f"no picture is called {name!r}"
        collector.problem(kind, file, detail, PICTURE_SKIPPED)
        return
    size = collector.size(found[0])
    if size is not None:
        faces = voc.read_faces(collector, file, root)
        collector.add(Picture(found[0], size, faces, source=voc.source_of(root)))
