"""Find face meshes for another process: pictures come in on standard input, points go out.

An interpreter of its own runs this, since MediaPipe wants an older protobuf than the frameworks.
Each request is a line ``width height`` and width x height x 3 bytes of RGB; each answer is one line
of JSON, a list of faces, each a list of 68 triples x, y, depth in pixels.
"""

from __future__ import annotations

import json
import sys
from typing import Any, BinaryIO

import mediapipe
import numpy as np

# It lies beside this script, and the package itself may not be installed there.
from mesh_points import MESH_TO_IBUG  # type: ignore[import-not-found]


def main() -> None:
    """Answer until standard input ends."""
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1, min_detection_confidence=0.3
    )
    requests, answers = sys.stdin.buffer, sys.stdout
    while image := _read(requests):
        answers.write(json.dumps(_find(mesh, *image)) + "\n")
        answers.flush()


def _read(stream: BinaryIO) -> tuple[Any, int, int] | None:
    line = stream.readline()
    if not line:
        return None
    width, height = map(int, line.split())
    pixels = np.frombuffer(stream.read(width * height * 3), np.uint8)
    return pixels.reshape(height, width, 3), width, height


def _find(mesh: Any, image: Any, width: int, height: int) -> list[list[list[float]]]:
    found = mesh.process(image).multi_face_landmarks or []
    scale = (width, height, width)  # the mesh measures depth in widths of the picture
    return [[_place(face.landmark[i], scale) for i in MESH_TO_IBUG] for face in found]


def _place(point: Any, scale: tuple[int, int, int]) -> list[float]:
    x, y, depth = scale
    return [point.x * x, point.y * y, point.z * depth]


if __name__ == "__main__":
    main()
