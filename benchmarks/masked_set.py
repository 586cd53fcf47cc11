"""A whole set in MaskedFace-Net's layout: killed midway, resumed, read back; where its time goes.

The faces are views of the portrait in docs/pictures, turned, scaled and mirrored, with their
landmarks, as files. With ``--landmarks zoo``, faces and landmarks are searched for where time is
measured.

Usage: python -m facemask_zoo.benchmarks.masked_set --output DIR [--count 2000] [--write PAGE]
"""

from __future__ import annotations

import argparse
import collections
import cProfile
import pstats
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facemask_zoo.benchmarks import environment
from facemask_zoo.benchmarks.markdown import replace_section, table
from facemask_zoo.cards import DEFAULT_MODEL
from facemask_zoo.datasets import check, read
from facemask_zoo.datasets.pictures import list_pictures
from facemask_zoo.datasets.wearing import MASKED_FACE_NET, Wearing
from facemask_zoo.errors import InvalidArgumentError, OutputError
from facemask_zoo.files import sha256_of
from facemask_zoo.masks import PtsLandmarker
from facemask_zoo.masks.command import PROVIDERS, Provider
from facemask_zoo.masks.generate import Plan, generate, plan_jobs

PORTRAIT = Path("docs/pictures/astronaut.jpg")
SECTION = "masked set"

_FIRST = 30000
_MIRRORED = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1),
     45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
     54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)  # fmt: skip
"""Which landmark each becomes in a mirror, in iBUG's order."""

# The functions in whose time, all calls below them included, a picture's goes.
_STAGES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "decode": (("images.py", "load_image"),),
    "find faces": (("detector.py", "detect"),),
    "landmarks": (("landmarkers.py", "find"),),
    "render the template": (("template.py", "_draw"),),
    "fit and warp": (("place.py", "to_face"), ("warp.py", "draw_mesh")),
    "light, shadow, grain": (("light.py", "measure"), ("place.py", "_compose")),
    "encode": (("generate.py", "_encode"),),
    "write": (("journal.py", "write"),),
}
# Inside of `to_face`, the first use of a template renders it.
_RENDERS = ("fit and warp", ("template.py", "extent"))


class Killed(NamedTuple):
    """What a run was like that was killed and called again.

    Attributes:
        before: Pictures that were there when it was killed.
        pictures: That there are in the end.
        seconds: That both runs took together.
    """

    before: int
    pictures: int
    seconds: float


def main(arguments: list[str] | None = None) -> None:
    """Make the faces, the set and the tables."""
    args = _arguments(arguments)
    faces, output = args.output / "faces", args.output / "masked"
    make_faces(args.portrait, faces, args.count, args.side)
    killed = kill_and_resume(faces, output, args.kill_at or args.count // 2, args.workers)
    counts = check_set(faces, output, args.count)
    pictures = min(args.timed, args.count)
    stages, total = time_stages(faces, args.output / "timed", pictures, args.landmarks)
    text = _to_text(killed, counts, stages, total, args.workers)
    if args.write:
        replace_section(args.write, SECTION, text)
    print(text)


def make_faces(portrait: Path, folder: Path, count: int, side: int) -> None:
    """Write `count` views of a portrait, named as FFHQ's pictures are, with their landmarks.

    Raises:
        OutputError: The folder is there.
    """
    if folder.exists():
        raise OutputError(f"{folder} exists already: name another folder.")
    folder.mkdir(parents=True)
    (points,) = PtsLandmarker().find(np.zeros((1, 1, 3), np.uint8), path=portrait)
    with Image.open(portrait) as image:
        image.load()
    for number in range(count):
        view, places = _view(image, points, side, np.random.default_rng(number))
        name = f"{_FIRST + number:05d}"
        view.save(folder / f"{name}.jpg", quality=90)
        lines = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in places)
        (folder / f"{name}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")


def _view(
    image: Image.Image, points: NDArray[np.float64], side: int, random: np.random.Generator
) -> tuple[Image.Image, NDArray[np.float64]]:
    angle, scale = random.uniform(-0.35, 0.35), random.uniform(0.8, 1.3) * side / image.width
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        points = (np.array([image.width - 1.0, 0]) - points * [1, -1])[_MIRRORED]
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    places = points @ turn.T
    shift = np.array([side / 2, side / 2]) - places.mean(0) + random.uniform(-0.06, 0.06, 2) * side
    back = np.linalg.inv(turn)
    row = np.column_stack([back, -back @ shift]).ravel()
    view = image.transform(
        (side, side), Image.Transform.AFFINE, tuple(row), Image.Resampling.BICUBIC
    )
    return view, places + shift


def kill_and_resume(faces: Path, output: Path, kill_at: int, workers: int) -> Killed:
    """Run the command, kill it once so many pictures are there, and call it again.

    Raises:
        OutputError: A picture that was whole was written again, or the second run failed.
    """
    words = [sys.executable, "-m", "facemask_zoo", "--quiet", "mask", str(faces), str(output)]
    words += ["--landmarks", "pts", "--workers", str(workers)]
    start = time.perf_counter()
    process = subprocess.Popen(words)
    while process.poll() is None and len(list_pictures(output)) < kill_at:
        time.sleep(0.05)
    process.kill()
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in list_pictures(output)}
    result = subprocess.run(words, check=False)
    seconds = time.perf_counter() - start
    rewritten = [path for path, when in before.items() if path.stat().st_mtime_ns != when]
    if result.returncode or rewritten:
        raise OutputError(f"{output}: {len(rewritten)} pictures were written twice.")
    return Killed(len(before), len(list_pictures(output)), seconds)


def check_set(faces: Path, output: Path, count: int) -> Mapping[Wearing, int]:
    """Make sure that names, shares, pictures and annotations are those of the plan.

    Raises:
        OutputError: They are not.
    """
    planned = {output / job.name: job.wearing for job in plan_jobs(Plan(faces, output))}
    tree, listed = check(read(output)), check(read(output / "annotations.json"), decode=False)
    worn = {p.path: Wearing.named(p.faces[0].attributes["wearing"]) for p in tree.dataset.pictures}
    again = {
        p.path: Wearing.named(p.faces[0].attributes["wearing"]) for p in listed.dataset.pictures
    }
    if tree.problems or listed.problems or not worn == again == planned or len(worn) != count:
        raise OutputError(f"{output} does not read back as it was planned: {tree.to_text()}")
    if len({sha256_of(path) for path in worn}) != count:
        raise OutputError(f"{output} holds a picture twice.")
    return collections.Counter(worn.values())


def time_stages(
    faces: Path, output: Path, count: int, landmarks: str
) -> tuple[dict[str, float], float]:
    """Seconds per picture of each stage, and of all together, in one process.

    Raises:
        InvalidArgumentError: No picture could be masked.
    """
    few = output / "faces"
    few.mkdir(parents=True)
    for path in sorted(faces.glob("*.jpg"))[:count]:
        for suffix in (".jpg", ".pts"):
            (few / path.name).with_suffix(suffix).hardlink_to(path.with_suffix(suffix))
    provider = Provider(landmarks, "", DEFAULT_MODEL, "auto")
    profile = cProfile.Profile()
    start = time.perf_counter()
    outcomes = profile.runcall(lambda: list(generate(Plan(few, output / "out"), provider)))
    total = time.perf_counter() - start
    done = sum(not outcome.problem for outcome in outcomes)
    if not done:
        raise InvalidArgumentError(f"{faces}: {outcomes[0].problem}")
    return {name: seconds / done for name, seconds in _cumulative(profile).items()}, total / done


def _cumulative(profile: cProfile.Profile) -> dict[str, float]:
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    spent: collections.Counter[tuple[str, str]] = collections.Counter()
    for (file, _, function), (_, _, _, cumulative, _) in stats.items():
        if "facemask_zoo" in file:
            spent[Path(file).name, function] += cumulative
    seconds = {stage: sum(spent[each] for each in places) for stage, places in _STAGES.items()}
    seconds[_RENDERS[0]] -= spent[_RENDERS[1]]
    return {stage: value for stage, value in seconds.items() if value}


def _to_text(
    killed: Killed,
    counts: Mapping[Wearing, int],
    stages: Mapping[str, float],
    total: float,
    workers: int,
) -> str:
    shares = [
        [str(wearing), f"{MASKED_FACE_NET[wearing].folder}/", str(counts[wearing]),
         f"{counts[wearing] / killed.pictures:.1%}"]
        for wearing in Wearing
    ]  # fmt: skip
    rows = [
        [stage, f"{1000 * seconds:.1f}", f"{seconds / total:.0%}"]
        for stage, seconds in stages.items()
    ]
    rest = total - sum(stages.values())
    rows += [["the rest", f"{1000 * rest:.1f}", f"{rest / total:.0%}"]]
    rows += [["together", f"{1000 * total:.1f}", f"{1 / total:.1f} pictures per second and core"]]
    return "\n\n".join(
        [
            f"{killed.pictures} pictures, killed at {killed.before} and called again: "
            f"{killed.seconds:.0f} s with {workers} process{'es' * (workers > 1)}. Each picture is "
            "there, whole, under its name, none was written twice, and the set reads back as it "
            "was planned.",
            table(["worn", "folder", "pictures", "share"], shares),
            table(["stage", "ms per picture", "share"], rows),
            f"{environment.sentence()}.",
        ]
    )


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder that is not there yet")
    parser.add_argument("--portrait", type=Path, default=PORTRAIT, help="(%(default)s)")
    parser.add_argument("--count", type=int, default=2000, help="pictures (%(default)s)")
    parser.add_argument("--side", type=int, default=512, help="of them (%(default)s)")
    parser.add_argument("--kill-at", type=int, help="pictures (half of them)")
    parser.add_argument("--timed", type=int, default=200, help="pictures (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (%(default)s)")
    parser.add_argument("--landmarks", default="pts", choices=PROVIDERS, help="(%(default)s)")
    parser.add_argument("--write", type=Path, help=f"page with the section {SECTION!r}")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
