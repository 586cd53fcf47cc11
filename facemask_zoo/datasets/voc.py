"""Pascal VOC: one XML file per picture, as VOC defines it and as AIZOO writes it."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path, PurePosixPath

from facemask_zoo.datasets.collector import FILE_SKIPPED, Collector
from facemask_zoo.datasets.labels import LabelMap
from facemask_zoo.datasets.types import Dataset, Face, Picture
from facemask_zoo.errors import DatasetError
from facemask_zoo.images import IMAGE_SUFFIXES

_MAX_BYTES = 16 << 20
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
IMAGES, ANNOTATIONS = "JPEGImages", "Annotations"
UNKNOWN = "Unknown"
RESERVED = ("name", "difficult", "bndbox")
"""Fields of an object that are no attributes."""

_SAY_NOTHING = ("", "0", "unspecified")


def read_voc(path: Path, images: Path | None = None, names: LabelMap | None = None) -> Dataset:
    """Read every XML file below a folder.

    AIZOO's files have no `<size>`, and some give `<filename>` the suffix ``.xml``: sizes are read
    from the pictures, and a picture is looked up by `<filename>`, then by the name of the XML file.

    Args:
        path: The folder, with the files anywhere below it, or one XML file.
        images: Folder of the pictures; by default the XML file's own, or VOC's ``JPEGImages``.
        names: Meaning of the object names.

    Raises:
        DatasetError: There is no XML file.
    """
    files = [path] if path.is_file() else sorted(path.rglob("*.xml"))
    if not files:
        raise DatasetError(f"{path}: expected a folder with VOC annotations (*.xml), found none.")
    collector = Collector(path, names or LabelMap())
    for file in files:
        try:
            root = parse(file)
        except (OSError, DatasetError) as error:
            collector.problem("unreadable annotation", file, str(error), FILE_SKIPPED)
            continue
        picture = _find_picture(file, root, images)
        size = collector.size(picture)
        if size is not None:
            faces = read_faces(collector, file, root)
            collector.add(Picture(picture, size, faces, source=source_of(root)))
    return collector.dataset_by_its_faces()


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Refuses document types: they are where entities, and attacks with them, are declared."""

    def doctype(self, name: str, *_: object) -> None:
        raise DatasetError(f"document types are not accepted, but got <!DOCTYPE {name}>")


def parse(file: Path) -> ElementTree.Element:
    """The root of an annotation file.

    Raises:
        DatasetError: It is too large, or not an ``<annotation>``.
        OSError: It cannot be read.
    """
    if file.stat().st_size > _MAX_BYTES:
        raise DatasetError(f"expected at most {_MAX_BYTES} bytes, but got {file.stat().st_size}")
    try:
        parser = ElementTree.XMLParser(target=_WithoutDoctype())  # noqa: S314
        root = ElementTree.fromstring(file.read_bytes(), parser)  # noqa: S314
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise DatasetError(f"not XML: {error}") from error
    if root.tag != "annotation":
        raise DatasetError(f"expected an <annotation>, but got <{root.tag[:40]}>")
    return root


def _find_picture(file: Path, root: ElementTree.Element, images: Path | None) -> Path:
    """The first picture that fits; if none exists, the one to name as missing."""
    named = PurePosixPath((root.findtext("filename") or "").strip().replace("\\", "/")).name
    stems = dict.fromkeys([PurePosixPath(named).stem, named, file.stem])
    wanted = [
        name for stem in stems if stem for name in (stem + suffix for suffix in IMAGE_SUFFIXES)
    ]
    folders = [images] if images else [file.parent, *_usual_folders(file)]
    if named and PurePosixPath(named).suffix.lower() in IMAGE_SUFFIXES:
        wanted.insert(0, named)
    candidates = [folder / name for folder in folders for name in wanted]
    return next((path for path in candidates if os.path.isfile(path)), candidates[0])


def source_of(root: ElementTree.Element) -> str:
    """The collection that a picture is from, where the file says so."""
    name = (root.findtext("source/database") or "").strip()
    return "" if name.lower() == UNKNOWN.lower() else name


def _usual_folders(file: Path) -> list[Path]:
    """VOC's folder of pictures beside that of the annotations, and the same place in it."""
    found = [file.parent.parent / IMAGES]
    for folder in file.parents:
        if folder.name == ANNOTATIONS:
            inside = file.parent.relative_to(folder)
            found += [folder.parent / IMAGES / inside, folder.parent / IMAGES]
    return found


def read_faces(collector: Collector, file: Path, root: ElementTree.Element) -> tuple[Face, ...]:
    """The faces of an annotation file; other fields than VOC's become attributes."""
    faces: list[Face] = []
    for number, entry in enumerate(root.iter("object"), 1):
        place = f"{file}, object {number}"
        box = collector.box([entry.findtext(f"bndbox/{corner}") for corner in _CORNERS], place)
        difficult = (entry.findtext("difficult") or "0").strip() not in ("", "0")
        name = (entry.findtext("name") or "").strip()
        faces += collector.face(name, box, place, difficult, _attributes(entry))
    return tuple(faces)


def _attributes(entry: ElementTree.Element) -> dict[str, str]:
    fields = {field.tag: (field.text or "").strip() for field in entry if not len(field)}
    return {
        name: value
        for name, value in fields.items()
        if name not in RESERVED and value.lower() not in _SAY_NOTHING
    }
