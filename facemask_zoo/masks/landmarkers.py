"""Where landmarks come from: files that go with the pictures, other people's models, functions."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facemask_zoo import landmarker
from facemask_zoo.cards import DEFAULT_LANDMARKS
from facemask_zoo.datasets.landmarks import (
    COUNT,
    FFHQ_SIDE,
    HeadAngles,
    Points,
    check_points,
    head_angles,
    read_ffhq,
)
from facemask_zoo.datasets.types import Box
from facemask_zoo.errors import (
    DatasetError,
    FaceMaskZooError,
    FrameworkNotInstalledError,
    InvalidArgumentError,
    WeightsError,
)
from facemask_zoo.extras import require
from facemask_zoo.session import AUTO

_MAX_PTS_BYTES = 1 << 16
_CROP_MARGIN = 0.35
_CROP_SIDE = 384
_WORKER = Path(__file__).with_name("mediapipe_worker.py")
MEDIAPIPE_PYTHON = "FACEMASK_ZOO_MEDIAPIPE_PYTHON"
"""Environment variable with the interpreter that has MediaPipe."""


class Landmarker(Protocol):
    """Finds the landmarks of the faces in a picture."""

    def find(
        self,
        image: NDArray[np.uint8],
        *,
        path: Path | None = None,
        boxes: Sequence[Box] | None = None,
    ) -> list[Points]:
        """Landmarks of each face.

        Args:
            image: (H, W, 3) RGB.
            path: The file it was read from; providers that read annotations need it.
            boxes: Where the faces are, as corners in pixels; providers that search need them.

        Returns:
            One (68, 2) array of pixels for each face that was found.

        Raises:
            FaceMaskZooError: The annotations or the model are no good.
        """
        ...


@dataclasses.dataclass(frozen=True)
class FunctionLandmarker:
    """Landmarks from a function of the picture.

    Attributes:
        function: Takes (H, W, 3) RGB, returns one (68, 2) array, or a list of them.
    """

    function: Callable[[NDArray[np.uint8]], Any]

    def find(
        self,
        image: NDArray[np.uint8],
        *,
        path: Path | None = None,
        boxes: Sequence[Box] | None = None,
    ) -> list[Points]:
        found = self.function(image)
        single = isinstance(found, np.ndarray) and found.ndim == 2
        return [check_points(points) for points in ([found] if single else found)]


@dataclasses.dataclass(frozen=True)
class PtsLandmarker:
    """Landmarks from iBUG ``.pts`` files, which lie beside the pictures or in a folder.

    Several faces of one picture are ``name_1.pts``, ``name_2.pts`` and so on, as in 300-W.

    Attributes:
        folder: Where the files are; beside each picture if None.
    """

    folder: Path | None = None

    def find(
        self,
        image: NDArray[np.uint8],
        *,
        path: Path | None = None,
        boxes: Sequence[Box] | None = None,
    ) -> list[Points]:
        path = _require_path(path)
        folder = self.folder or path.parent
        numbered = sorted(folder.glob(f"{_escaped(path.stem)}_[0-9]*.pts"))
        files = [file for file in (folder / f"{path.stem}.pts", *numbered) if file.is_file()]
        if not files:
            raise DatasetError(f"{folder}: expected {path.stem}.pts, found none.")
        return [read_pts(file) for file in files]


def read_pts(path: Path) -> Points:
    """Read one iBUG file: 68 lines ``x y`` in braces, counted from 1 as Matlab does.

    Raises:
        DatasetError: It is missing, too large, or not 68 points.
    """
    try:
        if path.stat().st_size > _MAX_PTS_BYTES:
            raise DatasetError(f"{path}: expected at most {_MAX_PTS_BYTES} bytes.")
        text = path.read_text(encoding="ascii")
        inside = text.partition("{")[2].partition("}")[0]
        values = np.array([float(word) for word in inside.split()])
        return check_points(values.reshape(-1, 2) - 1)
    except (OSError, ValueError, FaceMaskZooError) as error:
        raise DatasetError(f"{path} is not an iBUG file of {COUNT} points: {error}") from error


class FfhqLandmarker:
    """Landmarks from FFHQ's metadata; pictures are found by the number that is their name.

    Args:
        metadata: ``ffhq-dataset-v2.json``.

    Raises:
        DatasetError: The file is missing or of another kind.
    """

    def __init__(self, metadata: str | os.PathLike[str]) -> None:
        self._entries = read_ffhq(Path(metadata))

    def find(
        self,
        image: NDArray[np.uint8],
        *,
        path: Path | None = None,
        boxes: Sequence[Box] | None = None,
    ) -> list[Points]:
        path = _require_path(path)
        number = path.stem.partition("_")[0]
        points = self._entries.get(int(number)) if number.isdecimal() else None
        if points is None:
            raise DatasetError(f"{path}: FFHQ's metadata has no entry {number[:20]!r}.")
        return [points * (image.shape[1] / FFHQ_SIDE)]


class ZooLandmarker:
    """Landmarks by the zoo's own network, on any framework.

    Args:
        model: A name of :func:`facemask_zoo.list_models`, or a weights file.
        framework: A name of :func:`facemask_zoo.list_frameworks`, or ``"auto"``.

    Raises:
        FaceMaskZooError: As :meth:`facemask_zoo.Landmarker.load`.
    """

    def __init__(
        self, model: str | os.PathLike[str] = DEFAULT_LANDMARKS, framework: str = AUTO
    ) -> None:
        self._network = landmarker.Landmarker.load(model, framework=framework)

    def find(
        self,
        image: NDArray[np.uint8],
        *,
        path: Path | None = None,
        boxes: Sequence[Box] | None = None,
    ) -> list[Points]:
        if boxes is None:
            raise InvalidArgumentError("boxes: expected the faces, which a detector finds.")
        return [check_points(points) for points in self._network.detect(image, boxes).points]


class DlibLandmarker:
    """Landmarks by dlib, with the user's own file of its 68-point shape predictor.

    Args:
        model: ``shape_predictor_68_face_landmarks.dat``; its weights are for research only.

    Raises:
        FrameworkNotInstalledError: dlib is not installed.
        WeightsError: The file is missing or not a shape predictor.
    """

    def __init__(self, model: str | os.PathLike[str]) -> None:
        self._dlib = require("dlib", "dlib")
        try:
            self._predict = self._dlib.shape_predictor(os.fspath(model))
        except RuntimeError as error:
            raise WeightsError(f"{model} is not a shape predictor of dlib: {error}") from error
        self._search = self._dlib.get_frontal_face_detector()

    def find(
        self,
        image: NDArray[np.uint8],
        *,
        path: Path | None = None,
        boxes: Sequence[Box] | None = None,
    ) -> list[Points]:
        if boxes is None:
            places = list(self._search(image, 1))
        else:
            places = [self._dlib.rectangle(*(round(value) for value in box)) for box in boxes]
        shapes = [self._predict(image, place) for place in places]
        return [check_points([(part.x, part.y) for part in shape.parts()]) for shape in shapes]


class MediaPipeLandmarker:
    """Landmarks by MediaPipe's face mesh, in a process of its own.

    Args:
        python: Interpreter that has ``mediapipe`` installed. It needs a protobuf older than the
            frameworks do, and so an environment of its own; by default the one that the
            environment variable ``FACEMASK_ZOO_MEDIAPIPE_PYTHON`` names.

    Raises:
        FrameworkNotInstalledError: No interpreter is named, or it has no MediaPipe.
    """

    def __init__(self, python: str | os.PathLike[str] | None = None) -> None:
        interpreter = os.fspath(python or os.environ.get(MEDIAPIPE_PYTHON, ""))
        if not interpreter:
            raise FrameworkNotInstalledError(
                "MediaPipe runs in an environment of its own. Run: python -m venv mp && "
                f"mp/bin/pip install 'mediapipe==0.10.21', and set {MEDIAPIPE_PYTHON}=mp/bin/python"
            )
        self._python = interpreter
        self._process: subprocess.Popen[bytes] | None = None

    def find(
        self,
        image: NDArray[np.uint8],
        *,
        path: Path | None = None,
        boxes: Sequence[Box] | None = None,
    ) -> list[Points]:
        if boxes is None:
            return [check_points(mesh[:, :2]) for mesh in self._ask(image)]
        found = (self.find_posed(image, box) for box in boxes)
        return [each[0] for each in found if each]

    def find_posed(self, image: NDArray[np.uint8], box: Box) -> tuple[Points, HeadAngles] | None:
        """Landmarks of the face in a box, and how the head is turned.

        Args:
            image: (H, W, 3) RGB.
            box: Where the face is, as corners in pixels.

        Returns:
            (68, 2) pixels and the angles; None if there is no face.

        Raises:
            InvalidArgumentError: The box does not overlap the picture.
            FrameworkNotInstalledError: MediaPipe does not run.
        """
        crop, left, top, scale = _crop(image, box)
        for mesh in self._ask(crop)[:1]:
            points = check_points(mesh[:, :2] / scale + (left, top))
            return points, head_angles(mesh)
        return None

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _ask(self, image: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
        """Each face's (68, 3) points, with depth."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            height, width = image.shape[:2]
            process.stdin.write(f"{width} {height}\n".encode() + image.tobytes())
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
        except (OSError, ValueError) as error:
            self._process = None
            process.kill()
            raise FrameworkNotInstalledError(
                f"MediaPipe does not run with {self._python}: {error}"
            ) from error
        return [np.array(points, np.float64).reshape(COUNT, 3) for points in answer]

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            self._process = subprocess.Popen(
                [self._python, str(_WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise FrameworkNotInstalledError(f"Cannot start {self._python}: {error}") from error
        return self._process


def _crop(image: NDArray[np.uint8], box: Box) -> tuple[NDArray[np.uint8], int, int, float]:
    """A face with some surroundings, enlarged if it is small; its corner and the scale."""
    cv2 = require("cv2", "masks")
    x1, y1, x2, y2 = box
    margin = _CROP_MARGIN * max(x2 - x1, y2 - y1)
    left, top = max(int(x1 - margin), 0), max(int(y1 - margin), 0)
    crop = image[top : max(int(y2 + margin), 0), left : max(int(x2 + margin), 0)]
    if crop.size == 0:
        raise InvalidArgumentError(f"boxes: {box} does not overlap the picture.")
    scale = max(1.0, _CROP_SIDE / max(crop.shape[:2]))
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    return np.ascontiguousarray(cv2.resize(crop, size)), left, top, scale


def _require_path(path: Path | None) -> Path:
    if path is None:
        raise InvalidArgumentError("These landmarks go with files: name the picture's path.")
    return path


def _escaped(name: str) -> str:
    """A name that means itself in a glob."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
