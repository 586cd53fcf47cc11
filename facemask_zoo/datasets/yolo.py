"""YOLO: one text file per picture, and the class names in a YAML or text file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from facemask_zoo.datasets.collector import BOX_SKIPPED, FILE_SKIPPED, Collector
from facemask_zoo.datasets.labels import INCORRECT, LabelMap
from facemask_zoo.datasets.pictures import list_pictures
from facemask_zoo.datasets.text_files import read_text
from facemask_zoo.datasets.types import Box, Dataset, Face, Picture
from facemask_zoo.errors import DatasetError, FrameworkNotInstalledError

_NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels")
_SPLITS = ("val", "test", "train")
_MAX_BYTES = 16 << 20


def read_yolo(path: Path, images: Path | None = None, names: LabelMap | None = None) -> Dataset:
    """Read the pictures of a YOLO folder and the text files that go with them.

    A picture without a text file has no faces, as YOLO means it. Lines with a polygon count as the
    box around it.

    Args:
        path: The folder, or its YAML file, of which `val`, `test` or `train` (the first that is
            there) is read.
        images: Folder of the pictures; by default ``images`` below the folder, or the folder.
        names: Meaning of the class names.

    Raises:
        DatasetError: There are no class names, or no pictures.
    """
    names = names or LabelMap()
    root = path if path.is_dir() else path.parent
    classes, folder = _describe(path, root)
    folder = images or folder
    pictures = list_pictures(folder)
    if not pictures:
        raise DatasetError(f"{folder}: expected pictures, found none.")
    collector = Collector(path, names)
    three_class = any(names.get(name) == INCORRECT for name in classes.values())
    for picture in pictures:
        size = collector.size(picture)
        if size is not None:
            faces = _read_faces(collector, _label_file(picture), classes, size)
            collector.add(Picture(picture, size, faces, three_class=three_class))
    return collector.dataset()


def _describe(path: Path, root: Path) -> tuple[dict[int, str], Path]:
    """The class names and the default folder of pictures."""
    default = root / "images" if (root / "images").is_dir() else root
    for file in [path] if path.is_file() else sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        content = _load_yaml(file)
        classes = _classes(content.get("names"))
        if classes:
            return classes, _split_folder(file, content) if path.is_file() else default
    for file in [folder / name for folder in (root, root / "labels") for name in _NAME_FILES]:
        if file.is_file():
            lines = [line.strip() for line in read_text(file, _MAX_BYTES).splitlines()]
            return {number: name for number, name in enumerate(lines) if name}, default
    raise DatasetError(
        f"{path} is not YOLO: expected class names in a .yaml file (names:) or in "
        f"{' or '.join(_NAME_FILES)}, found neither."
    )


def _load_yaml(file: Path) -> Mapping[object, object]:
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise FrameworkNotInstalledError(
            f"Reading {file} needs PyYAML: pip install 'facemask-zoo[evaluation]'."
        ) from error
    try:
        content = yaml.safe_load(read_text(file, _MAX_BYTES))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DatasetError(f"{file} is not YAML: {error}") from error
    return content if isinstance(content, dict) else {}


def _classes(names: object) -> dict[int, str]:
    if isinstance(names, list):
        return {number: str(name) for number, name in enumerate(names)}
    if isinstance(names, dict):
        return {key: str(name) for key, name in names.items() if isinstance(key, int)}
    return {}


def _split_folder(file: Path, content: Mapping[object, object]) -> Path:
    root = file.parent / str(content.get("path") or ".")
    for split in _SPLITS:
        value = content.get(split)
        if isinstance(value, str):
            # Exported data sets write ../valid/images for a folder beside the YAML file.
            choices = [root / value, file.parent / value.removeprefix("../")]
            return next((folder for folder in choices if folder.is_dir()), choices[0])
    raise DatasetError(f"{file}: expected a folder under one of {', '.join(_SPLITS)}.")


def _label_file(picture: Path) -> Path:
    """The text file of a picture: in ``labels`` for one in ``images``, else beside it."""
    parts = list(picture.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            candidate = Path(*parts).with_suffix(".txt")
            if candidate.is_file():
                return candidate
            break
    return picture.with_suffix(".txt")


def _read_faces(
    collector: Collector, file: Path, classes: Mapping[int, str], size: tuple[int, int]
) -> tuple[Face, ...]:
    if not file.is_file():
        return ()
    try:
        lines = read_text(file, _MAX_BYTES).splitlines()
    except DatasetError as error:
        collector.problem("unreadable annotation", file, str(error), FILE_SKIPPED)
        return ()
    faces: list[Face] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            faces += _read_line(collector, line.split(), f"{file}:{number}", classes, size)
    return tuple(faces)


def _read_line(
    collector: Collector,
    values: list[str],
    place: str,
    classes: Mapping[int, str],
    size: tuple[int, int],
) -> list[Face]:
    try:
        name = classes.get(int(values[0]), values[0])
        numbers = [float(value) for value in values[1:]]
    except ValueError:
        collector.problem("malformed line", place, " ".join(values)[:80], BOX_SKIPPED)
        return []
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        numbers = _around(numbers)
    box = collector.box(numbers, place)
    return collector.face(name, _to_pixels(box, size), place, False)


def _around(polygon: list[float]) -> list[float]:
    """Centre and size of the box around x1 y1 x2 y2 x3 y3 ..."""
    left, right = min(polygon[::2]), max(polygon[::2])
    top, bottom = min(polygon[1::2]), max(polygon[1::2])
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]


def _to_pixels(box: Box | None, size: tuple[int, int]) -> Box | None:
    if box is None:
        return None
    (x, y, width, height), (across, down) = box, size
    return (
        (x - width / 2) * across,
        (y - height / 2) * down,
        (x + width / 2) * across,
        (y + height / 2) * down,
    )
