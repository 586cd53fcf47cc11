"""Files that point at other files, or at code: neither is touched."""

from __future__ import annotations

import io
import json
import os
import zipfile

import h5py
import numpy as np
import onnx
import pytest
from attacks.samples import make_sample, narrow_model
from onnx import TensorProto, helper
from seeded import signature

from facemask_zoo import FaceMaskZooError, WeightsError, model_files
from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.backends.base import Options
from facemask_zoo.detector import Detector

_SECRET = np.arange(54, dtype="<f4").tobytes()
_LAYER = "conv2d_0.weight"


@pytest.fixture
def sample(request, tmp_path):
    return make_sample(request.param, tmp_path)


@pytest.fixture(params=["..", "absolute", "beside", "symlink", "hardlink"])
def location(request, tmp_path, monkeypatch):
    """A way to name a secret from within a folder that is also the current one."""
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    secret = tmp_path / "secret.bin"
    secret.write_bytes(_SECRET)
    if request.param == "..":
        return "../secret.bin"
    if request.param == "absolute":
        return str(secret)
    if request.param == "beside":
        (folder / "link.bin").write_bytes(_SECRET)
    if request.param == "symlink":
        (folder / "link.bin").symlink_to(secret)
    if request.param == "hardlink":
        os.link(secret, folder / "link.bin")
    return "link.bin"


def external(tensor: TensorProto, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(_SECRET)))):
        tensor.external_data.add(key=key, value=value)


def test_weights_outside_an_onnx_file_are_not_read(location, tmp_path):
    sample = make_sample("onnx", tmp_path / "folder")
    proto = onnx.load_model(sample.path)
    external(next(x for x in proto.graph.initializer if x.name == _LAYER), location)
    sample.path.write_bytes(proto.SerializeToString())
    with pytest.raises(WeightsError, match="outside the file"):
        model_files.read(sample.path)


def with_foreign_output(path, location: str) -> None:
    """Put a tensor that lies elsewhere where our reader does not look: into the graph itself."""
    proto = onnx.load_model(path)
    foreign = TensorProto(name="foreign", data_type=TensorProto.FLOAT, dims=[54])
    external(foreign, location)
    proto.graph.node.append(helper.make_node("Constant", [], ["secret"], value=foreign))
    output = helper.make_tensor_value_info("secret", TensorProto.FLOAT, [54])
    proto.graph.output.append(output)
    path.write_bytes(proto.SerializeToString())


def test_onnxruntime_reads_nothing_outside_a_file_of_a_user(location, tmp_path):
    sample = make_sample("onnx", tmp_path / "folder")
    with_foreign_output(sample.path, location)
    card = narrow_model().card
    with pytest.raises(WeightsError):
        FRAMEWORKS["onnx"].backend()(sample.path, signature(card.network), Options())


def test_a_graph_that_names_other_files_is_refused(location, tmp_path):
    sample = make_sample("onnx", tmp_path / "folder")
    with_foreign_output(sample.path, location)
    with pytest.raises(WeightsError, match="lies outside the file"):
        Detector.load(sample.path, framework="onnx")


def test_the_detector_gives_a_framework_only_what_the_zoo_wrote(tmp_path):
    sample = make_sample("onnx", tmp_path / "folder")
    detector = Detector.load(sample.path, framework="onnx")
    assert detector.backend.path != sample.path
    assert sample.path.parent not in detector.backend.path.parents


def hdf5_file(edit) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        edit(file)
    return content.getvalue()


def rewritten(path, **members: bytes) -> None:
    """Replace members of an archive; a dot in a name is an underscore here."""
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in content.items():
            new.writestr(name, members.get(name.replace(".", "_"), data))


def secret_hdf5(folder) -> str:
    path = folder / "secret.h5"
    path.write_bytes(hdf5_file(lambda file: file.create_dataset("x", data=np.zeros(54, "<f4"))))
    return str(path)


def _external_link(file, folder) -> None:
    file["layers/conv2d/vars/0"] = h5py.ExternalLink(secret_hdf5(folder), "x")


def _external_group(file, folder) -> None:
    file["layers"] = h5py.ExternalLink(secret_hdf5(folder), "/")


def _soft_link(file, folder) -> None:
    file["elsewhere"] = h5py.ExternalLink(secret_hdf5(folder), "x")
    file["layers/conv2d/vars/0"] = h5py.SoftLink("/elsewhere")


def _external_storage(file, folder) -> None:
    outside = [(secret_hdf5(folder), 0, 216)]
    file.create_dataset("layers/conv2d/vars/0", (3, 3, 3, 2), "<f4", external=outside)


def _virtual(file, folder) -> None:
    layout = h5py.VirtualLayout((54,), "<f4")
    layout[:] = h5py.VirtualSource(secret_hdf5(folder), "x", (54,))
    file.create_virtual_dataset("layers/conv2d/vars/0", layout)


@pytest.mark.parametrize(
    "edit", [_external_link, _external_group, _soft_link, _external_storage, _virtual]
)
@pytest.mark.parametrize("sample", ["keras"], indirect=True)
def test_hdf5_reads_no_other_file(edit, sample, tmp_path):
    content = hdf5_file(lambda file: edit(file, tmp_path))
    rewritten(sample.path, model_weights_h5=content)
    with pytest.raises(WeightsError, match=r"no dataset|outside|virtual"):
        model_files.read(sample.path)


def test_a_loop_of_groups_in_hdf5_ends(tmp_path):
    def edit(file) -> None:
        file.create_group("model_weights")["again"] = file["/"]

    path = tmp_path / "loop.h5"
    path.write_bytes(hdf5_file(edit))
    with pytest.raises(WeightsError, match="groups hold more"):
        model_files.read(path)


_LAMBDA = {
    "class_name": "__lambda__",
    "config": {"code": "4wEAAAAAAAAAAAAAAAEAAAABAAAAQwAAAHMIAAAAdAAAg==", "defaults": None},
}


@pytest.mark.parametrize(
    "layer",
    [
        {"module": "keras.layers", "class_name": "Lambda", "config": {"function": _LAMBDA}},
        {"module": "os", "class_name": "system", "config": "touch CANARY"},
        {"module": "builtins", "class_name": "exec", "config": {"code": "open('CANARY', 'w')"}},
        {
            "module": "keras.layers",
            "class_name": "TFSMLayer",
            "config": {"filepath": "/", "call_endpoint": "x"},
        },
    ],
    ids=["lambda", "system", "exec", "saved-model"],
)
@pytest.mark.parametrize("sample", ["keras"], indirect=True)
def test_nothing_that_a_keras_archive_names_is_made(layer, sample, tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    expected = sample.read(sample.path)
    with zipfile.ZipFile(sample.path) as archive:
        config = json.loads(archive.read("config.json"))
    text = json.dumps(layer).replace("CANARY", str(canary))
    config["config"]["layers"].insert(1, {**json.loads(text), "name": "evil"})
    config.update(registered_name="evil>Model", build_config=_LAMBDA, compile_config=_LAMBDA)
    rewritten(sample.path, config_json=json.dumps(config).encode())
    try:
        assert sample.read(sample.path) == expected
    except WeightsError:
        assert not isinstance(layer["config"], dict)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", "x\0y", ".."])
@pytest.mark.parametrize("sample", ["tfjs"], indirect=True)
def test_tensorflow_js_reads_only_beside_itself(name, sample, tmp_path):
    (tmp_path.parent / "secret").write_bytes(_SECRET)
    description = json.loads(sample.path.read_text())
    description["weightsManifest"][0]["paths"] = [name]
    sample.path.write_text(json.dumps(description))
    with pytest.raises(WeightsError):
        model_files.read(sample.path)


@pytest.mark.parametrize("sample", ["tensorflow"], indirect=True)
@pytest.mark.parametrize("operation", [b"ReadFile", b"WriteFile", b"PyFunc", b"SaveV2"])
def test_graphs_that_touch_files_are_refused(operation, sample):
    data = sample.path.read_bytes()
    name = b"\n\x01x\x12" + bytes([len(operation)]) + operation
    sample.path.write_bytes(data + b"\n" + bytes([len(name)]) + name)
    with pytest.raises(WeightsError, match=operation.decode()):
        model_files.read(sample.path)


@pytest.mark.parametrize("name", ["..", "../../x", "/tmp/x", "a\0b", "x" * 5000, "", "\ud800"])
@pytest.mark.parametrize("sample", ["safetensors"], indirect=True)
def test_names_on_cards_lead_nowhere(name, sample, tmp_path, monkeypatch):
    """A conversion is kept under the name on the card; it stays within the cache folder."""
    monkeypatch.setenv("FACEMASK_ZOO_CACHE", str(tmp_path / "cache"))
    data = sample.path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    card = json.loads(header["__metadata__"]["facemask_zoo.card"])
    header["__metadata__"]["facemask_zoo.card"] = json.dumps({**card, "name": name})
    text = json.dumps(header).encode()
    sample.path.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])
    before = {path for path in tmp_path.parent.rglob("*") if tmp_path / "cache" not in path.parents}
    try:
        Detector.load(sample.path, framework="onnx")
    except FaceMaskZooError:
        assert not name.isprintable() or not 0 < len(name) <= 200
    after = {path for path in tmp_path.parent.rglob("*") if tmp_path / "cache" not in path.parents}
    assert after - before <= {tmp_path / "cache"}
