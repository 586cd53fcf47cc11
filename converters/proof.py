"""Whether a written file does what its source does: read back, loaded and run by frameworks."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.backends import FRAMEWORKS, Framework, Options
from facemask_zoo.backends.base import Backend
from facemask_zoo.cards import DETECTION, File
from facemask_zoo.converters.formats.registry import Format, format_of
from facemask_zoo.converters.half import to_half
from facemask_zoo.converters.runners import RUNNERS, Runner
from facemask_zoo.converters.samples import Sample
from facemask_zoo.errors import FaceMaskZooError, FrameworkNotInstalledError
from facemask_zoo.files import sha256_of
from facemask_zoo.graph import reference, text
from facemask_zoo.graph.cost import numbers_at_once
from facemask_zoo.graph.matching import renamed_like
from facemask_zoo.graph.program import Program
from facemask_zoo.model import Model
from facemask_zoo.model_files import read
from facemask_zoo.ssd import postprocess
from facemask_zoo.ssd.network import LOC_NAME, SCORES_NAME
from facemask_zoo.ssd.postprocess import IOU, Found

FACTORS = {"fp32": 1.0, "fp16": 2e3, "int8": 2e4}
"""By precision: how many times the tolerance of the signature an output may be off. The lower two
find what is broken; what they cost, average precision tells."""

# What folding in single precision may change, relative to the largest output.
_FOLDED = 1e-5
_BOX_TOLERANCE_PIXELS = 1.0
_FRACTIONS = (1, 1)  # size of a picture whose boxes are fractions of it
_BEST_FACES = 10
_MAX_NUMBERS = 1 << 24  # in the values of a batch that a framework needs at once

Outputs = Mapping[str, NDArray[np.floating[Any]]]
"""Of one sample or of a batch, by name."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """A framework's outputs for one sample against the reference's.

    Attributes:
        sample: Name of the sample.
        outputs: Largest difference of each output by name; of boxes, as fractions of the input,
            if the file gives those. NaN if one is not a number.
        faces: How many the reference finds; None for a network that is no detector.
        same_faces: Whether the framework finds the same: classes equal, boxes within a pixel.
    """

    sample: str
    outputs: Mapping[str, float]
    faces: int | None = None
    same_faces: bool = True


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
        alike: Where they do not, whether another network came back that gives the same outputs in
            double precision: of some operations formats have other forms.
        tolerances: How far each output may differ, by name.
        runs: One for each framework that may load the format.
        files: What was written, with sizes and digests.
    """

    tensors_equal: bool | None
    tolerances: Mapping[str, float]
    runs: tuple[Run, ...]
    files: tuple[File, ...]
    alike: bool = False

    @property
    def comes_back(self) -> bool:
        """Whether nothing was lost or changed, as far as the file can be read."""
        return self.tensors_equal is not False or self.alike

    @property
    def whole(self) -> bool:
        """Whether the file holds what was written and no framework refuses it."""
        return self.comes_back and not any(run.refused for run in self.runs)

    @property
    def tolerable(self) -> bool:
        """Whether every framework that ran agrees with the reference."""
        worst = self.worst
        return all(worst[name] <= limit for name, limit in self.tolerances.items())

    @property
    def has_run(self) -> bool:
        """Whether at least one framework has run the file."""
        return any(run.differences for run in self.runs)

    @property
    def worst(self) -> dict[str, float]:
        """Largest difference of each output by name; 0 if nothing ran."""
        found = [difference.outputs for run in self.runs for difference in run.differences]
        return {name: _worst(each[name] for each in found) for name in self.tolerances}


@dataclasses.dataclass(frozen=True)
class Reading:
    """A source as its own frameworks run it, against what was read from it.

    Attributes:
        tolerances: How far each output may differ, by name.
        runs: One for each framework that may load its format.
    """

    tolerances: Mapping[str, float]
    runs: tuple[Run, ...]

    @property
    def right(self) -> bool:
        """Whether no framework that runs the source answers otherwise."""
        return all(
            value <= self.tolerances[name]
            for run in self.runs
            for difference in run.differences
            for name, value in difference.outputs.items()
        )

    def to_text(self) -> Iterable[str]:
        """A line for each framework."""
        for run in self.runs:
            name = f"the source itself on {run.framework} {run.version or ''}".strip()
            if not run.differences:
                yield f"{name}: {run.problem}"
                continue
            worst = (max(entry.outputs.values()) for entry in run.differences)
            yield f"{name}: at most {_worst(worst):.1e} from what was read"


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
    expected = _answer(_Question(source.program, batch.tobytes()))
    runs = [
        _run(framework, path, row, written, samples, batch, expected)
        for framework in FRAMEWORKS.values()
        if row.name in framework.formats
    ]
    if row.name in RUNNERS:
        runs.append(_run_apart(RUNNERS[row.name], path, row, written, samples, batch, expected))
    back = _read_back(path, row, written, precision)
    equal = None if back is None else back.is_equal
    return Proof(
        tensors_equal=equal,
        alike=back is not None and not equal and back.is_alike(batch),
        tolerances=_tolerances(written, expected, precision),
        runs=tuple(run for run in runs if run is not None),
        files=tuple(_listed(path.parent)),
    )


def try_reading(path: Path, model: Model, samples: Sequence[Sample]) -> Reading:
    """Compare a file, as the frameworks of its format run it, with what was read from it.

    The frameworks' own parsers see it unchecked.

    Args:
        path: The file (or folder) that names the model.
        model: What was read from it.
        samples: Inputs to run both on.
    """
    row = format_of(path)
    batch = np.stack([sample.values for sample in samples])
    expected = _answer(_Question(model.program, batch.tobytes()))
    runs = (
        _run(framework, path, row, model, samples, batch, expected)
        for framework in FRAMEWORKS.values()
        if row.name in framework.formats
    )
    return Reading(_tolerances(model, expected, "fp32"), tuple(filter(None, runs)))


@dataclasses.dataclass(frozen=True)
class _Question:
    """What the reference is asked; equal by content, whichever file the program came from."""

    program: Program = dataclasses.field(compare=False)
    samples: bytes
    digest: str = ""

    def __post_init__(self) -> None:
        identity = f"{self.program.digest}{text.to_json(self.program.graph)}"
        object.__setattr__(self, "digest", identity)


@functools.lru_cache(maxsize=2)
def _answer(question: _Question) -> dict[str, NDArray[np.floating[Any]]]:
    """The reference's outputs; kept, since it is slow and one model often becomes many files."""
    graph = question.program.graph
    samples = np.frombuffer(question.samples, np.float32).reshape(-1, 1, *graph.input_shape)
    with np.errstate(over="ignore", invalid="ignore"):
        # One by one: feature maps are large in double precision.
        answers = [reference.forward(question.program, sample) for sample in samples]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in graph.outputs}


def _tolerances(model: Model, expected: Outputs, precision: str) -> dict[str, float]:
    """How far outputs may differ; of a network that is no detector, relative to their size."""
    limits = {}
    for spec in model.signature.outputs:
        size = float(np.abs(expected[spec.name]).max(initial=0))
        scale = max(1.0, size) if model.card.task != DETECTION and math.isfinite(size) else 1.0
        limits[spec.name] = spec.tolerance * FACTORS[precision] * scale
    return limits


def _of_sample(outputs: Outputs, index: int) -> Outputs:
    return {name: values[index] for name, values in outputs.items()}


@dataclasses.dataclass(frozen=True)
class _Back:
    """What was written, and what the file gave back."""

    written: Model
    found: Model

    @property
    def is_equal(self) -> bool:
        """Whether it is the same network with the same tensors, bit for bit."""
        if not self._has_the_ends():
            return False
        # Within a network names and order are free: formats give the steps their own.
        again = renamed_like(self.found.program, self.written.graph)
        return again is not None and again.digest == self.written.digest

    def is_alike(self, batch: NDArray[np.float32]) -> bool:
        """Whether it gives the same outputs but for the rounding of tensors that were folded."""
        if not self._has_the_ends():
            return False
        found, expected = (
            _answer(_Question(model.program, batch.tobytes()))
            for model in (self.found, self.written)
        )
        return all(
            np.allclose(found[name], values, rtol=0, atol=_FOLDED * max(1.0, np.abs(values).max()))
            for name, values in expected.items()
        )

    def _has_the_ends(self) -> bool:
        """Whether input, outputs and what the card says are those that were written."""
        ends = [
            (model.card.architecture, model.graph.input_shape, dict(model.graph.output_shapes))
            for model in (self.written, self.found)
        ]
        return ends[0] == ends[1]


def _read_back(path: Path, row: Format, written: Model, precision: str) -> _Back | None:
    """What comes back of a file; None if its numbers are not those of any model."""
    if not row.reads or precision == "int8":
        return None
    if precision == "fp16":
        tensors = {name: to_half(values) for name, values in written.tensors.items()}
        rounded = {name: values.astype(np.float32) for name, values in tensors.items()}
        written = dataclasses.replace(written, tensors=rounded)
    return _Back(written, read(path))


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
        outputs = _forward(backend(path, written.signature, Options()), batch, written)
    except FaceMaskZooError as error:
        return Run(framework.name, backend.version(), installed=True, problem=str(error))
    differences = tuple(
        _compare(sample, written, _of_sample(outputs, index), _of_sample(expected, index))
        for index, sample in enumerate(samples)
    )
    return Run(framework.name, backend.version(), installed=True, differences=differences)


def _forward(backend: Backend, batch: NDArray[np.float32], model: Model) -> Outputs:
    """The outputs for a batch; sample by sample where it would take much memory at once."""
    if numbers_at_once(model.graph) * len(batch) <= _MAX_NUMBERS:
        return backend.forward(batch)
    answers = [backend.forward(sample[None]) for sample in batch]
    return {name: np.concatenate([each[name] for each in answers]) for name in answers[0]}


def _run_apart(
    runner: Runner,
    path: Path,
    row: Format,
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
        found = runner.run(path, written, batch)
    except FaceMaskZooError as error:
        return Run(runner.name, version, installed=True, problem=str(error))
    compare = _compare_faces if row.gives_boxes else _compare
    differences = tuple(
        compare(sample, written, each, _of_sample(expected, index))
        for index, (sample, each) in enumerate(zip(samples, found, strict=True))
        if sample.has_detail or not row.gives_boxes
    )
    return Run(runner.name, version, installed=True, differences=differences)


def _compare_faces(sample: Sample, model: Model, found: Any, answer: Outputs) -> Difference:
    """The best faces of a file that gives boxes against those of the reference's outputs."""
    wanted = _faces(dataclasses.replace(sample, image_size=_FRACTIONS), model, answer)
    count = min(_BEST_FACES, len(wanted[0]))
    names = model.graph.outputs
    if len(found[0]) < count or (count < _BEST_FACES and len(found[0]) != count):
        return Difference(sample.name, dict.fromkeys(names, math.nan), len(wanted[0]), False)
    pairs = zip(found[:2], wanted[:2], strict=True)
    differences = [_largest(a[:count], b[:count]) for a, b in pairs]
    same = bool((found[2][:count] == wanted[2][:count]).all())
    outputs = dict(zip(names, differences, strict=True))
    return Difference(sample.name, outputs, len(wanted[0]), same)


def _compare(sample: Sample, model: Model, found: Outputs, expected: Outputs) -> Difference:
    with np.errstate(invalid="ignore"):
        outputs = {name: _largest(found[name], values) for name, values in expected.items()}
    if model.card.task != DETECTION:
        return Difference(sample.name, outputs)
    wanted = _faces(sample, model, expected)
    same = _same_faces(_faces(sample, model, found), wanted)
    return Difference(sample.name, outputs, len(wanted[0]), same)


def _largest(found: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(np.abs(np.subtract(found, expected, dtype=np.float64)).max(initial=0))


def _faces(sample: Sample, model: Model, outputs: Outputs) -> Found:
    with np.errstate(over="ignore", invalid="ignore"):
        loc, scores = (np.asarray(outputs[name], np.float32) for name in (LOC_NAME, SCORES_NAME))
        return postprocess(
            loc,
            scores,
            model.card.detector,
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
