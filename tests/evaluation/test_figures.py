"""Recall at a rate, average precision of any class, and intervals, by hand and by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.evaluation import average_precision
from facemask_zoo.evaluation.average_measures import measure
from facemask_zoo.evaluation.figures import (
    Settings,
    figures,
    recall_slices,
    resample,
    slices,
)
from facemask_zoo.evaluation.pooled import Pool, pool
from facemask_zoo.evaluation.samples import ANY


def of_any(samples):
    return [sample.of_any_label() for sample in samples]


def test_any_class_by_hand(sample, box):
    # Found as the wrong class, found as the right one, missed: hits .9 and .8 of three faces.
    faces = [("mask", box(0)), ("no_mask", box(1)), ("incorrect", box(2))]
    found = [("no_mask", 0.9, box(0)), ("no_mask", 0.8, box(1)), ("mask", 0.7, box(5))]
    result = average_precision([sample(faces, found)])[ANY]["all"]
    assert result.faces == 3
    assert result.ap50 == pytest.approx(67 / 101)
    assert figures([sample(faces, found)], Settings())["AP50 any"].value == pytest.approx(67 / 101)


def test_a_second_box_of_another_class_is_false(sample, box):
    faces = [("mask", box(0)), ("mask", box(1))]
    found = [("mask", 0.9, box(0)), ("no_mask", 0.8, box(0)), ("mask", 0.7, box(1))]
    result = figures([sample(faces, found)], Settings())["AP50 any"].value
    assert result == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_recall_at_a_rate_by_hand(sample, box):
    # Ten pictures, so that .1 allows one false box and .2 two.
    faces = [("mask", box(n)) for n in range(4)]
    found = [
        ("mask", 0.9, box(0)),
        ("mask", 0.8, box(5)),
        ("no_mask", 0.7, box(1)),
        ("mask", 0.6, box(6)),
        ("mask", 0.5, box(2)),
    ]
    samples = [sample(faces, found), *(sample() for _ in range(9))]
    loose = pool(of_any(samples), 0.3)
    assert loose.recall_at(0.05) == pytest.approx(1 / 4)
    assert loose.recall_at(0.1) == pytest.approx(2 / 4)
    assert loose.threshold_at(0.1) == pytest.approx(0.7)
    assert loose.recall_at(0.2) == pytest.approx(3 / 4)
    found = figures(samples, Settings(rates=(0.1, 0.2)))
    assert found["recall at 0.1"].value == pytest.approx(2 / 4)
    assert found["recall at 0.2"].value == pytest.approx(3 / 4)


def test_recall_counts_an_overlap_of_three_tenths(sample):
    # 40 x 40 against 40 x 13 inside it: an overlap of .325; 40 x 11: .275.
    face = [("mask", (0, 0, 40, 40))]
    close = sample(face, [("mask", 0.9, (0, 0, 40, 13))])
    apart = sample(face, [("mask", 0.9, (0, 0, 40, 11))])
    assert figures([close], Settings())["recall at 0.1"].value == 1
    assert figures([apart], Settings())["recall at 0.1"].value == 0


def test_equal_scores_pass_a_threshold_together(sample, box):
    found = [("mask", 0.9, box(0)), ("mask", 0.9, box(5))]
    samples = [sample([("mask", box(0))], found)]
    assert pool(of_any(samples)).recall_at(0.5) == 0
    assert pool(of_any(samples)).recall_at(1) == 1


def test_ignored_faces_are_neither_found_nor_false(sample, box):
    faces = [("mask", box(0)), ("no_mask", box(1), True)]
    found = [("mask", 0.9, box(1)), ("no_mask", 0.8, box(1, shift=3)), ("mask", 0.7, box(0))]
    result = figures([sample(faces, found)], Settings())
    assert result["AP50 any"].value == 1
    assert result["recall at 0.1"].value == 1


def test_recall_by_label_and_size_has_one_threshold(sample, box):
    # One picture and a rate of .1: nothing false, so the threshold is the .6 of the third box.
    faces = [("mask", box(0, 10)), ("no_mask", box(1, 20)), ("no_mask", box(2)), ("mask", box(3))]
    found = [
        ("mask", 0.9, box(0, 10)),
        ("mask", 0.8, box(1, 20)),
        ("no_mask", 0.6, box(2)),
        ("mask", 0.5, box(6)),
        ("mask", 0.4, box(3)),
    ]
    result = recall_slices([sample(faces, found)], 0.1)
    assert (result["mask"].found, result["mask"].faces) == (1, 2)
    assert (result["no_mask"].found, result["no_mask"].faces) == (2, 2)
    assert [result[size].value for size in ("<16", "16-32", "32-96")] == [1, 1, 0.5]
    assert result[">96"].value is None


def test_slices_by_collection_and_group(sample, box):
    right = ([("mask", box(0))], [("mask", 0.9, box(0))])
    wrong = ([("mask", box(0))], [("mask", 0.9, box(1))])
    samples = [
        sample(*right, source="a"),
        sample(*wrong, source="b"),
        sample(*wrong, source="c"),
    ]
    found = slices(samples, Settings(resamples=20, groups={"both": ("a", "b")}))
    assert list(found) == ["both", "a", "b", "c"]
    assert found["both"].pictures == 2
    assert found["both"].faces["mask"] == 2
    assert found["a"].figures["AP50 any"].value == 1
    assert found["b"].figures["AP50 any"].value == 0
    # Found, then false: precision 1/2 at best where the false box of the equal score comes first.
    assert found["both"].figures["recall at 0.1"].value == 0
    assert found["both"].figures["AP50 any"].low is not None
    assert found["a"].figures["AP50 any"].low is None


def test_groups_are_drawn_together():
    drawn = resample(["x", "", "x", "y", ""], 200)
    assert drawn.shape == (200, 5)
    assert (drawn[:, 0] == drawn[:, 2]).all()
    assert (drawn[:, [0, 1, 3, 4]].sum(axis=1) == 4).all()
    assert (drawn[:, 1] != drawn[:, 4]).any()
    assert (resample(["x", "", "x", "y", ""], 200) == drawn).all()
    assert drawn.mean() == pytest.approx(1, abs=0.1)


def test_the_interval_of_a_share_is_the_binomial_one(sample, box):
    # 40 of 100 faces are found, one per picture, nothing is false: recall is a mean of 100 draws.
    good = sample([("mask", box(0))], [("mask", 0.9, box(0))])
    missed = sample([("mask", box(0))], [])
    found = figures([good] * 40 + [missed] * 60, Settings(resamples=2000))["recall at 0.1"]
    spread = 1.96 * np.sqrt(0.4 * 0.6 / 100)
    assert found.value == pytest.approx(0.4)
    assert found.low == pytest.approx(0.4 - spread, abs=0.02)
    assert found.high == pytest.approx(0.4 + spread, abs=0.02)


@pytest.mark.parametrize(
    "wrong", [{"rates": (0.0,)}, {"rates": (float("nan"),)}, {"resamples": -1}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InvalidArgumentError):
        Settings(**wrong)


def test_nothing_at_all():
    found = figures([], Settings(resamples=3))
    assert {figure.value for figure in found.values()} == {None}


@st.composite
def pools(draw):
    pictures = draw(st.integers(1, 6))
    count = draw(st.integers(0, 25))
    scores = draw(
        st.lists(st.sampled_from(np.linspace(0.1, 0.9, 9)), min_size=count, max_size=count)
    )
    hits = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    where = draw(st.lists(st.integers(0, pictures - 1), min_size=count, max_size=count))
    extra = draw(st.lists(st.integers(0, pictures - 1), max_size=6))
    order = np.argsort(-np.array(scores), kind="stable")
    faces = [number for number, hit in zip(where, hits, strict=True) if hit] + extra
    return Pool(
        np.array(scores, np.float32)[order],
        np.array(hits, np.bool_)[order],
        np.array(where, np.int64)[order],
        np.ones(pictures, np.bool_),
        np.full(len(faces), -1.0),
        np.array([(number, 0) for number in faces], np.int64).reshape(-1, 2),
    )


def repeated(found, weights):
    """The same with every picture as often as its weight says, written out."""
    each = np.repeat(np.arange(len(found.hits)), weights[found.pictures])
    return Pool(
        found.scores[each],
        found.hits[each],
        np.zeros(len(each), np.int64),
        np.ones(int(weights.sum()), np.bool_),
        found.found_at,
        np.zeros((int(weights[found.faces[:, 0]].sum()), 2), np.int64),
    )


@settings(max_examples=200, deadline=None)
@given(pools(), st.sampled_from([0.1, 0.34, 0.5, 1.0, 3.0]))
def test_recall_at_a_rate_is_the_best_of_all_thresholds(found, rate):
    if not len(found.faces):
        assert found.recall_at(rate) is None
        return
    allowed = rate * len(found.counting)
    best = 0.0
    for threshold in [*found.scores, 2.0]:
        through = found.scores >= threshold
        if (through & ~found.hits).sum() <= allowed + 1e-9:
            best = max(best, (through & found.hits).sum() / len(found.faces))
    assert found.recall_at(rate) == pytest.approx(best)


@settings(max_examples=200, deadline=None)
@given(pools(), st.data())
def test_weights_count_as_if_pictures_were_repeated(found, data):
    count = len(found.counting)
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    written_out = repeated(found, weights)
    assert found.average_precision(weights) == pytest.approx(written_out.average_precision())
    assert found.recall_at(0.5, weights) == pytest.approx(written_out.recall_at(0.5))
    ones = np.ones(count, np.int64)
    assert found.average_precision(ones) == found.average_precision()
    assert found.recall_at(0.5, ones) == found.recall_at(0.5)


@pytest.mark.parametrize("seed", range(3))
def test_own_figures_equal_those_of_coco(sample, seed):
    random = np.random.default_rng(seed)
    samples = []
    for _ in range(12):  # more than 100 detections in a picture, of which COCO counts 100
        corners = random.uniform(0, 900, (60, 2))
        boxes = np.concatenate([corners, corners + random.uniform(20, 90, (60, 2))], axis=1)
        labels = ["mask", "no_mask", "incorrect"]
        faces = [(random.choice(labels), box, bool(random.random() < 0.1)) for box in boxes]
        found = [
            (random.choice(labels), float(random.uniform(0.01, 1)), box + random.uniform(-9, 9, 4))
            for box in [*boxes, *boxes, *boxes]
        ]
        samples.append(sample(faces, found, three_class=bool(random.random() < 0.5)))
    measured = measure(samples, 0.5)
    for label in ("mask", "no_mask", "incorrect", "mean", ANY):
        own = measured.figures[f"AP50 {label}"].value
        assert own == pytest.approx(measured.averages[label]["all"].ap50, abs=1e-9)
        assert 0.05 < own < 0.95
