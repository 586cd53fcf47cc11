from __future__ import annotations

import numpy as np
import pytest
from seeded import FULL, SMALL

from facemask_zoo.ssd import anchors


def test_aizoo_anchors():
    boxes = anchors(FULL)
    expected = {
        0: (-0.00484848, -0.00484848, 0.03515152, 0.03515152),
        2: (-0.0005965, -0.01024851, 0.03089953, 0.04055154),
        -1: (0.62594963, 0.33956261, 1.04071704, 1.32710405),
    }
    for index, corners in expected.items():
        np.testing.assert_allclose(boxes[index], corners, atol=1e-8)
    assert boxes.sum() == pytest.approx(11944.0, abs=1e-6)


def test_order_is_level_row_column_anchor():
    boxes = anchors(SMALL)
    cells, per_cell = SMALL.level_sizes[0], SMALL.levels[0].anchors_per_cell
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    np.testing.assert_allclose(centres[:per_cell], 0.5 / cells)
    np.testing.assert_allclose(centres[per_cell], [1.5 / cells, 0.5 / cells])
    np.testing.assert_allclose(centres[cells * per_cell], [0.5 / cells, 1.5 / cells])
    assert len(boxes) == SMALL.anchor_count


def test_anchors_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        anchors(FULL)[0] = 0
