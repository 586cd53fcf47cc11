"""From any format to any other, proven before the file gets its name."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facemask_zoo.arguments import check_number, path_text
from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.converters import pruning
from facemask_zoo.converters.accuracy import MAX_AP_LOSS, Accuracy, judge, load_judges
from facemask_zoo.converters.formats.registry import (
    FORMATS,
    PRECISIONS,
    Format,
    find_format,
    format_for,
)
from facemask_zoo.converters.proof import Difference, Proof, Reading, prove, try_reading
from facemask_zoo.converters.samples import Sample, make_samples
from facemask_zoo.errors import (
    ConversionError,
    FrameworkNotInstalledError,
    InvalidArgumentError,
    OutputError,
    UnknownNameError,
    WeightsError,
)
from facemask_zoo.files import Sources
from facemask_zoo.graph.cost import check_cost
from facemask_zoo.images import ImageSource
from facemask_zoo.model import Model
from facemask_zoo.model_files import Writer, source_files, staged
from facemask_zoo.ssd.network import LOC_NAME, SCORES_NAME
from facemask_zoo.store import Weights, find_weights, open_weights, sides, split_size
from facemask_zoo.version import __version__

_TITLES = {LOC_NAME: "boxes", SCORES_NAME: "scores"}


@dataclasses.dataclass(frozen=True)
class Report:
    """A conversion, and how well it went.

    Attributes:
        source: What was converted: a file, or a model's name.
        target: What was written.
        format: Name of the format it was written in.
        precision: Precision it was written in.
        input_shape: Shape of the network's input, without the batch.
        tensors_sha256: Digest of the canonical tensors that were written.
        parameters: Number of weights and biases that were written.
        source_parameters: Their number in the source; larger if dead channels were removed.
        proof: What was compared.
        accuracy: What it costs in average precision, by framework; empty if not measured.
        reading: What its own frameworks make of the source; None if they were not asked.
    """

    source: str
    target: str
    format: str
    precision: str
    input_shape: tuple[int, ...]
    tensors_sha256: str
    parameters: int
    source_parameters: int
    proof: Proof
    accuracy: tuple[Accuracy, ...] = ()
    reading: Reading | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the file.

        Of a lower precision, average precision is the judge where it was measured: single outputs
        may differ by more than their tolerance and cost nothing.
        """
        good = self.proof.whole and self.accurate and self.well_read
        return good and (self.proof.tolerable or self.excused)

    @property
    def well_read(self) -> bool:
        """Whether the source, where it was run, answers as what was read from it."""
        return self.reading is None or self.reading.right

    @property
    def accurate(self) -> bool:
        """Whether average precision, where it was measured, is within its bound."""
        return all(each.acceptable for each in self.accuracy)

    @property
    def excused(self) -> bool:
        """Whether average precision decides in place of the tolerance of single outputs."""
        return self.precision != "fp32" and bool(self.accuracy)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; what is not a number is None."""
        values = dataclasses.asdict(self)
        values["passed"] = self.passed
        for entry, each in zip(values["accuracy"], self.accuracy, strict=True):
            entry["loss"] = each.loss
        values["largest_difference"] = self.proof.worst
        values["versions"] = {
            "facemask_zoo": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            **{run.framework: run.version for run in self.proof.runs},
        }
        finite: dict[str, Any] = _finite(values)
        return finite

    def to_json(self) -> str:
        """Indented JSON text of :meth:`to_dict`."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    def to_text(self) -> str:
        """A table for people."""
        accuracy = [f"  {each.to_text()}" for each in self.accuracy]
        return "\n".join([*self._facts(), *self._rows(), *accuracy, self._verdict()])

    def _facts(self) -> Iterable[str]:
        yield f"{self.source} -> {self.target} ({FORMATS[self.format].title}, {self.precision})"
        for file in self.proof.files:
            yield f"  {file.name}: {file.size:,} bytes, sha256 {file.sha256}"
        if self.parameters != self.source_parameters:
            yield f"  parameters: {self.parameters:,} instead of {self.source_parameters:,}"
        yield f"  read back: {self._read_back()}"
        if self.reading is not None:
            yield from (f"  {line}" for line in self.reading.to_text())

    def _read_back(self) -> str:
        if self.proof.alike:
            return "another network of the same outputs"
        outcomes = {True: "equal bit for bit", False: "NOT EQUAL", None: "not possible"}
        return outcomes[self.proof.tensors_equal]

    def _rows(self) -> Iterable[str]:
        names = list(self.proof.tolerances)
        rows = [("framework", "input", *(_TITLES.get(name, name) for name in names), "faces")]
        for run in self.proof.runs:
            name = f"{run.framework} {run.version or ''}".strip()
            if run.problem:
                rows.append((name, run.problem, *[""] * len(names), ""))
            for entry in run.differences:
                sizes = (f"{entry.outputs[each]:.1e}" for each in names)
                rows.append((name, entry.sample, *sizes, _faces_text(entry)))
                name = ""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            yield f"  {'  '.join(cells)}".rstrip()

    def _verdict(self) -> str:
        if not self.proof.whole:
            return "The file is not whole."
        if not self.well_read:
            return "The source itself answers otherwise."
        if not self.accurate:
            return "Average precision falls by more than the bound."
        if not self.proof.tolerable and not self.excused:
            return f"Out of tolerance: {_excess(self.proof)}."
        if not self.proof.has_run:
            return f"The outputs are unproven: {self._obstacles()}."
        if self.excused:
            return "Proven: average precision is within the bound on every framework."
        return "Proven: every framework agrees with the reference, within the tolerance."

    def _obstacles(self) -> str:
        """Why nothing has run the file."""
        problems = (run.problem.rstrip(".") for run in self.proof.runs)
        return "; ".join(problems) or "no framework here runs this format"


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    to: str | None = None,
    precision: str = "fp32",
    *,
    prune: int | None = None,
    allow_drift: bool = False,
    input_size: int | None = None,
    pictures: Iterable[ImageSource] = (),
    data: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    max_ap_loss: float = MAX_AP_LOSS,
    overwrite: bool = False,
    apart: Iterable[str | os.PathLike[str]] = (),
    trust: bool = False,
) -> Report:
    """Convert weights, run the result, and keep it if it does what the source does.

    What is written lies aside until it is proven; whatever goes wrong, the target stays as it was.
    The source is never written to, and what exists is replaced only on request.
    Values below ``SUBNORMAL_LIMIT`` become zero.

    Args:
        source: A name of :func:`list_models`, or weights in any format that the zoo reads.
        target: The file (or folder) to write.
        to: A name of ``FORMATS``; what the target's suffix says unless given.
        precision: One of the format's precisions.
        prune: Remove dead channels, with counts that stay multiples of this; 1 removes all that can
            go, None nothing.
        allow_drift: Keep a file whose outputs differ by more than the tolerance.
        input_size: Height and width of the input, in pixels; the source's own unless given.
        pictures: Pictures to compare on, beside fixed numbers; a drawing unless given. With 8-bit
            integers they also set the ranges: give a dozen that are like those to come.
        data: Labelled pictures, in any form that :func:`facemask_zoo.datasets.read` takes, to
            measure average precision on before and after. Not those of `pictures`.
        images: Folder of the pictures of `data`; None for the usual one.
        max_ap_loss: The file is refused if the mean AP50 falls by more than this, 0..1.
        overwrite: Replace files that exist; or a folder, if an earlier conversion wrote it and it
            holds nothing else.
        apart: Files that the caller will write besides, such as a report.
        trust: Run the source itself, too, and refuse the conversion if it answers otherwise than
            what was read from it. The parsers of other frameworks then see it unchecked.

    Returns:
        What was written, and how far its outputs are from the reference's.

    Raises:
        ConversionError: The written file differs from its source; it has the report.
        OutputError: Something is in the way that is not to be replaced, or it is the source; or one
            of `apart` is part of the source or of the target.
        UnknownNameError: No such model, format or precision.
        WeightsError: The source is damaged or too large to be proven, or the target cannot be
            written.
        FrameworkNotInstalledError: Reading or writing needs a package that is not installed.
        InvalidArgumentError: The network sees no pictures, but some are given; 8-bit integers have
            none; `prune`, `input_size` or `max_ap_loss` is out of range; or `data` is given for a
            format that no detector runs.
        ImageError: A picture cannot be read.
        DatasetError: `data` cannot be read, or shows no face.
        DownloadError: The source is not at hand and cannot be fetched.
    """
    target = _target(target)
    pictures = _several(pictures)
    check_number("max_ap_loss", max_ap_loss, 0, 1)
    row = _writable(to, target, precision)
    if data is not None:
        _check_measurable(row)
    dataset = None if data is None else load_judges(data, images)
    weights = _opened(source, input_size)
    sources = Sources(source_files(weights.path) if weights.path else ())
    others = [Path(path_text("apart", each)) for each in apart]
    for other in others:
        sources.check(other)
    original = _with_input_size(weights.model(), input_size)
    check_cost(original.graph)
    model = original if prune is None else pruning.prune(original, prune)
    samples = make_samples(model, pictures)
    reading = try_reading(weights.path, original, samples) if trust and weights.path else None
    writer = _writer(row, precision, samples[len(samples) - len(pictures) :])
    try:
        with staged(model, target, row, writer, overwrite=overwrite, sources=sources) as path:
            proof = prove(path, row, model, original, samples, precision)
            _check_apart(others, target, proof)
            judges = [run.framework for run in proof.runs if run.differences]
            report = Report(
                source=os.fspath(source),
                target=str(target),
                format=row.name,
                precision=precision,
                input_shape=model.graph.input_shape,
                tensors_sha256=model.digest,
                parameters=model.graph.parameter_count,
                source_parameters=original.graph.parameter_count,
                proof=proof,
                reading=reading,
                accuracy=()
                if dataset is None
                else judge(path, row, model, original, judges, dataset, max_ap_loss),
            )
            _check(report, allow_drift)
    except OSError as error:
        raise WeightsError(f"Cannot write {target}: {error}.") from error
    return report


def _target(target: str | os.PathLike[str]) -> Path:
    """A path that every framework can be told, which takes texts in UTF-8."""
    name = path_text("target", target)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"target: {name!r} is no text that frameworks take.") from error
    return Path(name)


def _several(pictures: Iterable[ImageSource]) -> list[ImageSource]:
    if isinstance(pictures, str | bytes | os.PathLike) or not isinstance(pictures, Iterable):
        raise InvalidArgumentError(f"pictures: expected several, but got {pictures!r:.100}.")
    return list(pictures)


def _check_apart(others: Iterable[Path], target: Path, proof: Proof) -> None:
    """Make sure that no other output is one of the files of the target, or within its folder."""
    folder = target.parent.resolve()
    written = {folder / file.name for file in proof.files} | {folder / target.name}
    for other in others:
        if not written.isdisjoint((other.resolve(), *other.resolve().parents)):
            raise OutputError(f"{other} is part of {target}. Name another output.")


def _writable(to: str | None, target: Path, precision: str) -> Format:
    row = find_format(to) if to else format_for(target)
    if precision not in PRECISIONS:
        raise UnknownNameError.among("precision", precision, PRECISIONS)
    if precision not in row.precisions:
        able = [r.name for r in FORMATS.values() if r.writes and precision in r.precisions]
        raise WeightsError(
            f"The format {row.name!r} is written in {', '.join(row.precisions)}, "
            f"but got precision {precision!r}. Formats that offer it: {', '.join(able) or 'none'}."
        )
    return row


def _check_measurable(row: Format) -> None:
    """See that a framework here can run what will be written."""
    able = [framework for framework in FRAMEWORKS.values() if row.name in framework.formats]
    if not able:
        raise InvalidArgumentError(
            f"data: no framework runs {row.name!r}, so that there is no average precision of it."
        )
    if not any(framework.installed for framework in able):
        commands = " or ".join(framework.install_command for framework in able)
        raise FrameworkNotInstalledError(
            f"data: nothing that runs {row.name!r} is installed. Run: {commands}"
        )


def _writer(row: Format, precision: str, pictures: Sequence[Sample]) -> Writer | None:
    """What writes a precision; None for the format's own writer."""
    if precision != "int8":
        return None if precision == "fp32" else row.reduced.write_half
    write_int8 = row.reduced.write_int8
    batch = np.array([sample.values for sample in pictures])

    def write(model: Model, path: Path) -> None:
        try:
            write_int8(model, path, batch)
        except ImportError as error:  # some import what quantises only when they need it
            raise row.missing(row.reduced_extra or row.extra, error) from error

    return write


def _opened(source: str | os.PathLike[str], input_size: int | None) -> Weights:
    """The weights, at their own input size where they have one."""
    if input_size is None:
        return open_weights(source)
    name, _ = split_size(path_text("source", source))
    return find_weights(name, open_size=sides(input_size))


def _with_input_size(model: Model, input_size: int | None) -> Model:
    if input_size is None:
        return model
    if model.card.architecture is None:
        if model.graph.input_shape[1:] == (input_size, input_size):
            return model
        raise InvalidArgumentError(
            "input_size: only models of the zoo's architectures take one, and files that leave the "
            "size of their input open."
        )
    resized = model.card.architecture.with_input_size(input_size)
    return dataclasses.replace(model, card=dataclasses.replace(model.card, architecture=resized))


def _check(report: Report, allow_drift: bool) -> None:
    if report.passed or (report.proof.whole and report.well_read and allow_drift):
        return
    problems = [f"{run.framework}: {run.problem}" for run in report.proof.runs if run.refused]
    if not report.well_read:
        problems.append("the source itself answers otherwise than what was read from it")
    if not report.proof.comes_back:
        problems.append("the tensors do not come back as they were written")
    problems += [
        f"mean AP50 falls by {each.loss:.3f} on {each.framework} (at most {each.bound:g})"
        for each in report.accuracy
        if not each.acceptable
    ]
    if not report.proof.tolerable and not report.excused:
        problems.append(f"outputs differ by {_excess(report.proof)}")
    raise ConversionError(f"{report.target} was not written: {'; '.join(problems)}.", report)


def _excess(proof: Proof) -> str:
    """What differs by how much, and what was allowed."""
    worst = proof.worst
    return " and ".join(
        f"{worst[name]:.1e} in {_TITLES.get(name, name)} (at most {limit:g})"
        for name, limit in proof.tolerances.items()
    )


def _faces_text(entry: Difference) -> str:
    if entry.faces is None:
        return ""
    return f"{entry.faces}, {'the same' if entry.same_faces else 'OTHERS'}"


def _finite(values: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
