import numpy as np
import pytest

from facemask_zoo.evaluation import dataroots
from facemask_zoo.evaluation.dataroots import Dataroots, Verdict, inclusive_iou


def test_overlaps_count_pixels_inclusively():
    # Ten by ten pixels, and the five columns on their right half: 50 / 100.
    overlap = inclusive_iou(np.array([[0, 0, 9, 9]]), np.array([[5, 0, 9, 9], [0, 0, 9, 9]]))
    assert overlap.tolist() == [[0.5, 1.0]]


def test_an_overlap_of_one_half_is_not_enough(sample):
    at_half = sample([("mask", (0, 0, 9, 9))], [("mask", 0.9, (5, 0, 9, 9))])
    above = sample([("mask", (0, 0, 9, 9))], [("mask", 0.9, (4, 0, 9, 9))])
    assert dataroots([at_half], 0.5).masked.undetected == 1
    assert dataroots([at_half], 0.5).spurious_masked == 1
    assert dataroots([above], 0.5).masked.correct == 1


def test_of_several_detections_the_lowest_masked_score_speaks(sample, box):
    found = [("mask", 0.99, box(0)), ("no_mask", 0.6, box(0, shift=2))]
    result = dataroots([sample([("mask", box(0))], found)], 0.5)
    assert result.verdicts[0].score == pytest.approx(0.4)
    assert result.masked.wrong == 1
    assert result.duplicates == 1
    assert result.spurious_masked + result.spurious_unmasked == 0
    assert result.precision == 1
    assert result.detector_precision == pytest.approx(0.5)


def test_a_detection_may_belong_to_several_faces(sample):
    faces = [("mask", (0, 0, 40, 40)), ("no_mask", (4, 0, 44, 40))]
    result = dataroots([sample(faces, [("mask", 0.9, (2, 0, 42, 40))])], 0.5)
    assert result.detected == 2
    assert (result.masked.correct, result.unmasked.wrong) == (1, 1)
    assert result.duplicates == 0


def test_pictures_without_detections_are_counted(sample, box):
    seen = sample([("mask", box(0)), ("no_mask", box(1))], [("mask", 0.9, box(0))])
    unseen = sample([("mask", box(0)), ("no_mask", box(1))], [])
    result = dataroots([seen, unseen], 0.5)
    assert (result.masked.correct, result.masked.undetected) == (1, 1)
    assert result.unmasked.undetected == 2
    assert result.recall == 0.25
    assert result.true_negative_rate == 0
    assert result.false_negative_rate == 0


def test_undetected_faces_enter_the_roc_as_surely_masked(sample, box):
    faces = [("mask", box(0)), ("no_mask", box(1)), ("no_mask", box(2))]
    found = [("mask", 0.9, box(0)), ("no_mask", 0.8, box(1))]
    result = dataroots([sample(faces, found)], 0.5)
    assert result.roc[:, 2].tolist() == pytest.approx([np.inf, 1, 0.9, 0.2])
    assert result.roc[:, 0].tolist() == [0, 0.5, 0.5, 1]
    assert result.roc[:, 1].tolist() == [0, 0, 1, 1]
    assert result.auc == pytest.approx(0.5)


def test_equal_scores_share_their_pairs():
    verdicts = [Verdict(True, 0.7), Verdict(False, 0.7), Verdict(True, 0.9), Verdict(False, 0.1)]
    # Of the four pairs three are in order and one is even.
    assert Dataroots(tuple(verdicts), 0, 0, 0).auc == pytest.approx(3.5 / 4)


def test_without_both_kinds_there_is_no_roc():
    result = Dataroots((Verdict(True, 0.7),), 0, 0, 0)
    assert result.auc is None
    assert result.true_negative_rate is None
    assert result.to_dict()["roc"] == []


def test_spurious_detections_are_told_apart(sample, box):
    found = [("mask", 0.9, box(5)), ("no_mask", 0.9, box(6)), ("incorrect", 0.8, box(7))]
    result = dataroots([sample([("mask", box(0))], found)], 0.5)
    assert (result.spurious_masked, result.spurious_unmasked) == (1, 2)
    assert result.precision == 0
    assert result.auc is None


def test_incorrect_counts_as_not_masked(sample, box):
    faces = [("incorrect", box(0)), ("mask", box(1)), ("no_mask", box(2))]
    found = [("incorrect", 0.8, box(n)) for n in range(3)]
    result = dataroots([sample(faces, found)], 0.5)
    assert result.unmasked.correct == 2
    assert result.masked.wrong == 1
    assert [verdict.score for verdict in result.verdicts] == pytest.approx([0.2] * 3)


def test_ignored_faces_and_their_detections_are_left_out(sample, box):
    faces = [("mask", box(0), True), ("mask", box(1))]
    result = dataroots([sample(faces, [("mask", 0.9, box(n)) for n in (0, 1)])], 0.5)
    assert result.masked.total == 1
    assert result.spurious_masked == 0


def test_the_published_confusion_of_the_test_set():
    masked = [Verdict(True, 0.9)] * 105 + [Verdict(True, 0.2)] * 5 + [Verdict(True, None)] * 5
    bare = [Verdict(False, 0.1)] * 118 + [Verdict(False, 0.8)] * 9 + [Verdict(False, None)] * 9
    result = Dataroots((*masked, *bare), spurious_masked=4, spurious_unmasked=15, duplicates=0)
    assert result.true_negative_rate == pytest.approx(118 / 136)
    assert result.false_negative_rate == pytest.approx(5 / 115)
    assert result.accuracy_on_detected == pytest.approx(223 / 237)
    assert result.recall == pytest.approx(237 / 251)
    assert result.precision == pytest.approx(237 / 256)


def test_the_same_confusion_from_boxes(sample, box):
    outcomes = [("mask", "mask")] * 105 + [("mask", "no_mask")] * 5 + [("mask", None)] * 5
    outcomes += [("no_mask", "no_mask")] * 118 + [("no_mask", "mask")] * 9 + [("no_mask", None)] * 9
    samples = [
        sample([(truth, box(0))], [(label, 0.9, box(0, shift=1))] if label else [])
        for truth, label in outcomes
    ]
    result = dataroots(samples, 0.5)
    assert result.true_negative_rate == pytest.approx(118 / 136)
    assert result.false_negative_rate == pytest.approx(5 / 115)


def test_large_faces_are_counted_on_their_own(sample):
    faces = [("mask", (0, 0, 100, 40)), ("mask", (200, 0, 299, 400))]
    result = dataroots([sample(faces, [("mask", 0.9, (0, 0, 100, 40))])], 0.5)
    assert result.recall == 0.5
    assert result.recall_large == 1
