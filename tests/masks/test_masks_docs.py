"""What docs/masks.md shows is what happens."""

from __future__ import annotations

import re

from places import ROOT

from facemask_zoo.masks import SHARES, Wearing, list_templates
from facemask_zoo.masks.template import PATTERNS

PAGE = (ROOT / "docs" / "masks.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_snippets_run(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert len(SNIPPETS) == 2
    found = {}
    for code in SNIPPETS:
        exec(code, found)
    assert found["masked"].label == "incorrect"
    assert found["masked"].alpha.max() > 0.9


def test_every_template_and_pattern_is_named():
    for name in (*list_templates(), *PATTERNS):
        assert f"`{name}`" in PAGE


def test_the_shares_are_those_of_the_preset():
    shares = SHARES["masked-face-net"]
    incorrect = 1 - shares[Wearing.CORRECT]
    assert f"{shares[Wearing.CORRECT]:.0%}".replace("%", " %") in PAGE
    assert round(shares[Wearing.NOSE_BARE] / incorrect, 2) == 0.8
    assert round(shares[Wearing.CHIN_BARE] / incorrect, 2) == 0.1
