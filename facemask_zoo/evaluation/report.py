"""Results as files: JSON, CSV, PNG, and one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from facemask_zoo.datasets import CheckReport
from facemask_zoo.evaluation.average_measures import AverageMeasures
from facemask_zoo.evaluation.average_precision import SIZES
from facemask_zoo.evaluation.curves import Curve, Operating, best_threshold
from facemask_zoo.evaluation.dataroots import Dataroots
from facemask_zoo.evaluation.extras import require
from facemask_zoo.evaluation.figures import COVERAGE, Figure
from facemask_zoo.evaluation.mistakes import NOTHING_THERE, draw, worst
from facemask_zoo.evaluation.negatives import Negatives
from facemask_zoo.evaluation.plots import precision_recall_png, roc_png
from facemask_zoo.evaluation.runs import Run
from facemask_zoo.evaluation.samples import Sample
from facemask_zoo.evaluation.table import cell
from facemask_zoo.files import atomic_path, check_target

RESULTS = "results.json"
_PAGE = "report.html"
_TEMPLATE = "report.html.j2"
_ON_NEGATIVES = "On pictures without faces"
_OPERATING = tuple(Operating(0, 0, 0, 0).to_dict())
_Rows = Sequence[Sequence[object]]


@dataclasses.dataclass(frozen=True)
class _Section:
    title: str
    head: Sequence[str]
    rows: _Rows


def check_report(folder: Path, *, overwrite: bool) -> None:
    """Make sure that a report can be written, before hours are spent on what is in it.

    Raises:
        OutputError: There is one already and `overwrite` is False.
    """
    for name in (RESULTS, _PAGE):
        check_target(folder / name, overwrite=overwrite)


def write_report(
    folder: Path,
    runs: Sequence[Run],
    check: CheckReport,
    *,
    overwrite: bool = False,
    second_opinions: Sequence[Sequence[Sample]] = (),
) -> list[Path]:
    """Write everything about some runs into a folder.

    Args:
        folder: Made if it does not exist.
        runs: Measurements by one protocol on one data set.
        check: What was found wrong with the data set.
        overwrite: Replace files of the same names, such as those of an earlier report.
        second_opinions: What face detectors found in the same pictures, to tell faces that nobody
            labelled from false boxes. The runs are second opinions for each other.

    Returns:
        The files: ``results.json``, ``report.html``, and either ``precision_recall.png``,
        ``precision_recall.csv`` and ``thresholds.csv``, or ``roc.png`` and ``roc.csv``.

    Raises:
        FrameworkNotInstalledError: matplotlib or Jinja2 is not installed.
        ImageError: A picture has gone since it was measured.
        OutputError: A file exists and `overwrite` is False; then none is written.
    """
    diagrams, tables = _diagrams(runs), _tables(runs)
    content = {
        RESULTS: _json({"check": check.to_dict(), "runs": [run.to_dict() for run in runs]}),
        _PAGE: _html(runs, check, diagrams, second_opinions).encode(),
        **diagrams,
        **{name: _csv(rows) for name, rows in tables.items()},
    }
    for name in content:
        check_target(folder / name, overwrite=overwrite)
    for name, data in content.items():
        with atomic_path(folder / name, overwrite=overwrite) as path:
            path.write_bytes(data)
    return [folder / name for name in content]


def _diagrams(runs: Sequence[Run]) -> dict[str, bytes]:
    found = {}
    averages = [
        (r.name, r.measures.curves) for r in runs if isinstance(r.measures, AverageMeasures)
    ]
    rates = [(run.name, run.measures.roc) for run in runs if isinstance(run.measures, Dataroots)]
    if averages:
        found["precision_recall.png"] = precision_recall_png(averages)
    if rates:
        found["roc.png"] = roc_png(rates)
    return found


def _tables(runs: Sequence[Run]) -> dict[str, _Rows]:
    tables: dict[str, list[Sequence[object]]] = {}
    for run in runs:
        for name, (head, rows) in _run_tables(run).items():
            table = tables.setdefault(name, [("model", "framework", *head)])
            table.extend((run.model, run.framework, *row) for row in rows)
    return dict(tables)


def _run_tables(run: Run) -> dict[str, tuple[Sequence[str], Iterable[Sequence[object]]]]:
    if isinstance(run.measures, Dataroots):
        head = ("false_positive_rate", "true_positive_rate", "threshold")
        return {"roc.csv": (head, run.measures.roc.tolist())}
    points = (
        (label, *point) for label, curve in run.measures.curves.items() for point in _points(curve)
    )
    operating = (
        (label, *row.to_dict().values())
        for label, rows in run.measures.thresholds.items()
        for row in rows
    )
    return {
        "precision_recall.csv": (("label", "score", "precision", "recall"), points),
        "thresholds.csv": (("label", *_OPERATING), operating),
    }


def _points(curve: Curve) -> Iterable[Sequence[object]]:
    """The points at which recall grows; between them precision only falls."""
    values = (curve.scores[curve.hits], curve.precision[curve.hits], curve.recall[curve.hits])
    return zip(*(column.tolist() for column in values), strict=True)


def _html(
    runs: Sequence[Run],
    check: CheckReport,
    diagrams: Mapping[str, bytes],
    second_opinions: Sequence[Sequence[Sample]],
) -> str:
    jinja = require("jinja2")
    environment = jinja.Environment(
        loader=jinja.PackageLoader("facemask_zoo.evaluation", "."),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja.StrictUndefined,
    )
    environment.filters.update(cell=cell, base64=_base64)
    rows = [run.row() for run in runs]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text: str = environment.get_template(_TEMPLATE).render(
        title=f"Evaluation on {check.dataset.path.name}",
        check=check.to_text(),
        columns=columns,
        rows=[[row.get(name) for name in columns] for row in rows],
        diagrams=diagrams,
        runs=[_describe(run, [*_others(run, runs), *second_opinions]) for run in runs],
    )
    return text


def _others(run: Run, runs: Sequence[Run]) -> list[list[Sample]]:
    """What the other models found; the same model on another framework is no second opinion."""
    return [
        [sample.above(other.conf) for sample in other.samples]
        for other in runs
        if other.model != run.model
    ]


def _describe(run: Run, opinions: Sequence[Sequence[Sample]]) -> dict[str, Any]:
    """What the page shows of one run."""
    found = worst(run.samples, run.conf, opinions=opinions)
    found[_ON_NEGATIVES] = worst(run.negative_samples, run.conf)[NOTHING_THERE]
    mistakes = {
        kind: [{"text": mistake.text, "jpeg": draw(mistake)} for mistake in shown]
        for kind, shown in found.items()
    }
    sections = _average_sections(run.measures) if isinstance(run.measures, AverageMeasures) else []
    if run.negatives:
        sections.append(_false_boxes(run.negatives))
    settings = {name: getattr(run, name) for name in ("name", "conf", "iou", "nms", "tiles")}
    return {**settings, "sections": sections, "mistakes": mistakes}


def _false_boxes(negatives: Negatives) -> _Section:
    return _Section(
        f"False boxes on {negatives.pictures} pictures without faces",
        ("threshold", "boxes", "pictures with one"),
        [(each.threshold, each.boxes, each.pictures) for each in negatives.at],
    )


def _figure_sections(measures: AverageMeasures) -> list[_Section]:
    figures = [
        (name, figure.value, figure.low, figure.high)
        for name, figure in measures.figures.items()
        if figure.value is not None
    ]
    parts = [
        (name, part.pictures, sum(part.faces.values()), *_values(part.figures))
        for name, part in measures.slices.items()
    ]
    shares = [(name, each.faces, each.value) for name, each in measures.recalls.items()]
    return [
        _Section(
            f"Figures, with intervals of {COVERAGE:.0%} (pictures resampled)",
            ("figure", "value", "from", "to"),
            figures,
        ),
        _Section("Groups and collections", ("part", "pictures", "faces", *measures.figures), parts),
        _Section(
            "Faces found, whatever their class, at the first of these rates",
            ("faces", "number", "recall"),
            [row for row in shares if row[1]],
        ),
    ]


def _values(figures: Mapping[str, Figure]) -> list[float | None]:
    return [figure.value for figure in figures.values()]


def _average_sections(measures: AverageMeasures) -> list[_Section]:
    averages = [
        (label, size, found[size].faces, found[size].ap50, found[size].ap, found[size].recall50)
        for label, found in measures.averages.items()
        for size in SIZES
        if found[size].faces
    ]
    matrix = measures.confusion
    counts = [
        (label, *row) for label, row in zip(matrix.labels, matrix.counts, strict=True) if any(row)
    ]
    best = [(label, best_threshold(rows)) for label, rows in measures.thresholds.items()]
    return [
        *_figure_sections(measures),
        _Section(
            "Average precision by side of the face in pixels",
            ("label", "side", "faces", "AP50", "AP50-95", "recall"),
            averages,
        ),
        _Section("What was taken for what", ("there / found", *matrix.labels), counts),
        _Section(
            "Threshold of the highest F1 on these pictures",
            ("label", "threshold", "precision", "recall", "F1"),
            [(label, row.threshold, row.precision, row.recall, row.f1) for label, row in best],
        ),
    ]


def _json(values: object) -> bytes:
    return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()


def _csv(rows: _Rows) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
