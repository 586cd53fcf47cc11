"""People and masked time, against what is known of the scene."""

from __future__ import annotations

import csv

import needs
import numpy as np
import pytest
from tracking.scenes import RATE, tracked

from facemask_zoo import ImageError, InvalidArgumentError, OutputError
from facemask_zoo.files import Sources
from facemask_zoo.images import load_image
from facemask_zoo.tracking import Compliance


def report(seconds: float = 20.0, rate: int = RATE, **options) -> Compliance:
    """One is always masked, one for the first half, one comes for the last quarter."""
    counted = Compliance(**{"interval": 5.0, **options})
    for index in range(round(seconds * rate) + 1):
        time = index / rate
        faces = [(1, (100, 100), "mask")]
        faces.append((2, (200, 100), "mask" if time <= seconds / 2 else "no_mask"))
        if time > seconds * 3 / 4:
            faces.append((3, (300, 100), "no_mask"))
        counted.update(tracked(time, faces))
    return counted


@pytest.mark.parametrize("rate", [2, 12, 60])
def test_shares_are_of_time_whatever_the_frame_rate(rate):
    counted = report(rate=rate)
    assert [person.track_id for person in counted.people] == [1, 2, 3]
    shares = [person.share_masked for person in counted.people]
    assert shares == pytest.approx([1, 0.5, 0], abs=0.03)
    assert counted.people[1].total == pytest.approx(20, abs=0.01)
    assert counted.people[2].first == pytest.approx(15, abs=0.51)
    assert counted.share_masked == pytest.approx(30 / 45, abs=0.01)
    whole = counted.intervals[:4]
    assert [part.people for part in whole] == [2, 2, 2, 3]
    assert [part.share_masked for part in whole] == pytest.approx([1, 1, 0.5, 1 / 3], abs=0.11)


def test_a_gap_in_the_video_counts_for_a_second_at_most():
    counted = Compliance()
    for time in (0, 0.5, 100, 100.5):
        counted.update(tracked(time, [(1, (100, 100), "mask")]))
    assert counted.people[0].total == 2
    assert [(part.start, part.end) for part in counted.intervals] == [(0, 60), (60, 120)]


def test_nobody_has_no_share(tmp_path):
    counted = Compliance()
    assert counted.share_masked is None
    counted.write_people(tmp_path / "nobody.csv")
    counted.write_plot(tmp_path / "nobody.png")
    counted.update(tracked(0, []))
    counted.update(tracked(1, []))
    counted.write_intervals(tmp_path / "empty.csv")
    (row,) = csv.DictReader((tmp_path / "empty.csv").open())
    assert (row["people"], row["share_masked"]) == ("0", "")


def test_tables_hold_what_was_counted(tmp_path):
    counted = report()
    counted.write_intervals(tmp_path / "time.csv")
    counted.write_people(tmp_path / "people.csv")
    parts = list(csv.DictReader((tmp_path / "time.csv").open(newline="")))
    assert list(parts[0]) == [
        *("start", "end", "people"),
        *("seconds_mask", "seconds_no_mask", "seconds_incorrect", "share_masked"),
    ]
    assert [float(part["start"]) for part in parts] == [0, 5, 10, 15, 20]
    people = list(csv.DictReader((tmp_path / "people.csv").open(newline="")))
    assert [person["track_id"] for person in people] == ["1", "2", "3"]
    assert float(people[1]["share_masked"]) == pytest.approx(0.5, abs=0.01)
    seconds = sum(float(part["seconds_mask"]) for part in parts)
    total = sum(float(person["seconds_mask"]) for person in people)
    assert seconds == pytest.approx(total, abs=0.01)


def test_tables_are_what_pandas_reads(tmp_path):
    pandas = needs.module("pandas")
    report().write_intervals(tmp_path / "time.csv")
    table = pandas.read_csv(tmp_path / "time.csv")
    assert table["share_masked"].between(0, 1).all()


def test_the_plot_shows_the_shares(tmp_path):
    counted = report()
    for name in ("plot.png", "plot.svg", "plot.pdf"):
        counted.write_plot(tmp_path / name)
    pixels = load_image(tmp_path / "plot.png").astype(int)
    blue = (np.abs(pixels - (0, 114, 178)) < 30).all(axis=2)
    columns = np.flatnonzero(blue.any(axis=0))
    first, last = blue[:, columns[10]].sum(), blue[:, columns[len(columns) // 2 + 20]].sum()
    assert last / first == pytest.approx(0.5, abs=0.1)
    with pytest.raises(ImageError, match=r"\.png"):
        counted.write_plot(tmp_path / "plot.xyz")


def test_nothing_is_overwritten_unasked(tmp_path):
    counted = report(2)
    for name, write in (
        ("a.csv", counted.write_intervals),
        ("b.csv", counted.write_people),
        ("c.png", counted.write_plot),
    ):
        path = tmp_path / name
        path.write_text("mine")
        with pytest.raises(OutputError):
            write(path)
        with pytest.raises(OutputError, match="source"):
            write(path, sources=Sources([path]), overwrite=True)
        assert path.read_text() == "mine"
        write(path, overwrite=True)
        assert path.read_bytes() != b"mine"


@pytest.mark.parametrize(
    "options",
    [{"interval": float("nan")}, {"interval": 0}, {"max_gap": -1}, {"max_gap": float("inf")}],
)
def test_numbers_that_make_no_sense_are_refused(options):
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        Compliance(**options)
