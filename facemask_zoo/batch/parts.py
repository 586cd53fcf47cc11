"""Rows of results, as Parquet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

from facemask_zoo.detections import Detections
from facemask_zoo.exports import COLUMNS
from facemask_zoo.extras import require

FACE_COLUMNS = COLUMNS[COLUMNS.index("label") :]
"""What is said of each face."""

COMPRESSION = "zstd"


class Row(NamedTuple):
    """What became of a picture.

    Attributes:
        source: The file it is in.
        key: Its name in there, if that file holds several.
        result: What was found; None if it could not be read.
        error: Why it could not be read.
    """

    source: str
    key: str | None
    result: Detections | None
    error: str | None

    def values(self) -> dict[str, Any]:
        """One row of the table."""
        row: dict[str, Any] = {"source": self.source, "key": self.key, "error": self.error}
        if self.result is not None:
            width, height = self.result.image_size
            table = self.result.to_columns()
            faces = zip(*(table[name] for name in FACE_COLUMNS), strict=True)
            row |= {"width": width, "height": height}
            row["faces"] = [dict(zip(FACE_COLUMNS, face, strict=True)) for face in faces]
        return row


@dataclasses.dataclass(frozen=True)
class Part:
    """The rows of a unit.

    Attributes:
        number: Of the unit.
        rows: How many there are.
        errors: How many of them are of pictures that could not be read.
        content: A Parquet file.
    """

    number: int
    rows: int
    errors: int
    content: bytes

    @classmethod
    def of(cls, number: int, rows: Iterable[Row]) -> Part:
        """Write rows as Parquet.

        Args:
            number: Of the unit.
            rows: In order.
        """
        arrow, parquet = require("pyarrow", "batch"), require("pyarrow.parquet", "batch")
        table = arrow.Table.from_pylist([row.values() for row in rows], schema=schema())
        sink = arrow.BufferOutputStream()
        parquet.write_table(table, sink, compression=COMPRESSION)
        errors = table.num_rows - table["error"].null_count
        return cls(number, table.num_rows, errors, sink.getvalue().to_pybytes())


def schema() -> Any:
    """Columns of the results: a row per picture, with a list of its faces.

    ``source``, ``key`` (member of a tar, row of a Parquet file), ``width``, ``height``, ``faces``
    (label, class_id, score, xmin, ymin, xmax, ymax; boxes in pixels, best score first) and
    ``error``. Of a picture that cannot be read, the size and the faces are null.
    """
    arrow = require("pyarrow", "batch")
    kinds = {"label": arrow.string(), "class_id": arrow.int16()}
    face = arrow.struct([(name, kinds.get(name, arrow.float32())) for name in FACE_COLUMNS])
    columns = [("source", arrow.string()), ("key", arrow.string())]
    columns += [("width", arrow.int32()), ("height", arrow.int32())]
    return arrow.schema([*columns, ("faces", arrow.list_(face)), ("error", arrow.string())])
