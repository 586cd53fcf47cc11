"""Descriptors that ship are made of the ``.proto`` texts beside them."""

from __future__ import annotations

import pytest
from places import ROOT

from facemask_zoo.converters.protobuf_schema import load
from facemask_zoo.files import sha256_of

FOLDER = ROOT / "converters" / "schemas"
NAMES = sorted(path.stem for path in FOLDER.glob("*.proto"))


def test_what_is_compiled_belongs_to_its_text():
    """`make schemas` writes the descriptors and this list; a text changed by hand alone differs."""
    lines = (FOLDER / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = [FOLDER / f"{name}{suffix}" for name in NAMES for suffix in (".proto", ".binpb")]
    found = {path.name: sha256_of(path) for path in files}
    assert found == listed


@pytest.mark.parametrize("name", NAMES)
def test_fields_know_whether_they_were_set(name):
    for kind in load(name).values():
        for field in kind.DESCRIPTOR.fields:
            assert field.is_repeated or field.has_presence, field.full_name
