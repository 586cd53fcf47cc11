"""docs/data.md names what there is."""

from __future__ import annotations

import re

from places import ROOT

from facemask_zoo.datasets import FORMATS, WRITERS
from facemask_zoo.datasets.origins import ORIGINS

PAGE = (ROOT / "docs" / "data.md").read_text()


def test_every_format_and_set_has_a_row():
    rows = dict(re.findall(r"^\| `([\w-]+)` \|(.*)\|$", PAGE, re.MULTILINE))
    for name in FORMATS:
        assert name in rows
        if name not in ORIGINS:
            assert rows[name].rstrip().endswith("yes") == (name in WRITERS)
    for name, origin in ORIGINS.items():
        assert name in rows
        assert origin.url in PAGE
