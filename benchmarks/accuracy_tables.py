"""The tables of accuracy in the documents, from the results of ``facemask-zoo eval``.

Usage: python -m facemask_zoo.benchmarks.accuracy_tables --results out/results.json
           [--dataroots two/results.json] [--write docs/evaluation.md] [--readme README.md]
           [--cards weights]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from facemask_zoo.benchmarks import markdown
from facemask_zoo.cards import list_models, load_card
from facemask_zoo.datasets import LABELS
from facemask_zoo.errors import DatasetError
from facemask_zoo.evaluation.average_precision import MEAN
from facemask_zoo.evaluation.figures import average_name
from facemask_zoo.evaluation.samples import ANY
from facemask_zoo.evaluation.table import ABSENT
from facemask_zoo.store import sides, split_size

SECTION = "evaluation"
README_SECTION = "models"
_SIDES = {"<16": "below 16", "16-32": "16 to 32", "32-96": "32 to 96", ">96": "from 96"}
_TALLIES = ("correct", "wrong", "undetected")

_Run = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables and, if asked, write them into files."""
    args = _parser().parse_args(arguments)
    runs = read_runs(*args.results)
    text = report(runs)
    if args.dataroots:
        text += "\n\n" + dataroots_table(read_runs(*args.dataroots))
    sys.stdout.write(text + "\n")
    if args.write:
        markdown.replace_section(args.write, SECTION, text)
    if args.cards:
        write_cards(runs, args.cards)
    if args.readme:
        markdown.replace_section(args.readme, README_SECTION, models_table(runs))
    return 0


def read_runs(*paths: Path) -> list[_Run]:
    """The runs in one or more ``results.json``; of several of one model, the last.

    Raises:
        DatasetError: A file is missing or holds no runs, or they are of different data.
    """
    runs = {str(run["model"]): run for path in paths for run in _read_file(path)}
    pictures = {run["pictures"] for run in runs.values()}
    if len(pictures) > 1:
        raise DatasetError(f"The runs are of different data: {sorted(pictures)} pictures.")
    return list(runs.values())


def _read_file(path: Path) -> list[_Run]:
    try:
        runs = json.loads(path.read_bytes())["runs"]
        complete = all({"model", "framework", "pictures", "conf"} <= run.keys() for run in runs)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} holds no results of facemask-zoo eval: {error!r}") from error
    if not isinstance(runs, list) or not runs or not complete:
        raise DatasetError(f"{path} holds no runs.")
    return runs


def report(runs: Sequence[_Run]) -> str:
    """All tables of average precision and recall, with a heading line each."""
    parts = [
        ("On all pictures, with intervals of 95 %:", figures_table(runs)),
        ("By side of the face in pixels, AP50 of each class and of any:", sizes_table(runs)),
        ("Faces found whatever their class, at one threshold for all:", recalls_table(runs)),
        *(
            (f"On {_part_title(runs[0], name)}:", slice_table(runs, name))
            for name, part in runs[0]["slices"].items()
            if len(part["sources"]) > 1
        ),
        (f"By collection, {average_name(ANY)}:", collections_table(runs)),
        ("False boxes on pictures without faces:", false_table(runs)),
    ]
    return "\n\n".join(f"{title}\n\n{table}" for title, table in parts if table)


def figures_table(runs: Sequence[_Run]) -> str:
    """One line per run, one column per figure."""
    return _figures_table([(run, run["figures"]) for run in runs])


def slice_table(runs: Sequence[_Run], name: str) -> str:
    """The same on a part of the pictures."""
    return _figures_table([(run, run["slices"][name]["figures"]) for run in runs])


def sizes_table(runs: Sequence[_Run]) -> str:
    """One line per size of face, one column per run; mask / no_mask / any."""
    labels = ("mask", "no_mask", ANY)
    averages = [run["average_precision"] for run in runs]
    rows = []
    for size, title in _SIDES.items():
        counts = " / ".join(str(max(a[label][size]["faces"] for a in averages)) for label in labels)
        cells = [_joined(a[label][size]["ap50"] for label in labels) for a in averages]
        rows.append((title, counts, *cells))
    return markdown.table(("Side", "faces mask / no_mask / any", *map(_title, runs)), rows)


def recalls_table(runs: Sequence[_Run]) -> str:
    """Recall of any class by label and by size."""
    names = {label: label for label in LABELS} | _SIDES
    first = runs[0]["recall_any"]
    rows = [
        (
            title,
            str(first[name]["faces"]),
            *(_share(run["recall_any"][name]) for run in runs),
        )
        for name, title in names.items()
    ]
    return markdown.table(("Faces", "number", *map(_title, runs)), rows)


def collections_table(runs: Sequence[_Run]) -> str:
    """AP of any class by collection; empty if there is one collection alone."""
    rows = [
        (
            name,
            str(part["pictures"]),
            *(_number(run["slices"][name]["figures"][average_name(ANY)]["value"]) for run in runs),
        )
        for name, part in runs[0]["slices"].items()
        if len(part["sources"]) == 1
    ]
    return markdown.table(("Collection", "pictures", *map(_title, runs)), rows) if rows else ""


def false_table(runs: Sequence[_Run]) -> str:
    """Boxes on pictures without faces; empty if there were none."""
    measured = [run for run in runs if "negatives" in run]
    if not measured:
        return ""
    thresholds = sorted({each["threshold"] for run in measured for each in run["negatives"]["at"]})
    rows = []
    for run in measured:
        found = {each["threshold"]: each for each in run["negatives"]["at"]}
        cells = [
            f"{found[t]['boxes']} ({found[t]['pictures']})" if t in found else ABSENT
            for t in thresholds
        ]
        rows.append((_title(run), f"{run['conf']:g}", *cells))
    header = ("Model", "own threshold", *(f"boxes (pictures) at {t:g}" for t in thresholds))
    return markdown.table(header, rows)


def dataroots_table(runs: Sequence[_Run]) -> str:
    """The protocol of dataroots, one line per run.

    Raises:
        DatasetError: The runs are of another protocol.
    """
    if any("spurious_masked" not in run for run in runs):
        raise DatasetError("--dataroots: expected results of the protocol of dataroots.")
    header = (
        "Model",
        "unmasked right / wrong / undetected",
        "masked right / wrong / undetected",
        "spurious mask / no mask",
        *("recall", "precision", "TNR", "FNR", "accuracy", "AUC"),
    )
    keys = (
        *("recall", "precision", "true_negative_rate", "false_negative_rate"),
        *("accuracy_on_detected", "auc"),
    )
    rows = [
        (
            _title(run),
            *(" / ".join(str(run[kind][t]) for t in _TALLIES) for kind in ("unmasked", "masked")),
            f"{run['spurious_masked']} / {run['spurious_unmasked']}",
            *(_number(run[key]) for key in keys),
        )
        for run in runs
    ]
    title = f"By the protocol of dataroots, on {runs[0]['pictures']} photographs:"
    return f"{title}\n\n{markdown.table(header, rows)}"


def models_table(runs: Sequence[_Run]) -> str:
    """README's table of the zoo's own models, best mean first."""
    figures = [average_name(each) for each in (*LABELS, ANY)]
    rows = []
    for run in sorted(own_runs(runs), key=_mean, reverse=True):
        height, width = _input_of(run)
        cells = [_with_interval(run["figures"].get(name)) for name in figures]
        rows.append((f"`{run['model']}`", f"{height} x {width}", *cells, *_at_rate(run)))
    first = next(name for name in runs[0]["figures"] if name not in _averages())
    return markdown.table(("Model", "Input", *figures, first, "false boxes"), rows)


def own_runs(runs: Sequence[_Run]) -> list[_Run]:
    """Those of models of the zoo, at whatever input size."""
    return [run for run in runs if split_size(_title(run))[0] in list_models()]


def _input_of(run: _Run) -> tuple[int, int]:
    """Height and width of the input, by the model's name or its card."""
    name, size = split_size(_title(run))
    return size or sides(load_card(name).detector.input_size)


def figures_of_cards(runs: Sequence[_Run]) -> dict[str, dict[str, Any]]:
    """What cards state: AP50 by label and size of face, by model and size of its input."""
    cards: dict[str, dict[str, Any]] = {}
    for run in own_runs(runs):
        height, width = _input_of(run)
        averages = {
            label: {
                size: None if each["ap50"] is None else round(each["ap50"], 3)
                for size, each in run["average_precision"][label].items()
            }
            for label in (*LABELS, ANY)
            if label in run["average_precision"]
        }
        cards.setdefault(split_size(_title(run))[0], {})[f"input {height} x {width}"] = {
            "photographs": run["pictures"],
            "suppression": run["nms"],
            "ap50_by_side_of_the_face_in_pixels": averages,
        }
    return cards


def write_cards(runs: Sequence[_Run], folder: Path) -> None:
    """Put the figures into the cards in a folder, those of models that ship."""
    for name, figures in figures_of_cards(runs).items():
        card = load_card(name)
        path = folder / f"{name}.json"
        if card.files and path.is_file():
            details = {**card.details, "figures": figures}
            text = dataclasses.replace(card, details=details).to_json(indent=1)
            path.write_text(text + "\n", encoding="utf-8")


def _mean(run: _Run) -> float:
    return float(run["figures"][average_name(MEAN)]["value"] or 0)


def _averages() -> set[str]:
    return {average_name(label) for label in (*LABELS, MEAN, ANY)}


def _at_rate(run: _Run) -> tuple[str, str]:
    """The first recall at a rate, and the false boxes at the model's own threshold."""
    recall = next(each for name, each in run["figures"].items() if name not in _averages())
    counted = run.get("negatives")
    false = f"{counted['at'][0]['boxes']} on {counted['pictures']}" if counted else ABSENT
    return _with_interval(recall), false


def _figures_table(rows: Sequence[tuple[_Run, Mapping[str, Any]]]) -> str:
    names = list(rows[0][1])
    lines = [
        (_title(run), *(_with_interval(figures.get(name)) for name in names))
        for run, figures in rows
    ]
    return markdown.table(("Model", *names), lines)


def _part_title(run: _Run, name: str) -> str:
    part = run["slices"][name]
    return f"{name} ({' and '.join(part['sources'])}; {part['pictures']} pictures)"


def _title(run: _Run) -> str:
    return str(run["model"])


def _with_interval(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["low"] is None:
        return _number(figure["value"] if figure else None)
    return f"{_number(figure['value'])} ({_number(figure['low'])}-{_number(figure['high'])})"


def _joined(values: Iterable[float | None]) -> str:
    return " / ".join(map(_number, values))


def _share(share: Mapping[str, int]) -> str:
    return _number(share["found"] / share["faces"] if share["faces"] else None)


def _number(value: float | None) -> str:
    """Three digits without the leading zero."""
    return ABSENT if value is None else f"{value:.3f}".removeprefix("0")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Write the tables of accuracy.")
    parser.add_argument(
        "--results",
        type=Path,
        nargs="+",
        required=True,
        help="results.json of eval; the last of several wins where they have the same model",
    )
    parser.add_argument(
        "--dataroots", type=Path, nargs="+", help="the same by the protocol of dataroots"
    )
    parser.add_argument("--write", type=Path, help=f"file with a section {SECTION!r}")
    parser.add_argument("--readme", type=Path, help=f"file with a section {README_SECTION!r}")
    parser.add_argument("--cards", type=Path, help="folder of the cards that ship, for figures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
