import pytest

from facemask_zoo.evaluation import confusion, curves, threshold_table
from facemask_zoo.evaluation.confusion import BACKGROUND
from facemask_zoo.evaluation.curves import THRESHOLDS, best_threshold
from facemask_zoo.evaluation.mistakes import worst


@pytest.fixture
def scene(sample, box):
    faces = [
        ("mask", box(0)),
        ("mask", box(1)),
        ("no_mask", box(2)),
        ("incorrect", box(3)),
        ("no_mask", box(4, 80)),
        ("mask", box(5), True),
    ]
    found = [
        ("mask", 0.9, box(0, shift=3)),
        ("no_mask", 0.8, box(1)),
        ("no_mask", 0.7, box(2)),
        ("mask", 0.6, box(3)),
        ("mask", 0.55, box(20)),
        ("mask", 0.95, box(5)),
        ("no_mask", 0.3, box(4, 80)),
    ]
    return [sample(faces, found), sample([("mask", box(0, 30))], [])]


def test_confusion(scene):
    matrix = confusion(scene, 0.5)
    assert matrix.labels == ("mask", "no_mask", "incorrect", BACKGROUND)
    assert matrix.counts == ((1, 1, 0, 1), (0, 1, 0, 1), (1, 0, 0, 0), (1, 0, 0, 0))
    assert matrix.of("incorrect", "mask") == 1
    assert confusion(scene, 0.2).of("no_mask", "no_mask") == 2


def test_a_threshold_is_to_be_exceeded(sample, box):
    samples = [sample([("mask", box(0))], [("mask", 0.5, box(0))])]
    assert confusion(samples, 0.5).of("mask", BACKGROUND) == 1
    assert curves(samples)["mask"].at(0.5).true_positives == 0
    assert curves(samples)["mask"].at(0.49).true_positives == 1


def test_threshold_table(scene):
    table = threshold_table(curves(scene))
    assert [row.threshold for row in table["mask"]] == list(THRESHOLDS)
    at = {row.threshold: row for row in table["mask"]}
    assert (at[0.5].true_positives, at[0.5].false_positives, at[0.5].false_negatives) == (1, 2, 2)
    assert at[0.5].precision == pytest.approx(1 / 3)
    assert at[0.5].recall == pytest.approx(1 / 3)
    assert at[0.5].f1 == pytest.approx(1 / 3)
    assert at[0.9].precision is None
    assert at[0.9].recall == 0
    assert best_threshold(table["mask"]).threshold == 0.6
    assert best_threshold(table["no_mask"]).threshold == 0.05


def test_curve_points(scene):
    curve = curves(scene)["no_mask"]
    assert curve.scores.tolist() == pytest.approx([0.8, 0.7, 0.3])
    assert curve.hits.tolist() == [False, True, True]
    assert curve.precision.tolist() == pytest.approx([0, 1 / 2, 2 / 3])
    assert curve.recall.tolist() == [0, 0.5, 1]


def test_the_worst_mistakes_come_first(scene):
    found = worst(scene, 0.5)
    assert [m.text for m in found["Wrong label"]] == [
        "a.png: mask, no_mask 0.80",
        "a.png: incorrect, mask 0.60",
    ]
    assert [m.text for m in found["Nothing there"]] == ["a.png: nothing there, mask 0.55"]
    assert [m.outcome.box[2] - m.outcome.box[0] for m in found["Missed"]] == [80, 30]
    assert len(worst(scene, 0.5, count=1)["Missed"]) == 1
