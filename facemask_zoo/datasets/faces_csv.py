"""CSV: one row per face, ``class,x,y,w,h,image``."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from facemask_zoo.datasets.collector import Collector, from_width_and_height
from facemask_zoo.datasets.labels import LabelMap
from facemask_zoo.datasets.types import Dataset, Face, Picture
from facemask_zoo.errors import DatasetError

_BOX_COLUMNS = ("x", "y", "w", "h")
_PARTS = ("validation", "test")
_IMAGE_COLUMNS = ("image", "raw_img_dir", "img")


def read_csv(path: Path, images: Path | None = None, names: LabelMap | None = None) -> Dataset:
    """Read a table of faces; `x` and `y` are the top left corner, all in pixels.

    Args:
        path: The CSV file, or a folder with one ``faces.csv``. The picture's column is `image`, or
            `raw_img_dir` or `img` as dataroots calls it, of which the file name counts. What its
            `cropped_img_dir` says of the split becomes the source.
        images: Folder of the pictures; by default ``images`` beside the file.
        names: Meaning of the classes.

    Raises:
        DatasetError: The file is missing, not text, or lacks a column.
    """
    file = path / "faces.csv" if path.is_dir() else path
    collector = Collector(path, names or LabelMap())
    folder = images or file.parent / "images"
    faces: dict[str, list[Face]] = {}
    sources: dict[str, str] = {}
    for place, row, name in _rows(file):
        sources.setdefault(name, _part(row.get("cropped_img_dir") or ""))
        found = faces.setdefault(name, [])
        box = collector.box([row[column] for column in _BOX_COLUMNS], place)
        found += collector.face(row["class"], from_width_and_height(box), place, False)
    for name, found in faces.items():
        picture = collector.inside(folder, name)
        size = collector.size(picture) if picture else None
        if picture and size:
            collector.add(Picture(picture, size, tuple(found), source=sources[name]))
    return collector.dataset_by_its_faces()


def _part(cropped: str) -> str:
    """The part of dataroots' set that the path of a cropped face names."""
    return next((part for part in _PARTS if part in PurePosixPath(cropped).parts), "")


def _rows(file: Path) -> Iterator[tuple[str, dict[str, str | None], str]]:
    """Place, row, and the picture's name, of every row."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            columns = set(reader.fieldnames or ())
            image = next((column for column in _IMAGE_COLUMNS if column in columns), "image")
            missing = {"class", image, *_BOX_COLUMNS} - columns
            if missing:
                raise DatasetError(f"{file}: expected the columns {sorted(missing)} as well.")
            for row in reader:
                name = (row[image] or "").replace("\\", "/")
                yield f"{file}:{reader.line_num}", row, PurePosixPath(name).name
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file} cannot be read as CSV: {error}") from error
