from pathlib import Path

import pytest

from facemask_zoo.datasets import Dataset, Picture
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.evaluation.negatives import count_false, last_by_name


def test_boxes_and_pictures_at_every_threshold(sample, box):
    samples = [
        sample([], [("mask", 0.9, box(0)), ("no_mask", 0.5, box(1)), ("mask", 0.4, box(2))]),
        sample([], [("mask", 0.45, box(0))]),
        sample([], []),
    ]
    result = count_false(samples, (0.5, 0.3))
    assert result.pictures == 3
    # A score of exactly .5 does not exceed it, as in the detector.
    assert [(each.threshold, each.boxes, each.pictures) for each in result.at] == [
        (0.5, 1, 1),
        (0.3, 4, 2),
    ]


def test_the_last_by_name():
    names = ["b/1.png", "a/3.png", "c/2.png"]
    whole = Dataset(Path(), tuple(Picture(Path(name), (1, 1)) for name in names))
    kept = [picture.path.name for picture in last_by_name(whole, 2).pictures]
    assert kept == ["2.png", "3.png"]
    assert last_by_name(whole, None) is whole
    for wrong in (0, -1, 4):
        with pytest.raises(InvalidArgumentError, match="1 to 3"):
            last_by_name(whole, wrong)
