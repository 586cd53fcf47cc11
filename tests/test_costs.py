"""What networks cost before they are trained."""

from __future__ import annotations

import sys

import needs
import pytest

from facemask_zoo import InvalidArgumentError


@pytest.fixture
def main(monkeypatch):
    needs.module("torch")
    from facemask_zoo.benchmarks import architectures

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["architectures", *arguments])
        return architectures.main()

    return run


def test_a_row_for_every_network(main, capsys):
    assert main("zoo-s@64x96", "zoo-m@64", "--rounds", "2") == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| zoo-")]
    assert [row.split(" | ")[0] for row in rows] == ["| zoo-260", "| zoo-s@64x96", "| zoo-m@64"]
    assert rows[0].endswith("| 1.00 |")
    assert float(rows[1].split("|")[-2]) < 0.5


def test_a_network_of_one_size_has_no_other(main):
    with pytest.raises(InvalidArgumentError, match="one input size"):
        main("zoo-260@320")
