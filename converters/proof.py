"""Whether a written file does what its source does: read back, loaded and run by frameworks."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.backends import FRAMEWORKS, Framework, Options
from facemask_zoo.cards import File
from facemask_zoo.converters.formats.registry import Format
from facemask_zoo.converters.half import to_half
from facemask_zoo.converters.runners import RUNNERS, Runner
from facemask_zoo.converters.samples import Sample
from facemask_zoo.errors import FaceMaskZooError, FrameworkNotInstalledError
from facemask_zoo.files import sha256_of
from facemask_zoo.graph.signature import Signature
from facemask_zoo.model import Model
from facemask_zoo.model_files import read
from facemask_zoo.ssd import Network, postprocess, reference
from facemask_zoo.ssd.network import LOC_NAME, SCORES_NAME
from facemask_zoo.ssd.postprocess import IOU, Found


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far outputs may be from the reference's.

    Attributes:
        loc: In the raw box offsets.
        scores: In the scores, 0..1.
    """

    loc: float
    scores: float


TOLERANCES = {
    "fp32": Tolerance(1e-4, 1e-5),
    "fp16": Tolerance(0.1, 0.01),
    "int8": Tolerance(2.0, 0.1),
}
"""By precision. The lower two find what is broken; what they cost, average precision tells."""

_BOX_TOLERANCE_PIXELS = 1.0
_FRACTIONS = (1, 1)  # size of a picture whose boxes are fractions of it
_BEST_FACES = 10

Outputs = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]


@dataclasses.dataclass(frozen=True)
class Difference:
    """A framework's outputs for one sample against the reference's.

    Attributes:
        sample: Name of the sample.
        loc: Largest difference in the raw box offsets, or in the boxes, as fractions of the
            picture, if the file gives those; NaN if one is not a number.
        scores: Largest difference in the scores; NaN if one is not a number.
        faces: How many the reference finds.
        same_faces: Whether the framework finds the same: classes equal, boxes within a pixel.
    """

    sample: str
    loc: float
    scores: float
    faces: int
    same_faces: bool


@dataclasses.dataclass(frozen=True)
class Run:
    """What one framework made of the file.

    Attributes:
        framework: Name of the framework.
        version: Its version, if it is installed.
        installed: Whether it could be tried at all.
        problem: Why it was not tried, or refused the file; empty if it ran.
        differences: One for each sample.
    """

    framework: str
    version: str | None
    installed: bool
    problem: str = ""
    differences: tuple[Difference, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether the framework is there and does not take the file."""
        return self.installed and bool(self.problem)


@dataclasses.dataclass(frozen=True)
class Proof:
    """What is known about a written file.

    Attributes:
        tensors_equal: Whether network and tensors come back bit for bit (rounded to half precision
            if that was asked for); None if they cannot be read.
        tolerance: How far outputs may differ.
        anchors: Rows of both outputs; a framework that gives other shapes refuses the file.
        runs: One for each framework that may load the format.
        files: What was written, with sizes and digests.
    """

    tensors_equal: bool | None
    tolerance: Tolerance
    anchors: int
    runs: tuple[Run, ...]
    files: tuple[File, ...]

    @property
    def whole(self) -> bool:
        """Whether the file holds what was written and no framework refuses it."""
        return self.tensors_equal is not False and not any(run.refused for run in self.runs)

    @property
    def tolerable(self) -> bool:
        """Whether every framework that ran agrees with the reference."""
        return self.loc <= self.tolerance.loc and self.scores <= self.tolerance.scores

    @property
    def has_run(self) -> bool:
        """Whether at least one framework has run the file."""
        return any(run.differences for run in self.runs)

    @property
    def loc(self) -> float:
        """Largest difference in the raw box offsets; 0 if nothing ran."""
        return _worst(difference.loc for run in self.runs for difference in run.differences)

    @property
    def scores(self) -> float:
        """Largest difference in the scores; 0 if nothing ran."""
        return _worst(difference.scores for run in self.runs for difference in run.differences)


def prove(
    path: Path,
    row: Format,
    written: Model,
    source: Model,
    samples: Sequence[Sample],
    precision: str = "fp32",
) -> Proof:
    """Examine a file that was just written.

    Args:
        path: The file (or folder) that names the model, alone in its folder with its companions.
        row: The format that it was written in.
        written: What was written.
        source: What its outputs shall be equal to; differs from `written` if that is pruned.
        samples: Inputs to run it on.
        precision: The precision that it was written in.
    """
    batch = np.stack([sample.values for sample in samples])
    expected = _answer(_Question(source.digest, source.card.network, batch.tobytes(), source))
    runs = [
        _run(framework, path, row, written, samples, batch, expected)
        for framework in FRAMEWORKS.values()
        if row.name in framework.formats
    ]
    if row.name in RUNNERS:
        runs.append(_run_apart(RUNNERS[row.name], path, written, samples, batch, expected))
    return Proof(
        tensors_equal=_reads_back(path, row, written, precision),
        tolerance=TOLERANCES[precision],
        anchors=written.card.network.anchor_count,
        runs=tuple(run for run in runs if run is not None),
        files=tuple(_listed(path.parent)),
    )


@dataclasses.dataclass(frozen=True)
class _Question:
    """What the reference is asked; equal by content, whichever file the model came from."""

    digest: str
    network: Network
    pixels: bytes
    source: Model = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=1)
def _answer(question: _Question) -> Outputs:
    """The reference's outputs; kept, since it is slow and one model often becomes many files."""
    size = question.network.input_size
    pictures = np.frombuffer(question.pixels, np.float32).reshape(-1, 1, 3, size, size)
    with np.errstate(over="ignore", invalid="ignore"):
        answers = [
            reference.forward(question.network, question.source.tensors, picture)
            for picture in pictures  # one by one: their feature maps are large in double precision
        ]
    loc, scores = zip(*answers, strict=True)
    return np.concatenate(loc), np.concatenate(scores)


def _reads_back(path: Path, row: Format, written: Model, precision: str) -> bool | None:
    if not row.reads or precision == "int8":  # whose numbers are not those of any model
        return None
    if precision == "fp16":
        tensors = {name: to_half(values) for name, values in written.tensors.items()}
        rounded = {name: values.astype(np.float32) for name, values in tensors.items()}
        written = dataclasses.replace(written, tensors=rounded)
    found = read(path)
    return found.digest == written.digest and found.card.network == written.card.network


def _run(
    framework: Framework,
    path: Path,
    row: Format,
    written: Model,
    samples: Sequence[Sample],
    batch: NDArray[np.float32],
    expected: Outputs,
) -> Run | None:
    """Run the file; None if this version of the framework has no use for the format."""
    try:
        backend = framework.backend()
    except FrameworkNotInstalledError as error:
        return Run(framework.name, framework.version, installed=False, problem=str(error))
    if row.name not in (*backend.formats, *backend.own_formats):
        return None
    try:
        signature = Signature.of(written.graph)
        answers = backend(path, signature, Options()).forward(batch)
    except FaceMaskZooError as error:
        return Run(framework.name, backend.version(), installed=True, problem=str(error))
    outputs = (answers[LOC_NAME], answers[SCORES_NAME])
    differences = tuple(
        _compare(sample, written, (outputs[0][i], outputs[1][i]), (expected[0][i], expected[1][i]))
        for i, sample in enumerate(samples)
    )
    return Run(framework.name, backend.version(), installed=True, differences=differences)


def _run_apart(
    runner: Runner,
    path: Path,
    written: Model,
    samples: Sequence[Sample],
    batch: NDArray[np.float32],
    expected: Outputs,
) -> Run:
    """Run a file that no backend loads."""
    version = runner.find()
    if version is None:
        return Run(runner.name, None, installed=False, problem=runner.missing)
    try:
        found = runner.run(path, written.card.network, batch)
    except FaceMaskZooError as error:
        return Run(runner.name, version, installed=True, problem=str(error))
    compare = _compare_faces if runner.gives_faces else _compare
    differences = tuple(
        compare(sample, written, each, answer)
        for sample, each, answer in zip(samples, found, zip(*expected, strict=True), strict=True)
        if sample.has_detail or not runner.gives_faces
    )
    return Run(runner.name, version, installed=True, differences=differences)


def _compare_faces(sample: Sample, model: Model, found: Any, answer: Outputs) -> Difference:
    """The best faces of a file that gives boxes against those of the reference's outputs."""
    wanted = _faces(dataclasses.replace(sample, image_size=_FRACTIONS), model, answer)
    count = min(_BEST_FACES, len(wanted[0]))
    if len(found[0]) < count or (count < _BEST_FACES and len(found[0]) != count):
        return Difference(sample.name, math.nan, math.nan, len(wanted[0]), False)
    loc, scores = (
        float(np.abs(np.subtract(a[:count], b[:count], dtype=np.float64)).max(initial=0))
        for a, b in zip(found[:2], wanted[:2], strict=True)
    )
    same = bool((found[2][:count] == wanted[2][:count]).all())
    return Difference(sample.name, loc, scores, len(wanted[0]), same)


def _compare(sample: Sample, model: Model, outputs: Outputs, expected: Outputs) -> Difference:
    with np.errstate(invalid="ignore"):
        loc, scores = (
            float(np.abs(np.subtract(a, b, dtype=np.float64)).max())
            for a, b in zip(outputs, expected, strict=True)
        )
    wanted = _faces(sample, model, expected)
    same = _same_faces(_faces(sample, model, outputs), wanted)
    return Difference(sample.name, loc, scores, len(wanted[0]), same)


def _faces(sample: Sample, model: Model, outputs: Outputs) -> Found:
    with np.errstate(over="ignore", invalid="ignore"):
        loc, scores = (np.asarray(values, np.float32) for values in outputs)
        return postprocess(
            loc,
            scores,
            model.card.network,
            sample.image_size,
            conf=model.card.conf,
            iou=IOU,
        )


def _same_faces(found: Found, wanted: Found) -> bool:
    """Whether each face has a counterpart; equal scores may come in any order."""
    if len(found[0]) != len(wanted[0]):
        return False
    return all(
        bool(((np.abs(boxes - box).max(axis=1) <= _BOX_TOLERANCE_PIXELS) & (ids == label)).any())
        for (boxes, _, ids), (others, _, labels) in ((found, wanted), (wanted, found))
        for box, label in zip(others, labels, strict=True)
    )


def _listed(folder: Path) -> Iterable[File]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield File(path.relative_to(folder).as_posix(), sha256_of(path), path.stat().st_size)


def _worst(values: Iterable[float]) -> float:
    """The largest; NaN if one is not a number, which is worse than any."""
    found = list(values)
    return math.nan if any(map(math.isnan, found)) else max(found, default=0.0)
