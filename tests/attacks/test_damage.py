"""Every readable file, damaged in random places; ``make fuzz-files`` tries thousands of each."""

from __future__ import annotations

import json

import pytest
from attacks.guarded import MEMORY_BYTES, run_module
from attacks.samples import KINDS, MEDIA

_COUNT = 60
_SECONDS = 3


# One of each library that decodes pictures or videos; the others take a long run.
_MEDIA = ("JPEG", "AVIF", "HEIF", "mp4", "webm")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.scale) if kind in {*MEDIA} - {*_MEDIA} else kind
        for kind in KINDS
    ],
)
def test_damage_ends_in_a_result_or_in_our_own_exception(kind):
    done = run_module("damage", kind, "--count", _COUNT, "--seconds", _SECONDS)
    assert done.stdout, f"died with {done.returncode} after seed {done.stderr[-2000:]}"
    report = json.loads(done.stdout)
    assert report["escaped"] == {}
    assert report["refused"] > 0
    assert report["grown_bytes"] < MEMORY_BYTES
