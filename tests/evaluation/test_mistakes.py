"""Every kind of mistake is told from the others."""

import pytest
from PIL import Image

from facemask_zoo.evaluation.mistakes import (
    KINDS,
    LOOSE,
    MISSED,
    NOTHING_THERE,
    TWICE,
    UNLABELLED,
    WRONG_LABEL,
    draw,
    worst,
)


@pytest.fixture(name="everything")
def _everything(sample, box, tmp_path):
    """One mistake of every kind, and one face found rightly."""
    x, y, _, _ = box(3)
    faces = [("mask", box(n)) for n in range(4)] + [("no_mask", box(8), True)]
    found = [
        ("mask", 0.9, box(0)),
        ("mask", 0.85, (box(0)[0], box(0)[1], box(0)[2], box(0)[3] - 25)),  # .375 of the first
        ("no_mask", 0.8, box(1)),
        ("mask", 0.7, (x, y, x + 40, y + 15)),  # .375 of the fourth
        ("mask", 0.6, box(5)),
        ("no_mask", 0.55, box(6)),
        ("mask", 0.3, box(7)),
        ("mask", 0.95, box(8)),
    ]
    path = tmp_path / "a.png"
    Image.new("RGB", (1000, 1000)).save(path)
    return sample(faces, found, path=path)


def test_the_kinds(everything, sample, box):
    second = [sample([], [("mask", 0.9, box(6, shift=2)), ("mask", 0.9, box(0))])]
    found = worst([everything], 0.5, opinions=[second])
    assert tuple(found) == KINDS
    scores = {kind: [round(m.outcome.score, 2) for m in ms] for kind, ms in found.items()}
    assert scores == {
        UNLABELLED: [0.55],
        WRONG_LABEL: [0.8],
        NOTHING_THERE: [0.6],
        MISSED: [0.0],
        LOOSE: [0.7],
        TWICE: [0.85],
    }
    assert found[MISSED][0].outcome.box == everything.picture.faces[2].box


def test_without_a_second_opinion_nothing_is_unlabelled(everything):
    found = worst([everything], 0.5)
    assert found[UNLABELLED] == []
    assert [round(m.outcome.score, 2) for m in found[NOTHING_THERE]] == [0.6, 0.55]


def test_a_face_of_no_class_has_no_wrong_label(sample, box):
    face = sample([("mask", box(0))], [("any", 0.9, box(0))], classes=("any",))
    assert not any(worst([face], 0.5).values())


def test_they_can_be_drawn(everything):
    for mistakes in worst([everything], 0.5).values():
        for mistake in mistakes:
            assert draw(mistake).startswith(b"\xff\xd8")
            assert mistake.text.startswith("a.png: ")
