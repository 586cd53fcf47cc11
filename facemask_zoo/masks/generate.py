"""Whole data sets: a mask on every face of a folder of pictures."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import hashlib
import io
import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facemask_zoo.datasets.coco import ANNOTATIONS_NAME
from facemask_zoo.datasets.labels import LABELS, NO_MASK
from facemask_zoo.datasets.landmarks import Points, face_box
from facemask_zoo.datasets.pictures import list_pictures
from facemask_zoo.datasets.types import Box, Face
from facemask_zoo.datasets.wearing import MASKED_FACE_NET, Wearing
from facemask_zoo.errors import (
    FaceMaskZooError,
    ImageError,
    InvalidArgumentError,
    OutputError,
    UnknownNameError,
)
from facemask_zoo.files import Sources
from facemask_zoo.images import load_image
from facemask_zoo.masks.journal import Journal
from facemask_zoo.masks.landmarkers import Landmarker
from facemask_zoo.masks.place import Masked, put_on
from facemask_zoo.masks.template import list_templates, load_template
from facemask_zoo.masks.wearing import SHARES
from facemask_zoo.orphans import end_with_parent

REPORT_NAME = "report.json"
LAYOUTS = ("masked-face-net", "plain")

_QUALITY = 95
_FFHQ_DIGITS = 5

Tool = tuple[Landmarker, Callable[[NDArray[np.uint8]], Sequence[Face]] | None]
"""What finds landmarks, and what finds faces for it where it needs boxes.

Faces that are not bare get no mask, but stand in the annotations.
"""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to generate.

    Attributes:
        source: A folder of pictures, or one picture.
        output: Folder to write to.
        templates: Names or paths, chosen from at random.
        shares: Preset in :data:`facemask_zoo.masks.SHARES`, or the name of a way of wearing.
        layout: ``"masked-face-net"`` (CMFD and IMFD folders) or ``"plain"`` (as the source).
        seed: Of every choice.
    """

    source: Path
    output: Path
    templates: tuple[str, ...] = ()
    shares: str = "masked-face-net"
    layout: str = "masked-face-net"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UnknownNameError.among("layout", self.layout, LAYOUTS)
        if self.shares not in SHARES and self.shares not in list(Wearing):
            raise UnknownNameError.among("shares", self.shares, [*SHARES, *Wearing])
        for name in self.templates:
            load_template(name)


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture: what to read, where to write, and what is chosen for it."""

    path: Path
    name: str
    wearing: Wearing
    seed: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one picture.

    Attributes:
        source: The picture.
        name: Its output, below the folder.
        problem: Why there is none; empty if all went well.
        resumed: Whether it was there already.
    """

    source: Path
    name: str
    problem: str = ""
    resumed: bool = False


def plan_jobs(plan: Plan) -> list[Job]:
    """Every picture of a plan, with its choices; the shares are kept exactly, up to rounding.

    Raises:
        InvalidArgumentError: There is no picture, the output lies inside the source, or two
            pictures would have the same name.
    """
    paths = list_pictures(plan.source) if plan.source.is_dir() else [plan.source]
    if not paths:
        raise InvalidArgumentError(f"{plan.source}: expected pictures, found none.")
    root = plan.source if plan.source.is_dir() else plan.source.parent
    if plan.source.is_dir() and plan.output.resolve().is_relative_to(root.resolve()):
        raise InvalidArgumentError(f"{plan.output} lies inside {root}: name another folder.")
    relative = [PurePosixPath(path.relative_to(root).as_posix()) for path in paths]
    keys = [_key(plan.seed, name) for name in relative]
    wearings = _deal(keys, SHARES.get(plan.shares) or {Wearing.named(plan.shares): 1.0})
    jobs = [
        Job(path, _output_name(name, wearing, plan.layout), wearing, key % 2**32)
        for path, name, key, wearing in zip(paths, relative, keys, wearings, strict=True)
    ]
    _check_names(jobs)
    return jobs


def generate(plan: Plan, make_tool: Callable[[], Tool], *, workers: int = 1) -> Iterator[Outcome]:
    """Put masks on every face of every picture.

    Each file is written whole or not at all; a run that was cut off goes on where it was when it is
    called again. At the end the folder also gets COCO annotations and a report.

    Args:
        plan: What to do.
        make_tool: Makes the landmarker, once in each process.
        workers: Processes; 1 works in this one.

    Yields:
        What became of each picture, in order.

    Raises:
        InvalidArgumentError: The plan or the number of workers is no good.
        OutputError: The folder holds outputs of another plan, or its annotations are not ours.
    """
    if workers < 1:
        raise InvalidArgumentError(f"workers: expected at least 1, but got {workers}.")
    jobs = plan_jobs(plan)
    templates = plan.templates or tuple(list_templates())
    settings = {
        "shares": plan.shares,
        "layout": plan.layout,
        "seed": plan.seed,
        "templates": list(templates),
    }
    journal = Journal(plan.output, settings)
    for name in (ANNOTATIONS_NAME, REPORT_NAME):
        journal.check(name)
    sources = Sources(job.path for job in jobs)
    outcomes: list[Outcome] = []
    records: list[dict[str, Any]] = []
    done = {job.name: journal.done(job.name) for job in jobs}
    waiting = [job for job in jobs if done[job.name] is None]
    made = _run(waiting, templates, make_tool, workers)
    for job in jobs:
        entry = done[job.name]
        outcome = Outcome(job.path, job.name, resumed=True)
        if entry is None:
            outcome, entry = _keep(plan, journal, sources, job, next(made))
        outcomes.append(outcome)
        records += [entry] if entry else []
        yield outcome
    _finish(journal, records, outcomes)


Made = tuple[bytes, dict[str, Any]] | FaceMaskZooError


def _keep(
    plan: Plan, journal: Journal, sources: Sources, job: Job, made: Made
) -> tuple[Outcome, dict[str, Any] | None]:
    if isinstance(made, FaceMaskZooError):
        return Outcome(job.path, job.name, str(made)), None
    try:
        sources.check(plan.output / job.name)
        return Outcome(job.path, job.name), journal.write(job.name, *made)
    except (OutputError, OSError) as error:
        return Outcome(job.path, job.name, str(error)), None


def _run(
    jobs: Sequence[Job], templates: tuple[str, ...], make_tool: Callable[[], Tool], workers: int
) -> Iterator[Made]:
    """The results in order; a few pictures are under way at once, so memory stays bounded."""
    if workers == 1 or len(jobs) < 2:
        tool = make_tool() if jobs else None
        for job in jobs:
            assert tool is not None
            yield _make(job, templates, tool)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, context, _initialise, (make_tool, templates)
    ) as pool:
        queue: collections.deque[concurrent.futures.Future[Made]] = collections.deque()
        for job in jobs:
            queue.append(pool.submit(_make_in_worker, job))
            if len(queue) > 4 * workers:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()


_worker: list[Any] = []


def _initialise(make_tool: Callable[[], Tool], templates: tuple[str, ...]) -> None:
    end_with_parent()
    _worker[:] = [templates, make_tool()]


def _make_in_worker(job: Job) -> Made:
    return _make(job, *_worker)


def _make(job: Job, templates: tuple[str, ...], tool: Tool) -> Made:
    landmarker, find_faces = tool
    try:
        image = load_image(job.path)
        seen = find_faces(image) if find_faces else ()
        bare = [face.box for face in seen if face.label == NO_MASK] if find_faces else None
        landmarks = landmarker.find(image, path=job.path, boxes=bare)
        if not landmarks:
            raise ImageError("No face was found.")
        return _mask_all(job, image, landmarks, templates, seen)
    except FaceMaskZooError as error:
        return error


def _mask_all(
    job: Job,
    image: NDArray[np.uint8],
    landmarks: Sequence[Points],
    templates: tuple[str, ...],
    seen: Sequence[Face],
) -> tuple[bytes, dict[str, Any]]:
    random = np.random.default_rng(job.seed)
    results: list[Masked] = []
    skipped: list[str] = []
    bare: list[Face] = []
    for points in landmarks:
        template = load_template(templates[random.integers(len(templates))])
        seed = int(random.integers(2**32))
        try:
            result = put_on(image, points, template=template, wearing=job.wearing, seed=seed)
        except InvalidArgumentError as error:
            skipped.append(str(error))
            bare.append(Face(face_box(points, (image.shape[1], image.shape[0])), NO_MASK))
            continue
        results.append(result)
        image = result.image
    if not results:
        raise ImageError(f"No face could be masked: {skipped[0]}")
    placed = [result.box for result in results] + [face.box for face in bare]
    others = [*bare, *(face for face in seen if not _is_among(face.box, placed))]
    facts = {
        "source": job.path.name,
        "size": [image.shape[1], image.shape[0]],
        "wearing": str(job.wearing),
        "skipped": skipped,
        "faces": [_describe(result) for result in results],
        "others": [_describe_other(face) for face in others if face.side > 0],
    }
    return _encode(image, job), facts


def _is_among(box: Box, boxes: Sequence[Box]) -> bool:
    """Whether a found box is of a face whose landmarks are known: the centre of one lies in it."""
    x1, y1, x2, y2 = box
    centres = (((a + c) / 2, (b + d) / 2) for a, b, c, d in boxes)
    return any(x1 <= x <= x2 and y1 <= y <= y2 for x, y in centres)


def _describe_other(face: Face) -> dict[str, Any]:
    return {"label": face.label, "box": [round(value, 2) for value in face.box]}


def _describe(result: Masked) -> dict[str, Any]:
    return {
        "label": result.label,
        "wearing": str(result.wearing),
        "template": result.template,
        "box": [round(value, 2) for value in result.box],
        "landmarks": np.round(result.landmarks, 2).tolist(),
    }


def _encode(image: NDArray[np.uint8], job: Job) -> bytes:
    """As a JPEG with the source's own tables, so that the mask was compressed as the face was."""
    buffer = io.BytesIO()
    if job.name.lower().endswith(".png"):
        Image.fromarray(image).save(buffer, "PNG")
        return buffer.getvalue()
    tables: Mapping[int, Any] | None = None
    with Image.open(job.path) as source:
        if source.format == "JPEG":
            tables = getattr(source, "quantization", None)
    try:
        options: dict[str, Any] = {"qtables": tables} if tables else {"quality": _QUALITY}
        Image.fromarray(image).save(buffer, "JPEG", **options)
    except (OSError, ValueError):  # tables that libjpeg reads but will not write
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _key(seed: int, name: PurePosixPath) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")


def _deal(keys: Sequence[int], shares: Mapping[Wearing, float]) -> list[Wearing]:
    """A way of wearing for each key: by rank, so that the shares come out exactly."""
    bounds = np.cumsum(list(shares.values())) / sum(shares.values()) * len(keys)
    kinds = list(shares)
    chosen = [kinds[0]] * len(keys)
    for rank, index in enumerate(sorted(range(len(keys)), key=lambda each: keys[each])):
        place = int(np.searchsorted(bounds, rank + 0.5))
        chosen[index] = kinds[min(place, len(kinds) - 1)]
    return chosen


def _output_name(relative: PurePosixPath, wearing: Wearing, layout: str) -> str:
    if layout == "plain":
        suffix = relative.suffix if relative.suffix.lower() == ".png" else ".jpg"
        return str(relative.with_suffix(suffix))
    kind = MASKED_FACE_NET[wearing]
    stem = relative.stem
    parent = relative.parent
    if stem.isascii() and stem.isdecimal() and len(stem) == _FFHQ_DIGITS:
        parent = PurePosixPath(f"{int(stem) // 1000 * 1000:05d}")
    return str(PurePosixPath(kind.folder) / parent / f"{stem}{kind.suffix}.jpg")


def _check_names(jobs: Sequence[Job]) -> None:
    seen: dict[str, Path] = {}
    for job in jobs:
        other = seen.setdefault(job.name.casefold(), job.path)
        if other is not job.path:
            raise InvalidArgumentError(f"{other} and {job.path} would both become {job.name}.")


def _finish(
    journal: Journal, records: Sequence[dict[str, Any]], outcomes: Sequence[Outcome]
) -> None:
    report = {
        "pictures": len(outcomes),
        "written": len(records),
        "wearings": dict(collections.Counter(record["wearing"] for record in records)),
        "masked_faces": sum(len(record["faces"]) for record in records),
        "other_faces": sum(len(record.get("others", ())) for record in records),
        "failed": {str(each.source): each.problem for each in outcomes if each.problem},
        "skipped_faces": {
            record["name"]: record["skipped"] for record in records if record["skipped"]
        },
    }
    for name, content in ((ANNOTATIONS_NAME, _coco(records)), (REPORT_NAME, report)):
        journal.write(name, (json.dumps(content, indent=1) + "\n").encode(), {})


def _coco(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, record in enumerate(records, 1):
        width, height = record["size"]
        images.append({"id": number, "file_name": record["name"], "width": width, "height": height})
        for face in (*record["faces"], *record.get("others", ())):
            annotations.append(_coco_face(face, len(annotations) + 1, number))
    categories = [{"id": number, "name": label} for number, label in enumerate(LABELS, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _coco_face(face: Mapping[str, Any], number: int, image: int) -> dict[str, Any]:
    x1, y1, x2, y2 = face["box"]
    entry = {
        "id": number,
        "image_id": image,
        "category_id": LABELS.index(face["label"]) + 1,
        "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
        "area": round((x2 - x1) * (y2 - y1), 2),
        "iscrowd": 0,
    }
    if "landmarks" not in face:
        return entry
    return {
        **entry,
        "keypoints": [value for x, y in face["landmarks"] for value in (x, y, 2)],
        "num_keypoints": len(face["landmarks"]),
        "wearing": face["wearing"],
        "template": face["template"],
    }
