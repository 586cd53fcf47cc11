"""Pictures that lie in a folder, but that no annotation names."""

from __future__ import annotations

from pathlib import Path

from facemask_zoo.datasets.pictures import list_pictures
from facemask_zoo.datasets.types import Dataset, Problem
from facemask_zoo.errors import InvalidArgumentError


def find_unlisted(dataset: Dataset, folder: Path) -> list[Problem]:
    """The pictures below a folder that are not in a data set.

    Raises:
        InvalidArgumentError: There is no such folder.
    """
    if not folder.is_dir():
        raise InvalidArgumentError(f"{folder}: expected a folder of pictures.")
    known = {picture.path.resolve() for picture in dataset.pictures}
    detail = "no annotation names it"
    return [
        Problem("unlisted picture", str(path), detail, "not read")
        for path in list_pictures(folder)
        if path.resolve() not in known
    ]
