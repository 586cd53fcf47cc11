"""The tables and the diagram of how far a landmark network is from its teacher."""

from __future__ import annotations

import dataclasses

import needs
import numpy as np
import pytest
from landmark_networks import noise_crops

needs.module("matplotlib")

from facemask_zoo import Landmarker  # noqa: E402
from facemask_zoo.benchmarks.landmarks import (  # noqa: E402
    Answers,
    ask_network,
    draw,
    report,
)
from facemask_zoo.datasets.landmarks import eye_distance  # noqa: E402
from facemask_zoo.masks.face_crops import SIDE  # noqa: E402


def answers(errors, name="someone") -> Answers:
    errors = np.asarray(errors, float)
    return Answers(name, np.repeat(errors[:, None], 68, axis=1), np.full((len(errors), 3), 2.0))


def test_a_face_that_is_not_found_counts_as_failed_and_in_no_mean():
    row = answers([0.02, 0.04, 0.15, np.nan]).row()
    assert row[:5] == ["someone", "3 of 4", "7.0%", "4.0%", "50.0%"]
    assert row[-1] == "2.0°"


def test_what_the_network_says_exactly_has_no_error():
    crops = noise_crops(2, side=SIDE)
    landmarker = Landmarker.load()
    first = ask_network(landmarker, crops, "first")
    assert (first.means > 0).all()
    box = [((SIDE - SIDE / 1.75) / 2,) * 2 + ((SIDE + SIDE / 1.75) / 2,) * 2]
    found = [landmarker.detect(crop, box) for crop in crops.bare]
    own = dataclasses.replace(
        crops,
        points=np.concatenate([each.points for each in found]) / SIDE,
        poses=np.concatenate([each.poses for each in found]),
    )
    assert (eye_distance(own.points) > 0).all()
    again = ask_network(landmarker, own, "again")
    assert again.means.max() < 1e-4
    assert np.abs(again.angles).max() < 1e-3


def test_the_report_splits_by_how_far_the_face_is_turned():
    poses = np.zeros((3, 3), np.float32)
    poses[:, 0] = (5, -30, 60)
    crops = dataclasses.replace(noise_crops(3), poses=poses)
    text = report([answers([0.1, 0.2, 0.3])], crops, "any")
    for line in (
        "| 0 to 20° | 1 | 10.0% |",
        "| 20 to 45° | 1 | 20.0% |",
        "| 45 to 90° | 1 | 30.0% |",
    ):
        assert line in text


def test_the_curve_ends_at_the_share_that_was_found():
    (line,) = draw([answers([0.02, 0.04, np.nan, np.nan])]).axes[0].lines
    assert line.get_ydata().tolist() == pytest.approx([25, 50])
