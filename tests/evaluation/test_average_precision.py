import numpy as np
import pytest

from facemask_zoo.evaluation import average_precision, curves
from facemask_zoo.evaluation.average_precision import MEAN, SIZES


def test_a_perfect_detector(sample, box):
    faces = [("mask", box(0)), ("no_mask", box(1)), ("incorrect", box(2))]
    found = [(label, 0.9, where) for label, where in faces]
    result = average_precision([sample(faces, found)])
    for label in ("mask", "no_mask", "incorrect", MEAN):
        assert result[label]["all"].ap50 == pytest.approx(1)
        assert result[label]["all"].ap == pytest.approx(1)
        assert result[label]["all"].recall50 == pytest.approx(1)
    assert result[MEAN]["all"].faces == 2


def test_a_value_worked_out_by_hand(sample, box):
    # Hit, miss, hit of three faces: precision 1 up to recall 1/3, 2/3 up to recall 2/3, then 0.
    # Of the 101 recall levels 34 (0 to .33) see precision 1, and 33 (.34 to .66) see 2/3.
    faces = [("mask", box(n)) for n in (0, 1, 2)]
    found = [("mask", 0.9, box(0)), ("mask", 0.8, box(5)), ("mask", 0.7, box(1))]
    result = average_precision([sample(faces, found)])["mask"]["all"]
    assert result.ap50 == pytest.approx((34 * 1 + 33 * 2 / 3) / 101, abs=1e-9)
    assert result.recall50 == pytest.approx(2 / 3)


def test_looser_boxes_count_at_lower_overlaps_alone(sample):
    # 40 x 40 against 40 x 30 inside it: an overlap of .75 passes .50, .55, ... .75: 6 of 10.
    faces, found = [("mask", (0, 0, 40, 40))], [("mask", 0.9, (0, 0, 40, 30))]
    result = average_precision([sample(faces, found)])["mask"]["all"]
    assert result.ap50 == pytest.approx(1)
    assert result.ap == pytest.approx(0.6)


def test_duplicates_and_wrong_labels_are_false(sample, box):
    faces = [("mask", box(0)), ("mask", box(1))]
    found = [("mask", 0.9, box(0)), ("mask", 0.8, box(0, shift=2)), ("mask", 0.7, box(1))]
    duplicate = average_precision([sample(faces, found)])["mask"]["all"]
    assert duplicate.ap50 == pytest.approx((51 * 1 + 50 * 2 / 3) / 101, abs=1e-9)
    wrong = average_precision([sample(faces[:1], [("no_mask", 0.9, box(0))])])
    assert wrong["mask"]["all"].ap50 == 0
    assert wrong["no_mask"]["all"].ap50 is None
    assert wrong[MEAN]["all"].ap50 is None


def test_ignored_faces_neither_help_nor_harm(sample, box):
    faces = [("mask", box(0)), ("mask", box(1), True)]
    found = [("mask", 0.9, box(1)), ("mask", 0.8, box(1, shift=1)), ("mask", 0.7, box(0))]
    result = average_precision([sample(faces, found)])["mask"]["all"]
    assert result.ap50 == pytest.approx(1)
    assert result.faces == 1


def test_slices_by_side(sample, box):
    sides = {"<16": 8, "16-32": 16, "32-96": 32, ">96": 97}
    faces = [("mask", box(n, side)) for n, side in enumerate(sides.values())]
    found = [("mask", 0.9, box(1, 16)), ("mask", 0.8, box(3, 97)), ("mask", 0.95, box(7, 97))]
    result = average_precision([sample(faces, found)])["mask"]
    counts = {"all": 4, "<16": 1, "16-32": 1, "32-96": 1, ">96": 1, "<32": 2}
    assert {name: result[name].faces for name in SIZES} == counts
    assert [result[name].recall50 for name in sides] == [0, 1, 0, 1]
    assert result["16-32"].ap50 == pytest.approx(1)
    assert result[">96"].ap50 == pytest.approx(0.5)
    assert result["<32"].ap50 == pytest.approx(51 / 101)


def test_incorrect_is_measured_only_where_it_was_told_apart(sample, box):
    good = sample([("incorrect", box(0))], [("incorrect", 0.5, box(0))], three_class=True)
    blind = sample([("mask", box(0))], [("incorrect", 0.9, box(0))], three_class=False)
    assert average_precision([good, blind])["incorrect"]["all"].ap50 == pytest.approx(1)
    aware = sample([("mask", box(0))], [("incorrect", 0.9, box(0))], three_class=True)
    assert average_precision([good, aware])["incorrect"]["all"].ap50 == pytest.approx(0.5)


def test_a_label_that_the_model_does_not_know_is_not_measured(sample, box):
    faces = [("mask", box(0)), ("incorrect", box(1))]
    two = sample(faces, [("mask", 0.9, box(0))], classes=("mask", "no_mask"))
    assert average_precision([two])["incorrect"]["all"].ap50 is None
    assert list(curves([two])) == ["mask", "any"]


@pytest.mark.parametrize("found", [[], [("mask", 0.9, (0, 0, 5, 5))]])
def test_pictures_without_faces_or_detections(sample, found):
    result = average_precision([sample([], found), sample([("mask", (0, 0, 50, 50))], [])])
    assert result["mask"]["all"].ap50 == 0
    assert average_precision([sample([], found)])["mask"]["all"].ap50 is None
    assert average_precision([])["mask"]["all"].ap50 is None


def random_samples(sample, seed, count=30):
    random = np.random.default_rng(seed)
    samples = []
    for _ in range(count):
        corners = random.uniform(0, 900, (random.integers(0, 6), 2))
        sides = random.uniform(25, 100, (len(corners), 2))
        boxes = np.concatenate([corners, corners + sides], axis=1)
        labels = random.choice(["mask", "no_mask", "incorrect"], len(boxes))
        faces = [
            (label, box, bool(random.random() < 0.2))
            for label, box in zip(labels, boxes, strict=True)
        ]
        found = [
            (random.choice(["mask", "no_mask"]), float(random.uniform(0.01, 1)), box + jitter)
            for box in [*boxes, *boxes]
            for jitter in [random.uniform(-9, 9, 4)]
        ]
        samples.append(sample(faces, found))
    return samples


@pytest.mark.parametrize("seed", range(3))
def test_the_curves_give_the_same_average_as_coco(sample, seed):
    samples = random_samples(sample, seed)
    averages = average_precision(samples)
    for label, curve in curves(samples).items():
        best = np.maximum.accumulate(curve.precision[::-1])[::-1]
        index = np.searchsorted(curve.recall, np.linspace(0, 1, 101), side="left")
        interpolated = np.append(best, 0)[np.minimum(index, len(best))]
        assert interpolated.mean() == pytest.approx(averages[label]["all"].ap50, abs=1e-9)
        assert curve.faces == averages[label]["all"].faces
