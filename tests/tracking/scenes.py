"""Videos with known motion: faces of the demonstration picture move over a grey wall."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from places import PICTURES

from facemask_zoo import Detections
from facemask_zoo.images import load_image
from facemask_zoo.video_writer import VideoWriter

WIDTH, HEIGHT, RATE = 426, 240, 12
CLASSES = ("mask", "no_mask", "incorrect")
BARE, MASKED = (100, 50, 212, 190), (430, 54, 542, 194)  # in the demonstration picture, with hair

Place = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Actor:
    """Somebody who walks.

    Attributes:
        where: Top left corner at a time; None while they are away.
        masked: Whether they wear a mask at a time.
    """

    where: Callable[[float], Place | None]
    masked: Callable[[float], bool] = lambda _: False


def walk(start: Place, speed: Place, *, away: tuple[float, float] = (0, 0)) -> Callable:
    """In a straight line, in pixels and seconds; out of sight for a while."""

    def where(time: float) -> Place | None:
        if away[0] <= time < away[1]:
            return None
        return start[0] + speed[0] * time, start[1] + speed[1] * time

    return where


def middle(place: Place) -> Place:
    """Where the middle of a face is drawn whose top left corner is known."""
    return place[0] + (BARE[2] - BARE[0]) / 4, place[1] + (BARE[3] - BARE[1]) / 4


def film(path: Path, actors: Sequence[Actor], seconds: float) -> Path:
    """Write the video; the first actors stand in front."""
    photo = load_image(PICTURES / "demo.jpg")
    looks = {
        masked: photo[top:bottom:2, left:right:2]
        for masked, (left, top, right, bottom) in ((False, BARE), (True, MASKED))
    }
    with VideoWriter(path, Fraction(RATE)) as writer:
        for index in range(round(seconds * RATE)):
            time = index / RATE
            image = np.full((HEIGHT, WIDTH, 3), (120, 140, 150), np.uint8)
            for actor in reversed(actors):
                place = actor.where(time)
                if place:
                    _paste(image, looks[actor.masked(time)], place)
            writer.write(image, time)
    return path


def _paste(image: np.ndarray, look: np.ndarray, place: Place) -> None:
    left, top = (round(value) for value in place)
    window = image[max(top, 0) : top + look.shape[0], max(left, 0) : left + look.shape[1]]
    window[:] = look[-min(top, 0) :, -min(left, 0) :][: window.shape[0], : window.shape[1]]


def seen(time: float, faces: Sequence[tuple[Place, str]], score: float = 0.9) -> Detections:
    """What a detector says about a frame: faces of 40 x 50 pixels, by their middle and label."""
    boxes = [[x - 20, y - 25, x + 20, y + 25] for (x, y), _ in faces]
    return Detections(
        np.array(boxes).reshape(-1, 4),
        np.full(len(faces), score),
        [CLASSES.index(label) for _, label in faces],
        CLASSES,
        (WIDTH, HEIGHT),
        "gate.mp4",
        round(time * RATE),
        time,
    )


def tracked(time: float, faces: Sequence[tuple[int, Place, str]]) -> Detections:
    """What a tracker says about a frame."""
    result = seen(time, [(place, label) for _, place, label in faces])
    ids = np.array([number for number, _, _ in faces], np.int64)
    return dataclasses.replace(result, attributes={"track_id": ids})
