"""Polygons, and events when somebody stays in one."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tracking.scenes import RATE, seen, tracked

from facemask_zoo import FaceMaskZooError, InvalidArgumentError, UnknownNameError
from facemask_zoo.tracking import StayRule, Zone

DOOR = Zone("door", ((100, 50), (200, 50), (200, 200), (100, 200)))
INSIDE, OUTSIDE = (150.0, 100.0), (250.0, 100.0)


def test_zones_are_read_from_text():
    assert Zone.parse("door=100,50,200,50,200,200,100,200") == DOOR
    assert Zone.parse(" at the gate = 1, 2 , 30.5,4, 5,60").name == "at the gate"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "NAME=X,Y"),
        ("door", "NAME=X,Y"),
        ("door=", "NAME=X,Y"),
        ("door=1,2,3", "NAME=X,Y"),
        ("door=a,b,c,d,e,f", "NAME=X,Y"),
        ("=1,2,30,4,5,60", "a name"),
        ("a\nb=1,2,30,4,5,60", "a name"),
        ("door=1,2,3,4", "3 to 1000 corners, but got 2"),
        ("door=1,2,30,4,5,nan", "expected a number"),
        ("door=1,2,30,4,5,inf", "expected a number"),
        ("door=1,2,30,4,5,1e99", "expected a number"),
        ("door=0,0,10,10,10,0,0,10", "cross itself"),
        ("door=0,0,10,10,20,20", "cross itself"),
        ("door=5,5,5,5,5,5", "cross itself"),
        ("door=" + ",".join(["1,2"] * 1001), "3 to 1000"),
    ],
)
def test_polygons_that_make_no_sense_are_refused(text, message):
    with pytest.raises(InvalidArgumentError, match=message):
        Zone.parse(text)


def test_zones_lie_in_the_picture():
    DOOR.check_inside((200, 200))
    with pytest.raises(InvalidArgumentError, match=r"\(200, 50\) lies outside.*150 x 300"):
        DOOR.check_inside((150, 300))
    with pytest.raises(InvalidArgumentError, match="outside"):
        Zone.parse("a=-1,0,50,0,50,50").check_inside((100, 100))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=3, max_size=7))
def test_a_face_is_in_a_zone_if_its_middle_is(points):
    """Compared with the even-odd rule, on middles between the whole numbers of the corners.

    Those that single precision may put on the other side of an edge are left out.
    """
    try:
        zone = Zone("a", tuple(points))
    except InvalidArgumentError:
        assume(False)
    grid = np.mgrid[-1:61:7, -1:61:7].reshape(2, -1).T + np.array([0.37, 0.61])
    expected, clear = [], []
    for x, y in grid:
        beside = [
            x1 + (y - y1) * (x2 - x1) / (y2 - y1) - x
            for (x1, y1), (x2, y2) in zip(points, [*points[1:], points[0]], strict=True)
            if (y1 > y) != (y2 > y)
        ]
        expected.append(sum(distance > 0 for distance in beside) % 2 == 1)
        clear.append(all(abs(distance) > 1e-3 for distance in beside))
    boxes = np.concatenate([grid - 3, grid + 3], axis=1).astype(np.float32)
    assert zone.contains(boxes)[clear].tolist() == np.array(expected)[clear].tolist()


def events(rule, seconds, faces):
    """What the rule says about frames whose faces are a function of time."""
    return [
        event
        for index in range(round(seconds * RATE) + 1)
        for event in rule.update(tracked(index / RATE, faces(index / RATE)))
    ]


def test_one_event_for_each_stay():
    found = events(StayRule(2, zones=[DOOR]), 6, lambda _: [(7, INSIDE, "no_mask")])
    (event,) = found
    assert (event.zone, event.track_id, event.label) == ("door", 7, "no_mask")
    assert (event.since, event.time, event.frame) == (0, 2, 24)
    value = json.loads(event.to_json())
    assert value["seconds"] == 2
    assert value["source"] == "gate.mp4"
    assert value["box"] == [130, 75, 170, 125]
    assert "clock" not in value


def test_only_bare_faces_inside_and_for_long_enough_count():
    def faces(time):
        leaving = INSIDE if time < 1.5 else OUTSIDE
        masking = "no_mask" if time < 1.5 else "mask"
        return [
            (1, OUTSIDE, "no_mask"),
            (2, INSIDE, "mask"),
            (3, leaving, "no_mask"),
            (4, (160, 150), masking),
            (5, (140, 80), "no_mask"),
        ]

    found = events(StayRule(2, zones=[DOOR]), 5, faces)
    assert [event.track_id for event in found] == [5]


def test_gaps_are_bridged_and_a_new_stay_is_told_anew():
    def faces(time):
        hidden = 1.0 < time < 1.5 or 4.0 < time < 6.0
        return [] if hidden else [(1, INSIDE, "no_mask")]

    found = events(StayRule(2, zones=[DOOR]), 9, faces)
    assert [event.since for event in found] == [0, 6]
    assert [event.time for event in found] == [2, 8]
    assert len({event.id for event in found}) == 2


def test_without_zones_the_picture_counts_and_with_several_each():
    (event,) = events(StayRule(1), 2, lambda _: [(1, OUTSIDE, "no_mask")])
    assert event.zone is None
    wide = Zone.parse("wide=0,0,400,0,400,200,0,200")
    found = events(StayRule(1, zones=[DOOR, wide]), 2, lambda _: [(1, INSIDE, "no_mask")])
    assert [event.zone for event in found] == ["door", "wide"]
    (event,) = events(StayRule(0, label="mask"), 1, lambda _: [(1, OUTSIDE, "mask")])
    assert event.time == 0


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1, "5", None])
def test_seconds_that_make_no_sense_are_refused(seconds):
    with pytest.raises(InvalidArgumentError, match="seconds"):
        StayRule(seconds)


def test_what_does_not_fit_is_refused_at_the_first_frame():
    frame = tracked(0, [(1, INSIDE, "no_mask")])
    with pytest.raises(UnknownNameError, match="Did you mean 'no_mask'"):
        StayRule(1, label="no-mask").update(frame)
    with pytest.raises(InvalidArgumentError, match="outside the picture"):
        StayRule(1, zones=[Zone.parse("a=0,0,900,0,900,100")]).update(frame)
    with pytest.raises(InvalidArgumentError, match=r"Tracker\.update"):
        StayRule(1).update(seen(0, [(INSIDE, "no_mask")]))
    with pytest.raises(InvalidArgumentError, match="frame of a video"):
        StayRule(1).update(dataclasses.replace(frame, time=None))
    with pytest.raises(FaceMaskZooError, match="given twice"):
        StayRule(1, zones=[DOOR, DOOR])
