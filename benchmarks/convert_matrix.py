"""Every format into every other, each file really written, read back and run.

One model is written in every format that can be read; each of these files is then converted into
every format that can be written, as ``facemask-zoo convert`` does it. The same is done, from ONNX
and back, with small networks of other kinds, and with networks that other people's code built, in
the files that their own frameworks write. Each target format has a process of its own, so that
frameworks do not meet.

Usage: python -m facemask_zoo.benchmarks.convert_matrix [--model NAME] [--write docs/conversions.md]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facemask_zoo import model_files
from facemask_zoo.benchmarks import environment, markdown, strangers
from facemask_zoo.benchmarks.networks import NETWORKS, seeded_program
from facemask_zoo.cards import DEFAULT_MODEL, NO_TASK, ModelCard, list_models, load_card
from facemask_zoo.converters.conversion import Report, convert
from facemask_zoo.converters.formats.registry import FORMATS, Format
from facemask_zoo.converters.proof import Proof
from facemask_zoo.errors import (
    FaceMaskZooError,
    FrameworkNotInstalledError,
    UnsupportedOperationError,
)
from facemask_zoo.model import Model
from facemask_zoo.ssd.network import LOC_NAME, SCORES_NAME
from facemask_zoo.store import open_weights

log = logging.getLogger(__name__)

SECTION = "matrix"
NETWORKS_SECTION = "networks"
STRANGERS_SECTION = "strangers"
_NETWORK_FORMAT = "onnx"
REFUSED = "⚪"
PROVEN, WRITTEN, FAILED, ABSENT = "🟢", "🟡", "🔴", "·"
_LEGEND = (
    f"{PROVEN} written, read back where there is a reader, and run with the reference's outputs by "
    f"what is named below; {WRITTEN} the same, but not run, since that is not installed; {FAILED} "
    f"failed; {ABSENT} the source is not at hand. Core ML runs on Apple's systems alone; the "
    f"tests carry its programs out operation by operation in NumPy."
)


def main() -> int:
    """Fill the matrix, print it and, if asked, write it into a file; 1 if a cell failed."""
    args = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    if args.worker:
        row = FORMATS[args.worker]
        sys.stdout.write(json.dumps(_work(args, row)) + "\n")
        return 0
    cells = fill(args.model, args.picture)
    text = report(cells, args.model, _processor_seconds())
    sys.stdout.write(text + "\n")
    others = fill_networks()
    network_text = network_report(others)
    sys.stdout.write(network_text + "\n")
    foreign, differences = fill_strangers()
    foreign_text = strangers_report(foreign, differences)
    sys.stdout.write(foreign_text + "\n")
    if args.write:
        markdown.replace_section(args.write, SECTION, text)
        markdown.replace_section(args.write, NETWORKS_SECTION, network_text)
        markdown.replace_section(args.write, STRANGERS_SECTION, foreign_text)
    failures = [cell for row in cells.values() for cell in row.values() if cell["problem"]]
    failures += [
        cell
        for table in (others, foreign)
        for row in table.values()
        for cell in row.values()
        if cell["problem"] and not cell["refused"]
    ]
    for cell in failures:
        log.error("%s", cell["problem"])
    return 1 if failures else 0


def fill(model: str, picture: Path | None) -> dict[str, dict[str, dict[str, Any]]]:
    """Outcomes by target format, then by source format; sources not at hand are left out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sources(model, folder)
        targets = [row for row in FORMATS.values() if row.writes and _is_installed(row)]
        words = ["--folder", str(folder), *(["--picture", str(picture)] if picture else [])]
        return {row.name: _in_process(row, *words) for row in targets}


def write_sources(model: str, folder: Path) -> None:
    """The model in every format that is read and written; a published file for the others."""
    source = open_weights(model).model()
    for row in FORMATS.values():
        if not row.reads or not _is_installed(row):
            continue
        if row.writes:
            model_files.write(source, folder / row.name / f"model{row.suffix}", row.name)
        elif published := _published(row):
            (folder / row.name).mkdir()
            (folder / row.name / f"model{row.suffix}").symlink_to(published.resolve())


def convert_all(folder: Path, target: Format, picture: Path | None) -> dict[str, dict[str, Any]]:
    """Convert every source into one format, in this process."""
    cells = {}
    digests = {}
    for row in FORMATS.values():
        source = folder / row.name / f"model{row.suffix}"
        if not source.exists():
            continue
        log.info("%s -> %s", row.name, target.name)
        path = folder / "out" / f"{row.name}-to-{target.name}{target.suffix}"
        cells[row.name] = cell = _convert(source, path, target, picture)
        if row.writes:  # these hold the same model, so that they must give the same tensors
            digests[row.name] = cell["tensors"]
    if len(set(digests.values())) > 1:
        raise RuntimeError(f"The sources gave {target.name} different tensors: {digests}")
    return cells


def report(cells: dict[str, dict[str, dict[str, Any]]], model: str, seconds: float) -> str:
    """The matrix in Markdown, what each target was run on, and where all this was measured."""
    sources = [row.name for row in FORMATS.values() if row.reads]
    rows = [
        (f"`{source}`", *(_mark(cells[target].get(source)) for target in cells))
        for source in sources
    ]
    header = ("from \\ to", *(f"`{target}`" for target in cells))
    count = sum(len(row) for row in cells.values())
    foot = (
        f"{count} conversions of {model} in {seconds:.0f} s of processor time. "
        f"{environment.sentence()}. Made by `make convert-matrix`."
    )
    return "\n\n".join([markdown.table(header, rows), _LEGEND, _targets(cells), foot])


def fill_networks() -> dict[str, dict[str, dict[str, Any]]]:
    """Outcomes by target format, then by network."""
    targets = [row for row in FORMATS.values() if row.writes and _is_installed(row)]
    return {row.name: _in_process(row) for row in targets}


def convert_networks(target: Format) -> dict[str, dict[str, Any]]:
    """Convert every network from ONNX into one format and, where it is read, back."""
    cells = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, graph in NETWORKS.items():
            source = Path(folder, name, f"{name}.{_NETWORK_FORMAT}")
            card = ModelCard(name, "Weights from a seed.", None, task=NO_TASK)
            model = Model(card, seeded_program(graph).tensors, graph)
            model_files.write(model, source, _NETWORK_FORMAT)
            cells[name] = convert_there_and_back(source, target)
    return cells


def convert_there_and_back(source: Path, target: Format) -> dict[str, Any]:
    """Convert a file into a format beside it and, where that is read, back.

    Returns:
        ``problem``, empty if all went well; ``refused``, whether the format does not carry an
        operation; ``runners`` and ``largest``, the largest difference of an output over its
        tolerance.
    """
    there = source.parent / target.name / f"model{target.suffix}"
    try:
        proofs = [convert(source, there, target.name).proof]
        if target.reads:
            back = source.parent / target.name / "back" / source.name
            proofs.append(convert(there, back, source.suffix[1:]).proof)
    except FaceMaskZooError as error:
        return _problem(error, target)
    return _proven(proofs)


def _problem(error: FaceMaskZooError, target: Format) -> dict[str, Any]:
    refused = isinstance(error, UnsupportedOperationError) or target.gives_boxes
    return {"problem": str(error), "refused": refused, "runners": [], "largest": None}


def _proven(proofs: Sequence[Proof]) -> dict[str, Any]:
    shares = [p.worst[name] / limit for p in proofs for name, limit in p.tolerances.items()]
    runners = [f"{run.framework} {run.version}" for run in proofs[0].runs if run.differences]
    return {"problem": "", "refused": False, "runners": runners, "largest": max(shares)}


def fill_strangers() -> tuple[dict[str, dict[str, dict[str, Any]]], dict[str, float]]:
    """Outcomes by target format, then by file; and how far a file is from its maker's answers."""
    targets = [row for row in FORMATS.values() if row.writes and _is_installed(row)]
    with tempfile.TemporaryDirectory() as folder:
        files = strangers.write_all(Path(folder))
        differences = {_name(path): strangers.difference(path) for path in files}
        cells = {row.name: _in_process(row, "--strangers", folder) for row in targets}
    return cells, differences


def convert_strangers(folder: Path, target: Format) -> dict[str, dict[str, Any]]:
    """Convert every file that others wrote into one format, in this process."""
    cells = {}
    for source in strangers.sources(folder):
        log.info("%s -> %s", _name(source), target.name)
        path = folder / "out" / f"{_name(source)}-to-{target.name}{target.suffix}"
        try:
            cells[_name(source)] = _proven([convert(source, path, target.name).proof])
        except FaceMaskZooError as error:
            cells[_name(source)] = _problem(error, target)
    return cells


def _name(source: Path) -> str:
    return source.name if source.suffix else f"{source.name}/"


def strangers_report(
    cells: dict[str, dict[str, dict[str, Any]]], differences: dict[str, float]
) -> str:
    """The files of others in Markdown, one a row."""
    rows = [
        (f"`{name}`", f"{share:.0e}", *(_network_mark(cells[to][name]) for to in cells))
        for name, share in differences.items()
    ]
    foot = (
        f"*Read*: the largest difference between the graph that is read and the answers of the "
        f"framework that wrote the file, as a share of the largest answer. The other marks are "
        f"those of the table above. {environment.sentence()}. Made by `make convert-matrix`."
    )
    table = markdown.table(("file", "read", *(f"`{to}`" for to in cells)), rows)
    return f"{table}\n\n{foot}"


def network_report(cells: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The networks in Markdown, one a row."""
    names = list(next(iter(cells.values())))
    rows = [(f"`{name}`", *(_network_mark(cells[to][name]) for to in cells)) for name in names]
    refusals = [
        f"- `{name}` as `{to}`: {cell['problem']}"
        for to, row in cells.items()
        for name, cell in row.items()
        if cell["refused"] and not FORMATS[to].gives_boxes
    ]
    every = [cell["largest"] for row in cells.values() for cell in row.values()]
    largest = max(share for share in every if share is not None)
    give_boxes = ", ".join(to for to in cells if FORMATS[to].gives_boxes)
    foot = (
        f"From ONNX into the format and, where it is read, back. {REFUSED} the format does not "
        f"carry the network: {give_boxes} give boxes, which takes a detector whose anchors the "
        f"zoo knows. {WRITTEN} written, but nothing here runs it. The largest "
        f"difference is {largest:.2f} of its tolerance. {environment.sentence()}. "
        f"Made by `make convert-matrix`."
    )
    table = markdown.table(("network", *(f"`{to}`" for to in cells)), rows)
    return "\n\n".join([table, *(["\n".join(refusals)] if refusals else []), foot])


def _network_mark(cell: dict[str, Any]) -> str:
    if cell["refused"]:
        return REFUSED
    return _mark(cell)


def _targets(cells: dict[str, dict[str, dict[str, Any]]]) -> str:
    header = ("Format", "", "Run by", "Largest difference: boxes", "Scores", "Bytes")
    rows = []
    for name, row in cells.items():
        good = [cell for cell in row.values() if not cell["problem"]]
        runners = sorted({runner for cell in good for runner in cell["runners"]})
        run = [cell for cell in good if cell["runners"]]
        rows.append(
            (
                f"`{name}`",
                FORMATS[name].title,
                ", ".join(runners) or "-",
                f"{max(cell['loc'] for cell in run):.1e}" if run else "-",
                f"{max(cell['scores'] for cell in run):.1e}" if run else "-",
                f"{row['safetensors'].get('bytes', 0):,}",
            )
        )
    return markdown.table(header, rows)


def _mark(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ABSENT
    if cell["problem"]:
        return FAILED
    return PROVEN if cell["runners"] else WRITTEN


def _convert(source: Path, path: Path, target: Format, picture: Path | None) -> dict[str, Any]:
    pictures = [picture] if picture else []
    try:
        result: Report = convert(source, path, target.name, pictures=pictures)
    except FaceMaskZooError as error:
        return {"problem": f"{source} -> {target.name}: {error}", "tensors": None}
    proof = result.proof
    return {
        "problem": "",
        "tensors": result.tensors_sha256,
        "runners": [f"{run.framework} {run.version}" for run in proof.runs if run.differences],
        "loc": proof.worst[LOC_NAME],
        "scores": proof.worst[SCORES_NAME],
        "bytes": sum(file.size for file in proof.files),
    }


def _processor_seconds() -> float:
    """What this process and those it has started have used; wall time depends on the neighbours."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _is_installed(row: Format) -> bool:
    """Whether the packages are there that the format needs."""
    try:
        return bool(row.module)
    except FrameworkNotInstalledError as error:
        log.info("%s", error)
        return False


def _published(row: Format) -> Path | None:
    """A file of the zoo's models in a format that is only read, if one is at hand."""
    for name in list_models():
        source, weights = load_card(name).source, open_weights(name)
        if source and source.name.endswith(row.suffix) and weights.cached():
            return weights.fetch()
    return None


def _work(args: argparse.Namespace, row: Format) -> dict[str, dict[str, Any]]:
    if args.strangers:
        return convert_strangers(args.strangers, row)
    return convert_all(args.folder, row, args.picture) if args.folder else convert_networks(row)


def _in_process(row: Format, *words: str) -> dict[str, dict[str, Any]]:
    module = "facemask_zoo.benchmarks.convert_matrix"
    command = [sys.executable, "-m", module, "--worker", row.name, *words]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"Converting to {row.name} ended with status {result.returncode}.")
    cells: dict[str, dict[str, Any]] = json.loads(result.stdout.splitlines()[-1])
    return cells


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Convert every format into every other.")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--picture", type=Path, help="photograph to compare on (a drawing)")
    parser.add_argument("--write", type=Path, help="file with a section to replace")
    parser.add_argument("--worker", choices=list(FORMATS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--strangers", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
