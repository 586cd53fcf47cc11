"""Results in the forms that other programs read."""

from __future__ import annotations

import base64
import html
import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facemask_zoo.errors import UnknownNameError
from facemask_zoo.extras import require

if TYPE_CHECKING:
    from facemask_zoo.detections import Detections

DATAFRAMES = ("pandas", "polars")
COLUMNS = (
    *("source", "frame", "time", "label", "class_id", "score"),
    *("xmin", "ymin", "xmax", "ymax"),
)
"""The columns of every table, before those of attributes."""

TRACK_ID = "track_id"
"""The attribute that says who is who in a video."""

LANDMARKS, POSE = "landmarks", "pose"
"""The attributes with the points of each face, and with how its head is turned."""

_SCORE_DIGITS = 6
_PIXEL_DIGITS = 3
# Compiled when it is first used, which takes milliseconds.
_NOT_IN_XML = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"


def to_dict(result: Detections) -> dict[str, Any]:
    """See :meth:`Detections.to_dict`."""
    place = {"source": result.source, "frame": result.frame, "time": result.time}
    values: dict[str, Any] = {key: value for key, value in place.items() if value is not None}
    values["image_size"] = list(result.image_size)
    values["detections"] = [
        {
            "label": label,
            "class_id": class_id,
            "score": round(score, _SCORE_DIGITS),
            "box": [round(value, _PIXEL_DIGITS) for value in box],
            **{name: array[index].tolist() for name, array in result.attributes.items()},
        }
        for index, (label, class_id, score, box) in enumerate(_faces(result))
    ]
    return values


def to_columns(result: Detections) -> dict[str, list[Any]]:
    """See :meth:`Detections.to_columns`."""
    count = len(result)
    corners = result.boxes.T.tolist()
    own: list[Any] = [result.source, result.frame, result.time]
    columns: list[list[Any]] = [[value] * count for value in own]
    columns += [result.labels, result.class_ids.tolist(), result.scores.tolist(), *corners]
    table = dict(zip(COLUMNS, columns, strict=True))
    return {**table, **{name: list(v.tolist()) for name, v in result.attributes.items()}}


def to_dataframe(result: Detections, library: str) -> Any:
    """See :meth:`Detections.to_dataframe`."""
    if library not in DATAFRAMES:
        raise UnknownNameError.among("library", library, DATAFRAMES)
    return require(library, library).DataFrame(to_columns(result))


def to_coco(
    result: Detections, image_id: int, category_ids: Mapping[str, int] | None
) -> list[dict[str, Any]]:
    """See :meth:`Detections.to_coco`."""
    if category_ids is None:
        category_ids = {name: index for index, name in enumerate(result.classes, 1)}
    entries = []
    for label, _, score, (x1, y1, x2, y2) in _faces(result):
        if label not in category_ids:
            raise UnknownNameError.among("label", label, category_ids)
        entry = {"image_id": image_id, "category_id": category_ids[label]}
        entries.append({**entry, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score})
    return entries


def to_yolo(result: Detections, *, scores: bool) -> str:
    """See :meth:`Detections.to_yolo`."""
    width, height = result.image_size
    lines = []
    for _, class_id, score, (x1, y1, x2, y2) in _faces(result):
        centre = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height)
        shares = (*centre, (x2 - x1) / width, (y2 - y1) / height, *((score,) if scores else ()))
        lines.append(" ".join([str(class_id), *(f"{share:.6f}" for share in shares)]) + "\n")
    return "".join(lines)


def to_voc(result: Detections) -> str:
    """See :meth:`Detections.to_voc`."""
    path = re.sub(_NOT_IN_XML, "\N{REPLACEMENT CHARACTER}", result.source or "")
    root = ElementTree.Element("annotation")
    _add(root, {"folder": Path(path).parent.name, "filename": Path(path).name, "path": path})
    _add(ElementTree.SubElement(root, "source"), {"database": "Unknown"})
    width, height = result.image_size
    _add(ElementTree.SubElement(root, "size"), {"width": width, "height": height, "depth": 3})
    _add(root, {"segmented": 0})
    for label, _, _, box in _faces(result):
        face = ElementTree.SubElement(root, "object")
        _add(face, {"name": label, "pose": "Unspecified", "truncated": 0, "difficult": 0})
        corners = zip(("xmin", "ymin", "xmax", "ymax"), map(round, box), strict=True)
        _add(ElementTree.SubElement(face, "bndbox"), dict(corners))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def to_supervision(result: Detections) -> Any:
    """See :meth:`Detections.to_supervision`."""
    supervision = require("supervision", "supervision")
    data = {name: v.copy() for name, v in result.attributes.items() if name != TRACK_ID}
    ids = result.attributes.get(TRACK_ID)
    return supervision.Detections(
        xyxy=result.boxes.copy(),
        confidence=result.scores.copy(),
        class_id=result.class_ids.copy(),
        tracker_id=None if ids is None else ids.copy(),
        data={"class_name": np.array(result.labels, dtype=str), **data},
    )


def to_html(result: Detections, picture: NDArray[np.uint8] | None) -> str:
    """A table of the faces, below a picture if there is one.

    Args:
        result: What to show.
        picture: (H, W, 3) uint8 RGB.
    """
    rows = "".join(
        f"<tr><td>{html.escape(label)}</td><td>{score:.3f}</td>"
        f"<td>{', '.join(f'{value:.0f}' for value in box)}</td></tr>"
        for label, _, score, box in _faces(result)
    )
    table = f"<table><tr><th>label</th><th>score</th><th>box</th></tr>{rows}</table>"
    title = html.escape(result.source or "a picture")
    return f"<div><p>{title}: {len(result)}</p>{_inline(picture)}{table}</div>"


def _inline(picture: NDArray[np.uint8] | None) -> str:
    if picture is None:
        return ""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'


def _faces(result: Detections) -> list[tuple[str, int, float, list[float]]]:
    """Label, class id, score and box of each face, as plain Python values."""
    values = (result.class_ids.tolist(), result.scores.tolist(), result.boxes.tolist())
    return list(zip(result.labels, *values, strict=True))


def _add(parent: ElementTree.Element, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        ElementTree.SubElement(parent, name).text = str(value)
