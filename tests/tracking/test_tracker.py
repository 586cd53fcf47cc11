"""One number and one steady label per person, on videos whose motion is known."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tracking.scenes import RATE, Actor, film, middle, seen, walk

from facemask_zoo import Detections, InvalidArgumentError
from facemask_zoo.tracking import Tracker

WALKERS = [
    Actor(walk((10, 20), (60, 0))),
    Actor(walk((350, 130), (-50, 5)), masked=lambda _: True),
]


def ids_of_actors(actors, results) -> list[list[int]]:
    """The numbers that each actor had, found by where they were."""
    numbers = [[] for _ in actors]
    for result in results:
        middles = (result.boxes[:, :2] + result.boxes[:, 2:]) / 2
        for actor, own in zip(actors, numbers, strict=True):
            place = actor.where(result.time)
            if place is None or not len(result):
                continue
            distances = np.linalg.norm(middles - middle(place), axis=1)
            if distances.min() < 20:
                own.append(int(result.attributes["track_id"][distances.argmin()]))
    return numbers


def test_everybody_keeps_their_number_and_label(detector, tmp_path):
    path = film(tmp_path / "gate.mp4", WALKERS, 3)
    results = list(Tracker().follow(detector.stream(path)))
    assert len(results) == 36
    first, second = ids_of_actors(WALKERS, results)
    assert len(first) > 30
    assert len(second) > 30
    assert (len(set(first)), len(set(second))) == (1, 1)
    assert {*first, *second} == {1, 2}
    labels = {}
    for result in results:
        for number, label in zip(result.attributes["track_id"], result.labels, strict=True):
            labels.setdefault(int(number), set()).add(label)
    assert labels == {first[0]: {"no_mask"}, second[0]: {"mask"}}


@pytest.mark.parametrize(("away", "people"), [((2.0, 2.6), 1), ((2.0, 4.5), 2)])
def test_who_is_hidden_for_a_moment_stays_the_same(away, people):
    actor = Actor(walk((60, 60), (20, 0), away=away))
    tracker, numbers = Tracker(), set()
    for index in range(72):
        place = actor.where(index / RATE)
        result = tracker.update(seen(index / RATE, [(place, "mask")] if place else []))
        numbers.update(result.attributes["track_id"].tolist())
    assert numbers == set(range(1, people + 1))


def test_who_takes_the_mask_off_stays_the_same(detector, tmp_path):
    actors = [Actor(walk((60, 60), (20, 0)), masked=lambda time: time < 2)]
    path = film(tmp_path / "gate.mp4", actors, 4)
    results = [result for result in Tracker().follow(detector.stream(path)) if len(result)]
    assert {int(n) for result in results for n in result.attributes["track_id"]} == {1}
    changes = [b.time for a, b in itertools.pairwise(results) if a.labels != b.labels]
    assert len(changes) == 1
    assert 2 <= changes[0] <= 3
    assert (results[0].labels, results[-1].labels) == (["mask"], ["no_mask"])


def test_people_who_pass_each_other_are_not_exchanged():
    tracker = Tracker()
    ids = []
    for index in range(40):
        faces = [((40 + 8 * index, 100), "mask"), ((352 - 8 * index, 112), "no_mask")]
        if index % 7 == 3:  # one is hidden now and then
            faces = faces[:1]
        result = tracker.update(seen(index / 12, faces))
        ids.append(dict(zip(result.labels, result.attributes["track_id"].tolist(), strict=True)))
    assert ids[-1] == ids[2] == {"mask": 1, "no_mask": 2}


def test_a_label_that_flickers_is_steady_and_the_one_seen_is_kept():
    tracker = Tracker(min_frames=1)
    results = [
        tracker.update(seen(i / 12, [((100, 100), "mask" if i % 4 == 3 else "no_mask")]))
        for i in range(60)
    ]
    assert {label for result in results for label in result.labels} == {"no_mask"}
    raw = [int(result.attributes["seen_class_id"][0]) for result in results]
    assert raw[:4] == [1, 1, 1, 0]


def test_wrong_detections_make_nobody():
    tracker = Tracker()
    for index in range(30):
        faces = [((100, 100), "mask")]
        if index % 10 == 5:
            faces.append(((300, 200), "mask"))
        result = tracker.update(seen(index / 12, faces))
        assert set(result.attributes["track_id"].tolist()) <= {1}


def test_weak_faces_go_on_but_do_not_begin():
    tracker = Tracker(min_frames=1)
    assert len(tracker.update(seen(0, [((100, 100), "mask")], score=0.3))) == 0
    assert len(tracker.update(seen(0.1, [((100, 100), "mask")], score=0.8))) == 1
    assert len(tracker.update(seen(0.2, [((101, 100), "mask")], score=0.3))) == 1


def test_memory_stays_flat():
    tracker = Tracker(min_frames=1)
    for index in range(300):
        tracker.update(seen(index * 2.0, [((100 + 3 * (index % 90), 100), "mask")]))
    assert len(tracker._people) < 5
    assert tracker._count == 300


def test_other_attributes_and_supervision_get_the_numbers():
    result = seen(0, [((100, 100), "mask")])
    result = dataclasses.replace(result, attributes={"wear": np.array([7])})
    after = Tracker(min_frames=1).update(result)
    assert after.attributes["wear"].tolist() == [7]
    assert after.to_dict()["detections"][0]["track_id"] == 1
    assert after.to_columns()["track_id"] == [1]


@pytest.mark.parametrize(
    "options",
    [
        {"start_score": 1.5},
        {"start_score": float("nan")},
        {"min_frames": 0},
        {"max_gap": float("nan")},
        {"max_gap": float("inf")},
        {"max_gap": -1},
        {"memory": 0},
        {"memory": "1"},
        {"memory": True},
    ],
)
def test_numbers_that_make_no_sense_are_refused(options):
    (name,) = options
    with pytest.raises(InvalidArgumentError, match=name):
        Tracker(**options)


def test_pictures_and_other_videos_are_refused():
    result = seen(0, [((100, 100), "mask")])
    tracker = Tracker()
    with pytest.raises(InvalidArgumentError, match="frame of a video"):
        tracker.update(dataclasses.replace(result, time=None))
    tracker.update(result)
    with pytest.raises(InvalidArgumentError, match="a tracker for each video"):
        tracker.update(dataclasses.replace(result, source="other.mp4"))
    for time in (float("nan"), float("inf"), -1.0, 1e300):
        with pytest.raises(InvalidArgumentError, match="time"):
            tracker.update(dataclasses.replace(result, time=time))


NUMBERS = st.floats(-1e4, 1e4, width=32) | st.sampled_from([0, np.nan, np.inf, -np.inf, 3e38])
FACES = st.lists(st.tuples(*[NUMBERS] * 4, st.floats(0, 1), st.integers(0, 2)), max_size=6)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e9), FACES), max_size=12))
def test_whatever_the_boxes_numbers_are_sound(frames):
    tracker = Tracker(min_frames=1, start_score=0.2)
    for time, faces in frames:
        boxes = np.array([face[:4] for face in faces], np.float32).reshape(-1, 4)
        scores, classes = [f[4] for f in faces], [f[5] for f in faces]
        size, names = (100, 100), ("mask", "no_mask", "incorrect")
        result = tracker.update(
            Detections(boxes, scores, classes, names, size, "a.mp4", None, time)
        )
        numbers = result.attributes["track_id"].tolist()
        assert len(set(numbers)) == len(numbers) <= len(faces)
        assert all(number >= 1 for number in numbers)
